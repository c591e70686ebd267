"""Judge predictions: the signal, the portfolio that follows it, metrics of the user's, and how sure each number is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.calendar import Calendar, frequency_of
from harness.data.panel import Panel
from harness.errors import DataError
from harness.errors.limits import traits_of
from harness.evaluation import formulas
from harness.evaluation.errors import ErrorEvaluation, Group, Target, error_cells, groups_of, pooled
from harness.evaluation.formulas import Doubles, offsets_among, times_that_vary
from harness.evaluation.metrics import (
    METRICS,
    Metric,
    MetricRecord,
    MetricTraits,
    SignalEvaluation,
    check_needs,
    metrics_of,
)
from harness.evaluation.portfolio.backtest import PortfolioResult, backtest
from harness.evaluation.portfolio.strategy import Rules, Strategy
from harness.evaluation.predictions import Predictions, read_table
from harness.evaluation.significance.bootstrap import Bootstrap, Question, bootstrap_intervals
from harness.evaluation.significance.hac import calendar_years, hac_mean
from harness.execution.progress import Observer
from harness.store.arrow import column_of

Number = float | int | None
Record = dict[str, float | int | str | None]
_TESTED = ("IC", "rank_IC")
_QLIB_DAYS = 238  # qlib's portfolio analysis: the trading days of a Chinese year


class Criteria(Protocol):
    """What predictions are judged by, see `harness.config.records.EvaluationConfig`."""

    @property
    def signal(self) -> SignalEvaluation | None: ...

    @property
    def errors(self) -> ErrorEvaluation | None: ...

    @property
    def portfolio(self) -> Strategy | None: ...

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
        groups: What the errors of parts of the forecasts are: ``by`` and ``name`` as in `Group`, then the metrics.
        parts: The series behind them.
        periods_per_year: What a year was taken to be; None where nothing is annualised.
        notes: What a reader must know beside the numbers: what is undefined, missing or taken otherwise, with counts.
        account: What the portfolio did; None without one.
    """

    overall: dict[str, Number]
    per_window: tuple[Record, ...]
    per_year: tuple[Record, ...]
    times: npt.NDArray[np.datetime64]
    series: Mapping[str, Doubles]
    groups: tuple[Record, ...] = ()
    parts: tuple[Group, ...] = field(default=(), repr=False)
    periods_per_year: int | None = None
    notes: tuple[str, ...] = ()
    account: PortfolioResult | None = None

    def write_series(self, path: Path) -> None:
        """Write the series as Parquet: column ``datetime``, then one per series; equal series give equal bytes."""
        columns = {"datetime": column_of(self.times), **{name: column_of(v) for name, v in self.series.items()}}
        pq.write_table(pa.table(columns), path, compression="zstd")


@dataclass(frozen=True, eq=False)
class DailySeries:
    """The series behind a run's metrics: (S,) ``datetime64[ns]``; name → (S,) float64, NaN where undefined."""

    times: npt.NDArray[np.datetime64]
    values: Mapping[str, Doubles]

    @classmethod
    def read(cls, path: Path) -> DailySeries:
        """Read what `Evaluation.write_series` wrote; raises `DataError` when it is missing or no such file."""
        table = read_table(path, "series")
        if "datetime" not in table.column_names:
            raise DataError("The file holds no series.", where=str(path), expected="a column `datetime`")
        columns = {name: np.array(table[name].to_numpy()) for name in table.column_names}
        return cls(columns.pop("datetime").astype("datetime64[ns]"), columns)

    def __getitem__(self, name: str) -> Doubles:
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values


def evaluate(
    predictions: Predictions,
    panel: Panel,
    criteria: Criteria,
    *,
    horizon: int | None,
    look_ahead: int = 1,
    same_unit: bool = True,
    target: Target | None = None,
) -> Evaluation:
    """Judge predictions by all that `criteria` ask for; everything takes a year to have the same number of times.

    Returns of a signal are annualised by the horizon: a label of 20 days, averaged over days, is a return of 20 days,
    not of one. ``turnover`` and ``autocorrelation`` compare a time with the one `lag` before, across windows too.

    ``excess_return``, ``information_ratio`` and ``max_drawdown`` of a portfolio, beyond the benchmark after costs, are
    the last three columns of qlib's benchmark tables; returns and cost are per year, ``portfolio_turnover`` is per
    time. Times without a return, behind the last price, count in nothing. A user's own metric is its series' mean.

    Args:
        predictions: Scores and raw labels of the test range.
        panel: The market of the portfolio, and the fields that metrics need.
        criteria: How to judge.
        horizon: Times that the label's return spans; None when the label is not a return: its returns are undefined.
        look_ahead: A label at s is known at s + look_ahead.
        same_unit: Scores are in the unit of the raw label; False where models learn a processed one, such as its rank:
            an error metric (``MSE``) is undefined.
        target: What is forecast, where it is the value of a field; needed to judge errors of series.

    Raises:
        ConfigError: When a metric needs a field that the panel has not.
        DataError: When a metric does not return one finite or undefined number per test time.
    """
    signal, parts, extra = criteria.signal, list[Group](), tuple[str, ...]()
    year = year_of(panel.calendar, None if signal is None else signal.periods_per_year, criteria.rules)
    check_needs(criteria.extra, panel.fields)
    series = {} if signal is None else _signal_series(predictions, signal, same_unit)
    if criteria.errors is not None and target is not None and same_unit:
        cells = error_cells(predictions, panel, target, criteria.errors)
        series, parts = series | pooled(cells), list(groups_of(predictions, cells, target))
        extra = quantile_notes(predictions.levels)
    counts = _counts(predictions, next(iter(series.values()), None))
    notes = [
        *(() if year.note is None else (year.note,)),
        *signal_notes(predictions, look_ahead, signal is not None),
        *extra,
    ]
    account = None if criteria.portfolio is None else backtest(panel, predictions, criteria.portfolio)
    if account is not None:
        series |= account.series
        notes += account.notes
    series |= {metric.name: _computed(metric, predictions, panel) for metric in criteria.extra}
    found = {**series, **counts}
    known = [m for m in metrics_of(criteria.extra).values() if m.series in found and (m.base or m.series) in found]

    accumulate = "sum" if criteria.portfolio is None else criteria.portfolio.trading.accumulate

    def summary(at: slice, of: Mapping[str, npt.NDArray[Any]] = found) -> dict[str, Number]:
        own = (metric for metric in known if metric.series in of)
        values = {metric.name: _value(metric, of, at, year.periods, horizon, accumulate) for metric in own}
        return {name: v if v is not None and math.isfinite(v) else None for name, v in values.items()}

    times, years, shown = predictions.times, calendar_years(predictions.times), predictions.calendar.format
    start, size = predictions.start, predictions.times.size
    windows = enumerate(_slices(predictions.window_starts - start, size))
    first = np.flatnonzero(np.append(True, np.diff(years) != 0)[:size])
    return Evaluation(
        overall=summary(slice(0, size)),
        per_window=tuple(
            {"window": i, "start": shown(start + at.start), "stop": shown(start + at.stop - 1), **summary(at)}
            for i, at in windows
        ),
        per_year=tuple({"year": int(years[at.start]), **summary(at)} for at in _slices(first, size)),
        times=times,
        series=series,
        groups=tuple({"by": part.by, "name": part.name, **summary(slice(None), part.series)} for part in parts),
        parts=tuple(parts),
        periods_per_year=year.periods,
        notes=tuple(notes),
        account=account,
    )


def _value(
    metric: MetricRecord,
    series: Mapping[str, npt.NDArray[Any]],
    at: slice,
    periods: int,
    horizon: int | None,
    accumulate: Literal["sum", "product"],
) -> Number:
    values = series[metric.series][at]
    if metric.statistic == "count":
        return int(values.sum())
    if metric.compounds:
        risk = formulas.risk_analysis(values[~np.isnan(series["portfolio_return"][at])], periods, accumulate)
        of = {"mean": risk.annualized_return, "ir": risk.information_ratio, "drawdown": risk.max_drawdown}
        return of[metric.statistic]
    if metric.scale == "horizon":
        return None if horizon is None else formulas.annualise(values, periods, horizon)
    if metric.statistic == "ir":
        return formulas.ir(values)
    if metric.statistic == "root":
        return formulas.root_mean(values)
    if metric.base is not None:
        return formulas.skill(values, series[metric.base][at])
    return formulas.mean(values) * (periods if metric.scale == "year" else 1)


def _slices(starts: npt.NDArray[np.int64], size: int) -> list[slice]:
    return [slice(a, b) for a, b in pairwise([*starts.tolist(), size]) if a < b]


def _signal_series(predictions: Predictions, config: SignalEvaluation, same_unit: bool) -> dict[str, Doubles]:
    score, label, offsets, codes = predictions.score, predictions.label, predictions.offsets, predictions.codes
    return {
        "IC": formulas.ic(score, label, offsets),
        "rank_IC": formulas.rank_ic(score, label, offsets),
        "long_short_return": formulas.long_short_return(score, label, offsets, config.quantile),
        "long_average_return": formulas.long_average_return(score, label, offsets),
        "turnover": formulas.top_turnover(score, codes, offsets, config.quantile, config.lag),
        "autocorrelation": formulas.score_autocorrelation(score, codes, offsets, config.lag),
        "MSE": formulas.mse(score, label, offsets) if same_unit else np.full(offsets.size - 1, np.nan),
    }


def _counts(predictions: Predictions, first: Doubles | None) -> dict[str, npt.NDArray[np.generic]]:
    """Return what is counted of predictions; days are undefined where the first series is, IC or MAE."""
    score, label, offsets = predictions.score, predictions.label, predictions.offsets
    return {
        "days": np.ones(offsets.size - 1),
        "rows": np.diff(offsets),
        "labelled_rows": np.diff(offsets_among(offsets, ~(np.isnan(label) | np.isnan(score)))),
        "undefined_days": np.zeros(offsets.size - 1) if first is None else np.isnan(first),
    }


def _computed(metric: Metric, predictions: Predictions, panel: Panel) -> Doubles:
    compute: Callable[..., object] = metric.compute
    needs, at = traits_of(metric, MetricTraits).needs, (predictions.row_times, predictions.codes)
    fields = ({name: panel.fields[name][at] for name in needs},) if needs else ()
    values, shape = np.asarray(compute(predictions, *fields)), predictions.times.shape
    is_number = np.issubdtype(values.dtype, np.number) and not np.issubdtype(values.dtype, np.complexfloating)
    has_infinite = is_number and bool(np.isinf(values).any())
    if values.shape != shape or not is_number or has_infinite:
        what, where = f"The metric `{metric.name}` returns something else than a series.", type(metric)
        got = f"{values.dtype} {values.shape}{', with infinite values' if has_infinite else ''}"
        expected = f"float64 {shape}: one number per test time, NaN where undefined"
        raise DataError(what, where=f"{where.__module__}.{where.__qualname__}.compute", got=got, expected=expected)
    return values.astype(np.float64)


def intervals(
    evaluation: Evaluation,
    criteria: Criteria,
    bootstrap: Bootstrap,
    *,
    horizon: int | None,
    look_ahead: int,
    observer: Observer | None = None,
) -> dict[str, dict[str, float | None]]:
    """Return the interval of every overall metric that follows from a series.

    Means and ratios have the symmetric studentised interval of `bootstrap_interval`, drawdowns the percentiles of
    resampled paths. Compounded returns are resampled as logarithms; their information ratio, a geometric mean over a
    standard deviation of logarithms, has no interval. The observer is told of the stage ``significance``.

    Returns:
        dict: Metric → ``low``, ``high``, ``level``, ``block_length``; for IC and rank IC also ``t`` and ``p`` of a true
            mean of zero, two-sided, from `hac_mean`. Undefined numbers are None: of a series into which fewer than five
            look-aheads fit, and of one that is nearly constant.
    """
    known = metrics_of(criteria.extra).values()
    metrics = [m for m in known if m.name in evaluation.overall and m.series in evaluation.series]
    compounding = criteria.portfolio is not None and criteria.portfolio.trading.accumulate == "product"
    questions, lag = [], 1 if criteria.signal is None else criteria.signal.lag
    for metric in metrics:
        series, overlap = evaluation.series[metric.series], metric.overlap_at(look_ahead, lag)
        values = np.log1p(series) if compounding and metric.compounds else series
        base = None if metric.base is None else evaluation.series[metric.base]
        questions.append(Question(values, metric.statistic, overlap, base=base))
    found: dict[str, dict[str, float | None]] = {}
    for metric, answer in zip(metrics, bootstrap_intervals(questions, bootstrap, observer), strict=True):
        interval = answer.scaled(metric.factor(evaluation.periods_per_year, horizon))
        if compounding and metric.compounds:
            low, high = (math.nan if metric.statistic == "ir" else math.expm1(b) for b in (interval.low, interval.high))
            interval = replace(interval, low=low, high=high)
        record = {name: getattr(interval, name) for name in ("low", "high", "level", "block_length")}
        if metric.name in _TESTED:
            test = hac_mean(evaluation.series[metric.series], look_ahead=look_ahead)
            record |= {"t": test.t_value, "p": test.p_value}
        found[metric.name] = {name: value if math.isfinite(value) else None for name, value in record.items()}
    return found


def group_intervals(
    evaluation: Evaluation, bootstrap: Bootstrap, *, look_ahead: int, observer: Observer | None = None
) -> list[dict[str, dict[str, float | None]]]:
    """Return for each group of an evaluation metric → ``low`` and ``high`` of the metrics with a column, as above."""
    asked: list[tuple[int, MetricRecord, Question]] = []
    for at, part in enumerate(evaluation.parts):
        overlap = max(-(-look_ahead // part.apart), 1)
        for metric in (m for m in METRICS.values() if m.column and m.series in part.series):
            base = None if metric.base is None else part.series[metric.base]
            asked.append((at, metric, Question(part.series[metric.series], metric.statistic, overlap, base=base)))
    answers = bootstrap_intervals([question for *_, question in asked], bootstrap, observer)
    found: list[dict[str, dict[str, float | None]]] = [{} for _ in evaluation.parts]
    for (at, metric, _), answer in zip(asked, answers, strict=True):
        bounds = {"low": answer.low, "high": answer.high}
        found[at][metric.name] = {name: value if math.isfinite(value) else None for name, value in bounds.items()}
    return found


def quantile_notes(levels: tuple[float, ...]) -> tuple[str, ...]:
    """Return what a reader of a coverage must know: what it should be."""
    if len(levels) < 2:
        return ()
    return (
        f"coverage is that of the interval between the quantiles {levels[0]:g} and {levels[-1]:g}, nominally "
        f"{levels[-1] - levels[0]:.0%}; pinball is the mean over {len(levels)} quantiles",
    )


def signal_notes(predictions: Predictions, look_ahead: int, ranks: bool = True) -> Iterator[str]:
    """Yield what a reader must know beside a signal's metrics: what is missing, undefined or constant, with counts.

    Times whose labels are not known yet, within `look_ahead` of the end of the calendar, need no note; nor do those at
    which nothing can be ranked, where nobody asks for `ranks`.
    """
    score, offsets, start = predictions.score, predictions.offsets, predictions.start
    counts, shown = np.diff(offsets), predictions.calendar.format
    empty, busy = np.flatnonzero(counts == 0), np.flatnonzero(counts)
    if empty.size:
        last = f"; the last row is of {shown(start + int(busy[-1]))}" if busy.size else ""
        yield (
            f"{empty.size} of {counts.size} test periods have no row, first {shown(start + int(empty[0]))}{last}: "
            "nobody in the universe has a price there, and no metric counts them"
        )
    if lacking := int(np.isnan(score).sum()):
        yield (
            f"{lacking:,} of {score.size:,} predictions are missing (NaN): metrics leave them out, and a portfolio "
            "sells what has no score first; see what the model returns"
        )
    asked, reasons = _undefined(predictions, look_ahead)
    if ranks and (total := int(np.logical_or.reduce(list(reasons.values())).sum())):
        why = ", ".join(f"{reason} at {times.sum()}" for reason, times in reasons.items() if times.any())
        yield (
            f"IC and rank IC are undefined at {total} of {asked} test periods ({why}), and those do not count in them; "
            "metrics across instruments need at least two with different scores and labels"
        )
    borders = np.append(predictions.window_starts, predictions.stop) - start
    spans = [score[offsets[a] : offsets[b]] for a, b in pairwise(borders.tolist())]
    if constant := [at for at, span in enumerate(spans) if span.size > 1 and bool((span == span[0]).all())]:
        yield (
            f"the model forecasts one number in {len(constant)} of {len(spans)} windows (first: window {constant[0]}, "
            f"from {shown(int(predictions.window_starts[constant[0]]))}): it learned nothing, or its features are "
            "missing there; loosen its regularisation (for lightgbm smaller model.lambda_l1, model.lambda_l2 and "
            "model.extra.min_data_in_leaf) or give it more rows or other features"
        )


def _undefined(predictions: Predictions, look_ahead: int) -> tuple[int, dict[str, npt.NDArray[np.bool_]]]:
    """Return at how many times an IC is asked for, and reason → (S,) bool, where it is undefined."""
    score, label, offsets = predictions.score, predictions.label, predictions.offsets
    pairs = ~(np.isnan(score) | np.isnan(label))

    def count(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.diff(offsets_among(offsets, rows))

    labelled, at = count(~np.isnan(label)) > 0, np.arange(predictions.start, predictions.stop)
    asked = (np.diff(offsets) > 0) & (labelled | (at + look_ahead < len(predictions.calendar)))
    enough, paired = asked & (count(pairs) >= 2), offsets_among(offsets, pairs)
    return int(asked.sum()), {
        "no label is known": asked & ~labelled,
        "fewer than two instruments have a score and a label": asked & labelled & ~enough,
        "all instruments have the same score": enough & ~times_that_vary(score[pairs], paired),
        "all instruments have the same label": enough & ~times_that_vary(label[pairs], paired),
        "a score is infinite": enough & (count(np.isinf(score)) > 0),
    }
