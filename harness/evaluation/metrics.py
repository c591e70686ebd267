"""What each metric is called, which way it is better, and how its numbers are printed: once, for every view."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import ConfigError, DataError, closest
from harness.evaluation import formulas as metrics
from harness.evaluation.predictions import Predictions
from harness.evaluation.year import Evaluation, summarised
from harness.store.records import describe

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

    Attributes:
        name: In snapshots, CSV and on the command line.
        heading: For people.
        direction: Which way it is better.
        unit: ``plain``, as snapshots, CSV and papers hold it (returns too: 0.0958 a year, as in qlib's tables),
            ``percent`` or ``count``.
        digits: Decimals; None: four, or powers of ten where four would lose the number.
        column: Whether leaderboards have a column for it.
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

        Args:
            value: The metric.
            bounds: ``low`` and ``high``; None where undefined.
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


_MOST_DIGITS = 12
# What leaderboards as CSV have beside the metrics.
_OTHER_COLUMNS = ("cell", "outcome", "seconds", "reused", "note", "folder", "reference", "trials")


@runtime_checkable
class Metric(Protocol):
    """A metric of one's own: a frozen dataclass with the fields `name` and `direction`, and a method.

    Fields that it may have: `heading` (str), `unit` (``plain``, ``percent`` or ``count``) and `digits` (decimals), for
    the tables; see `harness.evaluation.metrics.MetricRecord`.

    One that has an attribute `needs`, names of panel fields, is given their values as second argument: name → (n,)
    float32 at the rows of the predictions, NaN where missing. A panel without them is refused before anything is
    fitted.
    """

    @property
    def name(self) -> str:
        """What it is called in tables and snapshots."""
        ...

    @property
    def direction(self) -> Literal["higher", "lower", "none"]:
        """Which way it is better."""
        ...

    def compute(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        """Return (S,) float64, one value per test time, NaN where it is undefined; the metric is their mean."""
        ...


def check_extra(extra: tuple[Metric, ...]) -> None:
    """Refuse what is no metric, has no field for its name or direction, or a name that is taken.

    Raises:
        ConfigError: Names the entry.
    """
    taken = {*METRIC_DIRECTIONS, "portfolio_value", "window", "start", "stop", "year", *_OTHER_COLUMNS}
    for at, metric in enumerate(extra):
        where = f"evaluation.extra[{at}]"
        described = describe(metric)
        fields = described if isinstance(described, dict) else {}
        lacking = [name for name in ("name", "direction") if name not in fields]
        lacking += [] if callable(getattr(metric, "compute", None)) else ["compute"]
        if lacking:
            raise ConfigError(
                f"This is not a metric: it lacks {', '.join(lacking)}.",
                where=where,
                got=type(metric).__qualname__,
                expected="a frozen dataclass with the fields `name` and `direction` and a method `compute`",
                hint="`bench new metric NAME` writes one",
            )
        if not metric.name.isidentifier() or metric.name in taken:
            raise ConfigError(
                "A metric needs a name of its own.",
                where=f"{where}.name",
                got=metric.name,
                expected=f"letters, digits and _, and none of {', '.join(sorted(taken))}",
            )
        if metric.direction not in ("higher", "lower", "none"):
            raise ConfigError(
                "Unknown direction.",
                where=f"{where}.direction",
                got=metric.direction,
                expected="higher | lower | none",
            )
        _check_display(metric, where)
        needs = getattr(metric, "needs", ())
        if isinstance(needs, str) or not all(isinstance(name, str) for name in needs):
            raise ConfigError(
                "The needs of a metric are names of fields.",
                where=f"{where}.needs",
                got=repr(needs),
                expected='such as ("volume",)',
            )
        taken.add(metric.name)


def _check_display(metric: Metric, where: str) -> None:
    """Refuse a heading, unit or number of digits that no table can show."""
    heading, unit, digits = (getattr(metric, name, None) for name in ("heading", "unit", "digits"))
    is_count = isinstance(digits, int) and not isinstance(digits, bool) and 0 <= digits <= _MOST_DIGITS
    checks = (
        ("heading", heading, heading is None or (isinstance(heading, str) and bool(heading.strip())), "a text"),
        ("unit", unit, unit is None or unit in UNITS, " | ".join(UNITS)),
        ("digits", digits, digits is None or is_count, f"a whole number from 0 to {_MOST_DIGITS}, or null"),
    )
    for name, value, possible, expected in checks:
        if not possible:
            raise ConfigError("A table cannot show this.", where=f"{where}.{name}", got=repr(value), expected=expected)


def own_directions(identity: Mapping[str, Any]) -> dict[str, Direction]:
    """Return the user's own metrics that a snapshot's identity names: name → which way it is better."""
    return {name: metric.direction for name, metric in own_metrics(identity).items()}


def own_metrics(identity: Mapping[str, Any]) -> dict[str, MetricRecord]:
    """Return the records of the user's own metrics that a snapshot's identity names."""
    extra = identity.get("config", {}).get("evaluation", {}).get("extra", ())
    return {str(fields["name"]): own_metric(fields) for fields in extra}


def needs_of(metric: Metric) -> tuple[str, ...]:
    """Return the panel fields that a metric needs beside the predictions."""
    return tuple(getattr(metric, "needs", ()))


def check_needs(extra: tuple[Metric, ...], fields: Iterable[str]) -> None:
    """Refuse a metric that needs a field which the panel has not.

    Raises:
        ConfigError: Names the entry and the field.
    """
    known = tuple(fields)
    for at, metric in enumerate(extra):
        for name in needs_of(metric):
            if name not in known:
                raise ConfigError(
                    f"The metric `{metric.name}` needs the field `{name}`, and the panel has none of that name.",
                    where=f"evaluation.extra[{at}]",
                    got=", ".join(known),
                    expected=f"a field `{name}`",
                    hint=closest(name, known),
                )


def evaluate_extra(predictions: Predictions, extra: tuple[Metric, ...], panel: Panel | None = None) -> Evaluation:
    """Judge predictions by a user's own metrics: the mean of each series, overall, per window and per year.

    Args:
        predictions: Scores and raw labels.
        extra: The metrics.
        panel: Whose fields metrics may need; None where none of them does.

    Raises:
        ConfigError: When a metric needs a field that is not there.
        DataError: When a metric does not return one finite or undefined number per test time.
    """
    check_needs(extra, () if panel is None else panel.fields)
    series = {metric.name: _checked(metric, predictions, panel) for metric in extra}
    return summarised(
        predictions.calendar,
        predictions.start,
        predictions.window_starts,
        series,
        lambda at: {name: metrics.mean(values[at]) for name, values in series.items()},
    )


def _checked(metric: Metric, predictions: Predictions, panel: Panel | None) -> npt.NDArray[np.float64]:
    needed = needs_of(metric)
    compute: Callable[..., object] = metric.compute
    if needed and panel is not None:
        at = (predictions.row_times, predictions.codes)
        values = np.asarray(compute(predictions, {name: panel.fields[name][at] for name in needed}))
    else:
        values = np.asarray(compute(predictions))
    shape = predictions.times.shape
    is_number = np.issubdtype(values.dtype, np.number) and not np.issubdtype(values.dtype, np.complexfloating)
    has_infinite = is_number and bool(np.isinf(values).any())
    if values.shape != shape or not is_number or has_infinite:
        raise DataError(
            f"The metric `{metric.name}` returns something else than a series.",
            where=f"{type(metric).__module__}.{type(metric).__qualname__}.compute",
            got=f"{values.dtype} {values.shape}{', with infinite values' if has_infinite else ''}",
            expected=f"float64 {shape}: one number per test time, NaN where undefined",
        )
    return values.astype(np.float64)
