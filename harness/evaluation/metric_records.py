"""What each metric is called, which way it is better, and how its numbers are printed: once, for every view."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

Direction = Literal["higher", "lower", "none"]
Unit = Literal["plain", "percent", "count"]
UNITS: tuple[Unit, ...] = get_args(Unit)
UNDEFINED = "–"
_SYMMETRIC = 1e-9
_DIGITS = 4
_OTHER_HEADINGS = ("cell", "forecaster", "case", "seconds", "from", "to", "window", "row")
_LEAST, _MOST = 1e-3, 1e6  # between them four decimals lose nothing that a reader needs


@dataclass(frozen=True)
class MetricRecord:
    """A metric as every table, page and export shows it.

    Attributes
    ----------
    name
        In snapshots, CSV and on the command line.
    heading
        For people.
    direction
        Which way it is better.
    unit
        ``plain``, as snapshots, CSV and papers hold it (returns too: 0.0958 a year, as in qlib's tables), ``percent``
        or ``count``.
    digits
        Decimals; None: four, or powers of ten where four would lose the number.
    column
        Whether leaderboards have a column for it.
    """

    name: str
    heading: str
    direction: Direction
    unit: Unit = "plain"
    digits: int | None = _DIGITS
    column: bool = False

    def text(self, value: object) -> str:
        """Return a value as text; a dash where it is undefined."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return UNDEFINED
        if self.unit == "count":
            return f"{value:,.0f}"
        if self.unit == "percent":
            return f"{value:z.{2 if self.digits is None else self.digits}%}"
        if self.digits is None and value and not _LEAST <= abs(value) < _MOST:
            return f"{value:.{_DIGITS}g}"
        return f"{value:z.{_DIGITS if self.digits is None else self.digits}f}"

    def interval(self, value: object, bounds: Mapping[str, Any] | None) -> str:
        """Return what a symmetric interval reaches to both sides, or the bounds of another; nothing without one.

        Parameters
        ----------
        value
            The metric.
        bounds
            ``low`` and ``high``; None where undefined.
        """
        low, high = (None, None) if bounds is None else (bounds.get("low"), bounds.get("high"))
        if low is None or high is None or not isinstance(value, int | float):
            return ""
        if abs((low + high) / 2 - value) <= _SYMMETRIC * max(abs(low), abs(high)):
            return f"± {self.text((high - low) / 2)}"
        return f"{self.text(low)} … {self.text(high)}"


def _columns() -> tuple[MetricRecord, ...]:
    named: tuple[tuple[str, str, Direction], ...] = (
        ("IC", "IC", "higher"),
        ("ICIR", "ICIR", "higher"),
        ("rank_IC", "rank IC", "higher"),
        ("rank_ICIR", "rank ICIR", "higher"),
        ("long_short_return", "long-short", "higher"),
        ("turnover", "turnover", "none"),
        ("autocorrelation", "autocorr.", "none"),
        ("excess_return", "excess return", "higher"),
        ("information_ratio", "IR", "higher"),
        ("max_drawdown", "MDD", "higher"),
    )
    return tuple(MetricRecord(*of, column=True) for of in named)


METRICS: Mapping[str, MetricRecord] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            *_columns(),
            MetricRecord("long_average_return", "long average", "none"),
            MetricRecord("MSE", "MSE", "lower", digits=None),
            MetricRecord("days", "days", "none", "count"),
            MetricRecord("rows", "rows", "none", "count"),
            MetricRecord("labelled_rows", "labelled rows", "none", "count"),
            MetricRecord("undefined_days", "undefined days", "lower", "count"),
            MetricRecord("excess_return_without_cost", "excess return without cost", "higher"),
            MetricRecord("information_ratio_without_cost", "IR without cost", "higher"),
            MetricRecord("max_drawdown_without_cost", "MDD without cost", "higher"),
            MetricRecord("portfolio_return", "portfolio return", "higher"),
            MetricRecord("benchmark_return", "benchmark return", "none"),
            MetricRecord("portfolio_turnover", "portfolio turnover", "none"),
            MetricRecord("portfolio_cost", "portfolio cost", "lower"),
        )
    }
)
"""Name → record of every metric of the harness; those with a column first, in the order of the columns."""

METRIC_DIRECTIONS: Mapping[str, Direction] = MappingProxyType({name: m.direction for name, m in METRICS.items()})
COLUMNS: Mapping[str, str] = MappingProxyType({name: m.heading for name, m in METRICS.items() if m.column})
"""Name → heading of the metrics that leaderboards have a column for."""


def own_metric(fields: Mapping[str, Any]) -> MetricRecord:
    """Return the record of a user's own metric from its fields.

    ``name`` and ``direction`` are there; ``heading``, ``unit`` and ``digits`` may be.
    """
    name = str(fields["name"])
    unit: Unit = fields.get("unit") or "plain"
    heading = str(fields.get("heading") or name)
    return MetricRecord(name, heading, fields["direction"], unit, fields.get("digits"), column=True)


def headings_of(metrics: Iterable[MetricRecord]) -> dict[str, str]:
    """Return name → heading, no heading twice and none that a column beside the metrics has: then with the name."""
    found: dict[str, str] = {}
    for metric in metrics:
        taken = {*found.values(), *_OTHER_HEADINGS}
        found[metric.name] = metric.heading if metric.heading not in taken else f"{metric.heading} ({metric.name})"
    return found
