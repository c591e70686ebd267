"""Metrics of a user's own: one value per test time, judged like those of the harness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import ConfigError, DataError, closest
from harness.evaluation import formulas as metrics
from harness.evaluation.metric_records import METRIC_DIRECTIONS, UNITS, Direction, MetricRecord, own_metric
from harness.evaluation.predictions import Predictions
from harness.evaluation.record import Evaluation, summarised
from harness.store.records import describe

_MOST_DIGITS = 12
# What leaderboards as CSV have beside the metrics.
_OTHER_COLUMNS = ("cell", "outcome", "seconds", "reused", "note", "folder", "reference", "trials")


@runtime_checkable
class Metric(Protocol):
    """A metric of one's own: a frozen dataclass with the fields `name` and `direction`, and a method.

    Fields that it may have: `heading` (str), `unit` (``plain``, ``percent`` or ``count``) and `digits` (decimals), for
    the tables; see `harness.evaluation.metric_records.MetricRecord`.

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

    Raises
    ------
    ConfigError
        Names the entry.
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

    Raises
    ------
    ConfigError
        Names the entry and the field.
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

    Parameters
    ----------
    predictions
        Scores and raw labels.
    extra
        The metrics.
    panel
        Whose fields metrics may need; None where none of them does.

    Raises
    ------
    ConfigError
        When a metric needs a field that is not there.
    DataError
        When a metric does not return one finite or undefined number per test time.
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
