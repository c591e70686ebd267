"""Errors of forecasts of series, and the forecasts that anybody can make: what a model must beat.

Shapes: S test times, N instruments. Everything is NaN where there is no forecast or no label, and left out of means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from harness.data.calendar import frequency_of
from harness.data.panel import Panel
from harness.errors.limits import Positive, check_limits
from harness.evaluation.predictions import Predictions

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "persistence": "persistence",
        "yesterday": "same hour yesterday",
        "last_week": "same hour last week",
        "climatology": "climatology",
    }
)
"""Name → heading of the reference forecasts."""
_DAY = np.timedelta64(1, "D")
_HOURS = 24


@dataclass(frozen=True)
class ErrorEvaluation:
    """How forecasts of series are judged by their errors.

    Attributes:
        capacity: What NMAE and NRMSE divide by, such as installed power; None: each series' own mean absolute value
            over the test range.
        season: Periods after which a series is like itself, for MASE; None: a day of the calendar, or a week of a daily
            one.
    """

    capacity: Positive | None = None
    season: Annotated[int, Ge(1), Le(100_000_000)] | None = None

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.errors")


@dataclass(frozen=True)
class Target:
    """What is forecast: the value of a field so many periods ahead."""

    field: str
    ahead: int


@dataclass(frozen=True, eq=False)
class Group:
    """The times or the series that a part of the errors is of.

    Attributes:
        by: ``series``, ``hour`` (of the time that is forecast) or ``month``.
        name: Which of them.
        series: Name → the values of the series of errors that belong to it.
        apart: Periods between two neighbouring values, by which they overlap less.
    """

    by: str
    name: str
    series: Mapping[str, Doubles] = field(repr=False)
    apart: int = 1


def season_of(panel: Panel, config: ErrorEvaluation) -> int:
    """Return the periods of a season: as configured, a day of the calendar, or a week of a daily one."""
    if config.season is not None:
        return config.season
    step = np.median(np.diff(panel.calendar.times[:1000]).astype(np.int64)) if len(panel.calendar) > 1 else 1
    per_day = round(float(_DAY.astype("m8[ns]").astype(np.int64) / max(step, 1)))
    return per_day if per_day > 1 else 7 if frequency_of(panel.calendar).name == "daily, every day" else 5


def error_cells(predictions: Predictions, panel: Panel, target: Target, config: ErrorEvaluation) -> dict[str, Doubles]:
    """Return series → (S, N) float64, what one forecast adds to it.

    - ``MAE`` |e|, ``squared_error`` e², ``bias`` e, with e forecast minus label
    - ``NMAE`` |e|/c and ``normalised_squared_error`` (e/c)²: c is the capacity, as is usual for wind and solar power
      (Madsen et al., Wind Engineering 2005), or the mean absolute value of the series, by which their means are the
      MAD/mean ratio (Kolassa & Schütz, Foresight 2007) and the CV(RMSE) of ASHRAE Guideline 14
    - ``MASE`` |e|/q, with q the mean absolute error of the value a season before, over everything known at the first
      decision (Hyndman & Koehler, International Journal of Forecasting 2006)
    - ``MAE_persistence`` and so on: |e| of the reference forecasts, for skill
    - of quantiles q_τ of Q levels: ``pinball`` Σ_τ max(τd, (τ − 1)d)/Q with d = label − q_τ (Koenker & Bassett,
      Econometrica 1978), and of the interval between the lowest and the highest ``coverage``, whether it holds the
      label, and ``interval_width``
    """
    label, score = _dense(predictions, predictions.label), _dense(predictions, predictions.score)
    error = score - label
    scale = np.full(label.shape[1], config.capacity or np.nan)
    if config.capacity is None:
        scale = _mean(np.abs(label), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.where(scale > 0, error / scale, np.nan)
        in_sample = _seasonal_error(panel, target, predictions.start, season_of(panel, config))
        scaled = np.where(in_sample > 0, np.abs(error) / in_sample, np.nan)
    cells = {
        "MAE": np.abs(error),
        "squared_error": error**2,
        "bias": error,
        "NMAE": np.abs(normalised),
        "normalised_squared_error": normalised**2,
        "MASE": scaled,
    }
    if predictions.quantiles is not None:
        cells |= _quantile_cells(predictions, label)
    made = reference_forecasts(predictions, panel, target)
    return cells | {f"MAE_{name}": np.abs(_dense(predictions, score) - label) for name, score in made.items()}


def _quantile_cells(predictions: Predictions, label: Doubles) -> dict[str, Doubles]:
    assert predictions.quantiles is not None
    each = [_dense(predictions, column) for column in predictions.quantiles.T]
    losses = [
        np.fmax(q * (label - found), (q - 1) * (label - found))
        for q, found in zip(predictions.levels, each, strict=True)
    ]
    cells = {"pinball": np.mean(losses, axis=0)}
    if len(each) > 1:
        known = ~np.isnan(label + each[0] + each[-1])
        cells["coverage"] = np.where(known, (each[0] <= label) & (label <= each[-1]), np.nan)
        cells["interval_width"] = np.where(known, each[-1] - each[0], np.nan)
    return cells


def pooled(cells: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """Return series → (S,) float64, the mean over the instruments at each time: every time counts alike."""
    return {name: _mean(values, axis=1) for name, values in cells.items()}


def groups_of(predictions: Predictions, cells: Mapping[str, Doubles], target: Target) -> Iterator[Group]:
    """Yield the errors of each series, and of each hour of the day and month that is forecast, if there are several."""
    for code in np.flatnonzero(~np.isnan(cells["MAE"]).all(axis=0)).tolist():
        own = {name: np.ascontiguousarray(values[:, code]) for name, values in cells.items()}
        yield Group("series", predictions.instruments[code], own)
    together = pooled(cells)
    at = np.arange(predictions.start, predictions.stop) + target.ahead
    times = predictions.calendar.times[np.minimum(at, len(predictions.calendar) - 1)]
    hours = (times - times.astype("M8[D]")) // np.timedelta64(1, "h")
    months = times.astype("M8[M]").astype(np.int64) % 12 + 1
    for by, keys in (("hour", hours), ("month", months)):
        known = at < len(predictions.calendar)
        found = np.unique(keys[known]).tolist()
        for key in found if len(found) > 1 else ():
            chosen = (keys == key) & known
            apart = max(round(int(known.sum()) / int(chosen.sum())), 1) if by == "hour" else 1
            yield Group(by, f"{key:02d}", {name: values[chosen] for name, values in together.items()}, apart)


def reference_forecasts(predictions: Predictions, panel: Panel, target: Target) -> dict[str, Floats]:
    """Return name → (n,) float32, the reference forecasts of the rows, from what is known at each row's own time.

    ``persistence`` is the value at that time; ``yesterday`` and ``last_week`` that of the newest day, or week, at the
    same hour as the time that is forecast; ``climatology`` the mean of all values known by then of its month and hour.
    """
    calendar, values = panel.calendar, panel.fields[target.field]
    now = np.arange(predictions.start, predictions.stop)
    aimed = now + target.ahead
    known = aimed < len(calendar)
    then = calendar.times[np.minimum(aimed, len(calendar) - 1)]
    found = {"persistence": values[now].astype(np.float64)}
    for name, days in (("yesterday", 1), ("last_week", 7)):
        back = -(-(then - calendar.times[now]) // (days * _DAY).astype("m8[ns]")) * (days * _DAY).astype("m8[ns]")
        position = calendar.positions_of(then - back)
        found[name] = np.where((position >= 0)[:, None], values[position], np.nan).astype(np.float64)
    found["climatology"] = _climatology(calendar.times, values, now, np.minimum(aimed, len(calendar) - 1))
    rows, codes = predictions.row_times - predictions.start, predictions.codes
    return {
        name: np.where(known[:, None], forecast, np.nan)[rows, codes].astype(np.float32)
        for name, forecast in found.items()
    }


def _climatology(
    times: npt.NDArray[np.datetime64], values: Floats, now: npt.NDArray[Any], aimed: npt.NDArray[Any]
) -> Doubles:
    """Return (S, N) the mean of the values up to `now` at times of the month and hour of `aimed`, both positions."""
    hours = (times - times.astype("M8[D]")) // np.timedelta64(1, "h")
    kinds = times.astype("M8[M]").astype(np.int64) % 12 * _HOURS + hours.astype(np.int64)
    means = np.full((now.size, values.shape[1]), np.nan)
    for kind in np.unique(kinds[aimed]).tolist():
        alike, asked = np.flatnonzero(kinds == kind), np.flatnonzero(kinds[aimed] == kind)
        own = values[alike].astype(np.float64)
        count, total = np.cumsum(~np.isnan(own), axis=0), np.cumsum(np.nan_to_num(own), axis=0)
        newest = np.searchsorted(alike, now[asked], side="right") - 1
        with np.errstate(invalid="ignore"):
            mean = total[newest] / count[newest]
        means[asked] = np.where((newest >= 0)[:, None] & (count[newest] > 0), mean, np.nan)
    return means


def _seasonal_error(panel: Panel, target: Target, decision: int, season: int) -> Doubles:
    """Return (N,) the mean absolute difference to the value a season before, up to a decision."""
    values = panel.fields[target.field][: decision + 1].astype(np.float64)
    return _mean(np.abs(values[season:] - values[:-season]), axis=0)


def _dense(predictions: Predictions, values: Floats) -> Doubles:
    dense = np.full((predictions.times.size, len(predictions.instruments)), np.nan)
    dense[predictions.row_times - predictions.start, predictions.codes] = values
    return dense


def _mean(values: Doubles, axis: int) -> Doubles:
    count = (~np.isnan(values)).sum(axis=axis)
    total = np.nansum(values, axis=axis)
    mean: Doubles = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
