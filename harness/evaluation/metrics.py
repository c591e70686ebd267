"""A metric is one record: what it follows from, which way it is better, and how its numbers are printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Predicate

from harness.errors import ConfigError, closest
from harness.errors.limits import Count, check_limits, traits_of
from harness.evaluation.errors import REFERENCES
from harness.evaluation.predictions import Predictions
from harness.store.records import describe

Direction = Literal["higher", "lower", "none"]
Unit = Literal["plain", "percent", "count"]
UNDEFINED = "–"
RANKED_BY = "rank_IC"
"""The metric that orders rows, where they have it."""
_SYMMETRIC = 1e-9
_DIGITS, _MOST_DIGITS = 4, 12
_OTHER_HEADINGS = ("cell", "forecaster", "case", "seconds", "from", "to", "window", "row")
# What leaderboards as CSV, and the records of windows and years, have beside the metrics.
_OTHER_COLUMNS = ("cell", "outcome", "seconds", "reused", "note", "folder", "reference", "trials")
_OTHER_NAMES = ("portfolio_value", "window", "start", "stop", "year", *_OTHER_COLUMNS)
_LEAST, _MOST = 1e-3, 1e6  # between them four decimals lose nothing that a reader needs


@dataclass(frozen=True)
class SignalEvaluation:
    """How a signal is judged.

    Attributes:
        quantile: Share of the instruments on each side of the long-short portfolio, whose return is half of top minus
            bottom, and in the top whose turnover is counted.
        periods_per_year: Periods in a year, by which every return and ratio per year is annualised, the portfolio's
            too. None: by the calendar, see `harness.data.calendar.frequency_of`.
        lag: Periods between the scores that turnover and autocorrelation compare.

    Raises:
        ConfigError: When a number is impossible.
    """

    quantile: Annotated[float, Gt(0), Le(0.5)] = 0.2
    periods_per_year: Annotated[int, Ge(1), Le(100_000_000)] | None = None
    lag: Count = 1

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.signal")


@dataclass(frozen=True)
class MetricRecord:
    """A metric as everything that computes, tests, compares or prints one knows it.

    Attributes:
        name: In snapshots, CSV and on the command line.
        heading: For people.
        direction: Which way it is better.
        series: The series that it follows from, one value per time.
        statistic: ``mean``, ``ir`` (mean over standard deviation), ``root`` (of the mean), ``skill`` (1 minus the ratio
            of its mean to that of `base`), ``drawdown``, or ``count``: a sum without interval.
        base: The series of what a skill is over.
        overlap: What neighbouring values of the series share: the ``label``'s look-ahead, the scores of ``lag`` times
            before, or nothing.
        scale: What the statistic is multiplied by: nothing, returns of a ``horizon`` to a year, periods to a ``year``,
            or the ``root`` of the periods in a year.
        compounds: The series are returns of a portfolio, which its strategy may compound.
        unit: ``plain``, as snapshots, CSV and papers hold it (returns too: 0.0958 a year, as in qlib's tables),
            ``percent`` or ``count``.
        digits: Decimals; None: four, or powers of ten where four would lose the number.
        column: Whether leaderboards have a column for it.
        is_relative: Whether it is divided by a mean over the whole test range where no capacity is given, so that one
            more day changes it for every window.
    """

    name: str
    heading: str
    direction: Direction
    series: str
    statistic: Literal["mean", "ir", "root", "skill", "drawdown", "count"] = "mean"
    base: str | None = None
    overlap: Literal["label", "lag", "nothing"] = "label"
    scale: Literal["none", "horizon", "year", "root"] = "none"
    compounds: bool = False
    unit: Unit = "plain"
    digits: int | None = _DIGITS
    column: bool = False
    is_relative: bool = False

    def overlap_at(self, look_ahead: int, lag: int) -> int:
        """Return the look-ahead that makes neighbouring values of the series dependent; 1 when they share nothing."""
        return {"label": look_ahead, "lag": lag + 1, "nothing": 1}[self.overlap]

    def factor(self, periods: int | None, horizon: int | None) -> float:
        """Return what the statistic is multiplied by; NaN where the periods in a year or the horizon are undefined."""
        if self.scale == "none":
            return 1.0
        if periods is None or (self.scale == "horizon" and horizon is None):
            return float("nan")
        return {"horizon": periods / (horizon or 1), "year": float(periods), "root": math.sqrt(periods)}[self.scale]

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
        """Return what a symmetric interval reaches to both sides, or ``low`` and ``high`` of another; or nothing."""
        low, high = (None, None) if bounds is None else (bounds.get("low"), bounds.get("high"))
        if low is None or high is None or not isinstance(value, int | float):
            return ""
        if abs((low + high) / 2 - value) <= _SYMMETRIC * max(abs(low), abs(high)):
            return f"± {self.text((high - low) / 2)}"
        return f"{self.text(low)} … {self.text(high)}"


def _metric(name: str, heading: str, direction: Direction, **how: Any) -> MetricRecord:
    return MetricRecord(name, heading, direction, **{"series": name, **how})


_COUNT = {"statistic": "count", "unit": "count"}


def _return(name: str, heading: str, direction: Direction, **how: Any) -> MetricRecord:
    return _metric(name, heading, direction, overlap="nothing", compounds=True, **{"scale": "year", **how})


def _excess(suffix: str, heading: str, **how: Any) -> tuple[MetricRecord, ...]:
    how["series"] = f"excess_return{suffix}"
    return (
        _return(f"excess_return{suffix}", f"excess return{heading}", "higher", **how),
        _return(f"information_ratio{suffix}", f"IR{heading}", "higher", statistic="ir", scale="root", **how),
        _return(f"max_drawdown{suffix}", f"MDD{heading}", "higher", statistic="drawdown", scale="none", **how),
    )


_LARGE = {"digits": None, "column": True}
_RELATIVE = {"column": True, "is_relative": True}
_ERRORS = (
    _metric("MAE", "MAE", "lower", **_LARGE),
    _metric("RMSE", "RMSE", "lower", series="squared_error", statistic="root", **_LARGE),
    _metric("NMAE", "NMAE", "lower", **_RELATIVE),
    _metric("NRMSE", "NRMSE", "lower", series="normalised_squared_error", statistic="root", **_RELATIVE),
    _metric("MASE", "MASE", "lower", column=True),
    _metric("skill", "skill", "higher", series="MAE", statistic="skill", base="MAE_persistence", column=True),
    *(
        _metric(f"skill_{name}", f"skill over {text}", "higher", series="MAE", statistic="skill", base=f"MAE_{name}")
        for name, text in REFERENCES.items()
        if name != "persistence"
    ),
    _metric("bias", "bias", "none", digits=None),
    _metric("pinball", "pinball", "lower", **_LARGE),
    _metric("coverage", "coverage", "none", column=True),
    _metric("interval_width", "interval width", "none", digits=None),
)
METRICS: Mapping[str, MetricRecord] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _metric("IC", "IC", "higher", column=True),
            _metric("ICIR", "ICIR", "higher", series="IC", statistic="ir", column=True),
            _metric("rank_IC", "rank IC", "higher", column=True),
            _metric("rank_ICIR", "rank ICIR", "higher", series="rank_IC", statistic="ir", column=True),
            _metric("long_short_return", "long-short", "higher", scale="horizon", column=True),
            _metric("turnover", "turnover", "none", overlap="lag", column=True),
            _metric("autocorrelation", "autocorr.", "none", overlap="lag", column=True),
            *_excess("", "", column=True),
            *_ERRORS,
            _metric("long_average_return", "long average", "none", scale="horizon"),
            _metric("MSE", "MSE", "lower", digits=None),
            *(_metric(name, name.replace("_", " "), "none", **_COUNT) for name in ("days", "rows", "labelled_rows")),
            _metric("undefined_days", "undefined days", "lower", **_COUNT),
            *_excess("_without_cost", " without cost"),
            _return("portfolio_return", "portfolio return", "higher"),
            _return("benchmark_return", "benchmark return", "none"),
            _metric("portfolio_turnover", "portfolio turnover", "none", overlap="nothing"),
            _metric("portfolio_cost", "portfolio cost", "lower", overlap="nothing", scale="year"),
        )
    }
)
"""Name → record of every metric of the harness; those with a column first, in the order of the columns."""


@runtime_checkable
class Metric(Protocol):
    """A metric in a file of the user's: a frozen dataclass with the fields `name` and `direction`, and a method.

    It may also have the fields or class attributes of `MetricTraits`.
    """

    @property
    def name(self) -> str:
        """What it is called in tables and snapshots."""
        ...

    @property
    def direction(self) -> Direction:
        """Which way it is better."""
        ...

    def compute(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        """Return (S,) float64, one value per test time, NaN where it is undefined; the metric is their mean."""
        ...


@dataclass(frozen=True)
class MetricTraits:
    """What a metric may say of itself beyond `Metric`, in a field, a class attribute or a property of the same name.

    Attributes:
        heading: What its column is called; by default its name.
        unit, digits: How its values are shown, see `MetricRecord`.
        needs: Panel fields whose values `compute` is given as second argument: name → (n,) float32 at the rows of the
            predictions, NaN where missing. A panel without them is refused before anything is fitted.
    """

    heading: Annotated[str, Predicate(str.strip)] | None = None
    unit: Unit | None = None
    digits: Annotated[int, Ge(0), Le(_MOST_DIGITS)] | None = None
    needs: tuple[str, ...] = ()


def metrics_of(*sources: Mapping[str, Any] | Iterable[Metric]) -> dict[str, MetricRecord]:
    """Return name → record of every metric: ours, then the users', in the order in which they are configured.

    A user's metric is the mean of its series, whose values depend on each other like the labels. `sources` are
    identities of snapshots, or ``evaluation.extra`` of configurations.
    """
    found = dict(METRICS)
    for source in sources:
        if isinstance(source, Mapping):
            extra: Iterable[Any] = source.get("config", {}).get("evaluation", {}).get("extra", ())
        else:
            extra = map(describe, source)
        for fields in extra:
            name, unit = str(fields["name"]), fields.get("unit") or "plain"
            how = {"unit": unit, "digits": fields.get("digits"), "column": True}
            found[name] = MetricRecord(name, str(fields.get("heading") or name), fields["direction"], name, **how)
    return found


def columns_of(known: Mapping[str, MetricRecord], rows: Iterable[Container[str]]) -> dict[str, MetricRecord]:
    """Return the metrics that have a column and that some row has."""
    rows = tuple(rows)
    return {name: m for name, m in known.items() if m.column and any(name in row for row in rows)}


def headings_of(metrics: Iterable[MetricRecord]) -> dict[str, str]:
    """Return name → heading, no heading twice and none that a column beside the metrics has: then with the name."""
    found: dict[str, str] = {}
    for metric in metrics:
        taken = {*found.values(), *_OTHER_HEADINGS}
        found[metric.name] = metric.heading if metric.heading not in taken else f"{metric.heading} ({metric.name})"
    return found


def headline(overalls: Iterable[Container[str]], wanted: str = RANKED_BY) -> str:
    """Return the metric that orders rows: the wanted one if some row has it, else the first of their columns."""
    rows = tuple(overalls)
    return wanted if any(wanted in row for row in rows) else next(iter(columns_of(METRICS, rows)), wanted)


def other_forecasters(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return heading → metrics of what else was judged beside a run: the oracle, and the reference forecasts."""
    references = metrics.get("references") or {}
    named = {heading: references.get(name) for name, heading in REFERENCES.items()}
    return {heading: found for heading, found in {"oracle": metrics.get("oracle"), **named}.items() if found}


def forecasters_of_all(
    judged: Iterable[tuple[str, Mapping[str, Mapping[str, Any]]]],
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return name, heading and metrics of the `other_forecasters` of named runs, equal ones once.

    Where several have one heading, as on two labels, the name says beside which run it was judged.
    """
    found: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {}
    for run, others in judged:
        for heading, of in others.items():
            found.setdefault((heading, repr(sorted(of.items()))), (run, of))
    counts = Counter(heading for heading, _ in found)
    return [
        (f"{heading} of {run}" if counts[heading] > 1 else heading, heading, of)
        for (heading, _), (run, of) in found.items()
    ]


def directions_of(*sources: Mapping[str, Any] | Iterable[Metric]) -> dict[str, Direction]:
    """Return name → direction of every metric of `metrics_of`."""
    return {name: metric.direction for name, metric in metrics_of(*sources).items()}


def check_extra(extra: tuple[Metric, ...]) -> None:
    """Refuse, naming the entry, what is no metric, has no field for its name or direction, or a name that is taken."""
    taken = {*METRICS, *_OTHER_NAMES}
    for at, metric in enumerate(extra):
        where, fields = f"evaluation.extra[{at}]", describe(metric)
        lacking = [n for n in ("name", "direction") if not isinstance(fields, dict) or n not in fields]
        lacking += [] if "compute" in dir(metric) else ["compute"]
        if lacking:
            what, got = f"This is not a metric: it lacks {', '.join(lacking)}.", type(metric).__qualname__
            expected = "a frozen dataclass with the fields `name` and `direction` and a method `compute`"
            raise ConfigError(what, where=where, got=got, expected=expected, hint="`bench new metric NAME` writes one")
        if not metric.name.isidentifier() or metric.name in taken:
            what = "A metric needs a name of its own."
            expected = f"letters, digits and _, none of {', '.join(sorted(taken))}"
            raise ConfigError(what, where=f"{where}.name", got=metric.name, expected=expected)
        if metric.direction not in get_args(Direction):
            expected = " | ".join(get_args(Direction))
            raise ConfigError("Unknown direction.", where=f"{where}.direction", got=metric.direction, expected=expected)
        traits_of(metric, MetricTraits, where)
        taken.add(metric.name)


def check_needs(extra: tuple[Metric, ...], fields: Iterable[str]) -> None:
    """Refuse, naming the entry and the field, a metric that needs a field which the panel has not."""
    known = tuple(fields)
    for at, metric in enumerate(extra):
        for name in traits_of(metric, MetricTraits, f"evaluation.extra[{at}]").needs:
            if name not in known:
                what = f"The metric `{metric.name}` needs the field `{name}`, and the panel has none of that name."
                where, expected, hint = f"evaluation.extra[{at}]", f"a field `{name}`", closest(name, known)
                raise ConfigError(what, where=where, got=", ".join(known), expected=expected, hint=hint)
