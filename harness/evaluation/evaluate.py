"""Judge predictions: the signal, the portfolio that follows it, and metrics of the user's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.calendar import Calendar, frequency_of
from harness.data.panel import Panel
from harness.errors import DataError
from harness.errors.limits import traits_of
from harness.evaluation import formulas, metrics
from harness.evaluation.formulas import Doubles
from harness.evaluation.metrics import METRICS, Metric, MetricRecord, MetricTraits, SignalEvaluation
from harness.evaluation.notes import signal_notes
from harness.evaluation.portfolio.backtest import PortfolioResult, backtest, risk_analysis
from harness.evaluation.portfolio.topk_dropout import Rules, TopkDropout
from harness.evaluation.predictions import Predictions, read_table

Number = float | int | None
Record = dict[str, float | int | str | None]
_QLIB_DAYS = 238  # qlib's portfolio analysis: the trading days of a Chinese year


class Criteria(Protocol):
    """What predictions are judged by, see `harness.config.records.EvaluationConfig`."""

    @property
    def signal(self) -> SignalEvaluation: ...

    @property
    def portfolio(self) -> TopkDropout | None: ...

    @property
    def rules(self) -> Rules: ...

    @property
    def extra(self) -> tuple[Metric, ...]: ...


@dataclass(frozen=True)
class Year:
    """A year in times of a calendar, where the number comes from, and what was asked for and cannot be."""

    periods: int
    source: str
    note: str | None = None


def year_of(calendar: Calendar, configured: int | None, rules: Rules) -> Year:
    """Return the times in a year: the configured number, or that of the calendar.

    By qlib's rules a daily calendar of five weekdays has 238; those rules say nothing of other calendars, so that these
    keep their own number, with a note. `configured` is ``evaluation.signal.periods_per_year``.
    """
    frequency = frequency_of(calendar)
    name, periods = frequency.name, frequency.periods_per_year
    if configured is not None:
        return Year(configured, f"as configured; the calendar is {name}")
    if rules == "qlib" and frequency.is_exchange_daily:
        return Year(_QLIB_DAYS, f"{name}, by qlib's rules")
    note = (
        f"qlib's {_QLIB_DAYS} periods a year are those of a daily calendar of five weekdays; this one is {name}, and "
        f"annualised by {periods}"
    )
    return Year(periods, f"{name}, by the calendar", note if rules == "qlib" else None)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics and the series behind them; the mappings and records are plain JSON data.

    An undefined metric is None, never left out.

    Attributes:
        overall: MetricRecord → value over the whole test range.
        per_window: One record per window: ``window``, ``start``, ``stop`` (first and last time), then the metrics.
        per_year: One record per calendar year: ``year``, then the metrics.
        times: (S,) ``datetime64[ns]``.
        series: Name → (S,) float64, NaN where undefined.
        periods_per_year: What a year was taken to be; None where nothing is annualised.
        notes: What a reader must know beside the numbers: what is undefined, missing or taken otherwise, with counts.
    """

    overall: dict[str, Number]
    per_window: tuple[Record, ...]
    per_year: tuple[Record, ...]
    times: npt.NDArray[np.datetime64]
    series: Mapping[str, Doubles]
    periods_per_year: int | None = None
    notes: tuple[str, ...] = ()

    def write_series(self, path: Path) -> None:
        """Write the series as Parquet: column ``datetime``, then one per series; equal series give equal bytes."""
        columns = {"datetime": pa.array(self.times), **{name: pa.array(v) for name, v in self.series.items()}}
        pq.write_table(pa.table(columns), path, compression="zstd")


def read_series(path: Path) -> tuple[npt.NDArray[np.datetime64], dict[str, Doubles]]:
    """Return the times and the series of a file that `Evaluation.write_series` wrote, or refuse the file by name."""
    table = read_table(path, "series")
    if "datetime" not in table.column_names:
        raise DataError("The file holds no series.", where=str(path), expected="a column `datetime`")
    columns = {name: np.array(table[name].to_numpy()) for name in table.column_names}
    return columns.pop("datetime").astype("datetime64[ns]"), columns


def evaluate(
    predictions: Predictions,
    panel: Panel,
    criteria: Criteria,
    *,
    horizon: int | None,
    look_ahead: int = 1,
    same_unit: bool = True,
) -> Evaluation:
    """Judge predictions by all that `criteria` ask for; everything takes a year to have the same number of times.

    Args:
        predictions: Scores and raw labels of the test range.
        panel: The market of the portfolio.
        criteria: How to judge.
        horizon: Times that the label's return spans; None when the label is not a return.
        look_ahead: A label at s is known at s + look_ahead.
        same_unit: Scores are in the unit of the raw label, see `evaluate_signal`.
    """
    year = year_of(panel.calendar, criteria.signal.periods_per_year, criteria.rules)
    config = replace(criteria.signal, periods_per_year=year.periods)
    parts = [evaluate_signal(predictions, config, horizon, same_unit=same_unit)]
    notes = [*(() if year.note is None else (year.note,)), *signal_notes(predictions, look_ahead)]
    if criteria.portfolio is not None:
        parts.append(evaluate_portfolio(backtest(panel, predictions, criteria.portfolio), year.periods))
    if criteria.extra:
        parts.append(evaluate_extra(predictions, criteria.extra, panel))
    return Evaluation(
        overall=_union(part.overall for part in parts),
        per_window=tuple(map(_union, zip(*(part.per_window for part in parts), strict=True))),
        per_year=tuple(map(_union, zip(*(part.per_year for part in parts), strict=True))),
        times=parts[0].times,
        series=_union(part.series for part in parts),
        periods_per_year=year.periods,
        notes=(*notes, *(note for part in parts for note in part.notes)),
    )


def evaluate_signal(
    predictions: Predictions, config: SignalEvaluation, horizon: int | None, *, same_unit: bool = True
) -> Evaluation:
    """Judge the scores against the raw labels.

    Returns are annualised by the horizon: a label of 20 days, averaged over days, is a return of 20 days, not of one.
    Without a horizon they are undefined. ``turnover`` and ``autocorrelation`` compare a time with the one `lag` before,
    across the border of windows too. An error metric (``MSE``) is undefined where scores are in another unit than
    labels.

    Args:
        predictions: Scores and raw labels.
        config: How to judge.
        horizon: See `evaluate`.
        same_unit: Scores are in the unit of the raw label; False where models learn a processed one, such as its rank.
    """
    score, label, offsets, codes = predictions.score, predictions.label, predictions.offsets, predictions.codes
    series: dict[str, Doubles] = {
        "IC": formulas.ic(score, label, offsets),
        "rank_IC": formulas.rank_ic(score, label, offsets),
        "long_short_return": formulas.long_short_return(score, label, offsets, config.quantile),
        "long_average_return": formulas.long_average_return(score, label, offsets),
        "turnover": formulas.top_turnover(score, codes, offsets, config.quantile, config.lag),
        "autocorrelation": formulas.score_autocorrelation(score, codes, offsets, config.lag),
        "MSE": formulas.mse(score, label, offsets) if same_unit else np.full(offsets.size - 1, np.nan),
    }
    labelled = np.concatenate([[0], np.cumsum(~(np.isnan(label) | np.isnan(score)))])
    counts = {
        "days": np.ones(offsets.size - 1),
        "rows": np.diff(offsets),
        "labelled_rows": np.diff(labelled[offsets]),
        "undefined_days": np.isnan(series["IC"]),
    }
    found = {**series, **counts}
    periods = config.periods_per_year or frequency_of(predictions.calendar).periods_per_year

    def value(metric: MetricRecord, at: slice) -> Number:
        values = found[metric.series][at]
        if metric.statistic == "count":
            return int(values.sum())
        if metric.scale == "horizon":
            return None if horizon is None else formulas.annualise(values, periods, horizon)
        return formulas.ir(values) if metric.statistic == "ir" else formulas.mean(values)

    summary = _summarised(predictions, series, value, [m for m in METRICS.values() if m.series in found])
    return replace(summary, periods_per_year=periods)


def evaluate_portfolio(result: PortfolioResult, periods_per_year: int) -> Evaluation:
    """Judge a portfolio by its returns beyond the benchmark, after costs (and before, ``…_without_cost``).

    ``excess_return``, ``information_ratio`` and ``max_drawdown`` are the last three columns of qlib's benchmark tables;
    returns and cost are per year, ``portfolio_turnover`` is per time. Times without a return, behind the last price,
    count in nothing.
    """
    series: dict[str, Doubles] = {
        "portfolio_return": result.returns - result.cost,
        "benchmark_return": result.benchmark,
        "excess_return": result.excess_with_cost,
        "excess_return_without_cost": result.excess_without_cost,
        "portfolio_cost": result.cost,
        "portfolio_turnover": result.turnover,
        "portfolio_value": result.value,
    }
    known = ~np.isnan(series["portfolio_return"])

    def value(metric: MetricRecord, at: slice) -> Number:
        values = series[metric.series][at][known[at]]
        if not metric.compounds:
            return formulas.mean(values) * (periods_per_year if metric.scale == "year" else 1)
        risk = risk_analysis(values, periods_per_year, result.config.accumulate)
        of = {"mean": risk.annualized_return, "ir": risk.information_ratio, "drawdown": risk.max_drawdown}
        return of[metric.statistic]

    found = _summarised(result.predictions, series, value, [m for m in METRICS.values() if m.series in series])
    return replace(found, periods_per_year=periods_per_year, notes=result.notes)


def evaluate_extra(predictions: Predictions, extra: tuple[Metric, ...], panel: Panel | None = None) -> Evaluation:
    """Judge predictions by a user's own metrics: the mean of each series, overall, per window and per year.

    Raises:
        ConfigError: When a metric needs a field that the panel has not.
        DataError: When a metric does not return one finite or undefined number per test time.
    """
    metrics.check_needs(extra, () if panel is None else panel.fields)
    series = {metric.name: _computed(metric, predictions, panel) for metric in extra}
    own = [metric for name, metric in metrics.metrics_of(extra).items() if name in series]
    return _summarised(predictions, series, lambda metric, at: formulas.mean(series[metric.series][at]), own)


def _computed(metric: Metric, predictions: Predictions, panel: Panel | None) -> Doubles:
    compute: Callable[..., object] = metric.compute
    needs, at = traits_of(metric, MetricTraits).needs, (predictions.row_times, predictions.codes)
    fields = () if panel is None or not needs else ({name: panel.fields[name][at] for name in needs},)
    values, shape = np.asarray(compute(predictions, *fields)), predictions.times.shape
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


def _summarised(
    of: Predictions,
    series: dict[str, Doubles],
    value: Callable[[MetricRecord, slice], Number],
    wanted: Iterable[MetricRecord],
) -> Evaluation:
    """Return the values of metrics, NaN or None where undefined, over all times, per window and per year."""

    def summary(at: slice) -> dict[str, Number]:
        values = {metric.name: value(metric, at) for metric in wanted}
        return {name: v if v is not None and math.isfinite(v) else None for name, v in values.items()}

    times, shown = of.times, of.calendar.format
    years = times.astype("datetime64[Y]").astype(np.int64) + 1970
    first = np.flatnonzero(np.append(True, np.diff(years) != 0)[: times.size])
    per_window: tuple[Record, ...] = tuple(
        {"window": i, "start": shown(of.start + at.start), "stop": shown(of.start + at.stop - 1), **summary(at)}
        for i, at in enumerate(_slices(of.window_starts - of.start, times.size))
    )
    per_year: tuple[Record, ...] = tuple(
        {"year": int(years[at.start]), **summary(at)} for at in _slices(first, times.size)
    )
    return Evaluation(summary(slice(0, times.size)), per_window, per_year, times, MappingProxyType(series))


def _slices(starts: npt.NDArray[np.int64], size: int) -> list[slice]:
    stops = np.append(starts[1:], size)
    return [slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True) if a < b]


def _union(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for record in records for name, value in record.items()}
