"""Judge predictions: the signal, and the portfolio that follows it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.evaluation import formulas as metrics
from harness.evaluation.metrics import Metric, evaluate_extra
from harness.evaluation.portfolio import PortfolioResult, Rules, TopkDropout, backtest, risk_analysis
from harness.evaluation.predictions import Predictions
from harness.evaluation.signal import SignalEvaluation, evaluate_signal
from harness.evaluation.year import Evaluation, Number, merge, summarised, year_of

Flags = npt.NDArray[np.bool_]


def signal_notes(predictions: Predictions, look_ahead: int) -> tuple[str, ...]:
    """Return notes with counts, in a fixed order; none when every test time and window can be judged.

    Times whose labels are not known yet, within `look_ahead` of the end of the calendar, need no note.
    """
    return (*_rows(predictions), *_undefined(predictions, look_ahead), *_constant(predictions))


def _rows(predictions: Predictions) -> list[str]:
    notes, counts, shown = [], np.diff(predictions.offsets), predictions.calendar.format
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        busy = np.flatnonzero(counts)
        last = f"; the last row is of {shown(predictions.start + int(busy[-1]))}" if busy.size else ""
        notes.append(
            f"{empty.size} of {counts.size} test periods have no row, first {shown(predictions.start + int(empty[0]))}"
            f"{last}: nobody in the universe has a price there, and no metric counts them"
        )
    lacking = int(np.isnan(predictions.score).sum())
    if lacking:
        notes.append(
            f"{lacking:,} of {predictions.score.size:,} predictions are missing (NaN): metrics leave them out, and a "
            "portfolio sells what has no score first; see what the model returns"
        )
    return notes


def _undefined(predictions: Predictions, look_ahead: int) -> list[str]:
    """Say at how many of the test times that have rows scores and labels cannot be correlated, by the reason."""
    score, label, offsets = predictions.score, predictions.label, predictions.offsets
    pairs = ~(np.isnan(score) | np.isnan(label))
    counted = np.diff(np.concatenate([[0], np.cumsum(pairs)])[offsets])
    has_rows, labelled = np.diff(offsets) > 0, _any(~np.isnan(label), offsets)
    at = np.arange(predictions.start, predictions.stop)
    early = ~labelled & (at + look_ahead >= len(predictions.calendar))
    asked = has_rows & ~early
    enough = counted >= 2
    reasons = {
        "no label is known": asked & ~labelled,
        "fewer than two instruments have a score and a label": asked & labelled & ~enough,
        "all instruments have the same score": asked & enough & _flat(score, pairs, offsets),
        "all instruments have the same label": asked & enough & _flat(label, pairs, offsets),
        "a score is infinite": asked & enough & _any(np.isinf(score), offsets),
    }
    found = {reason: int(times.sum()) for reason, times in reasons.items() if times.any()}
    if not found:
        return []
    total = int(np.logical_or.reduce(list(reasons.values())).sum())
    why = ", ".join(f"{reason} at {count}" for reason, count in found.items())
    return [
        f"IC and rank IC are undefined at {total} of {int(asked.sum())} test periods ({why}), and those do not "
        "count in them; metrics across instruments need at least two with different scores and labels"
    ]


def _constant(predictions: Predictions) -> list[str]:
    starts = np.append(predictions.window_starts, predictions.stop) - predictions.start
    spans = [predictions.score[predictions.offsets[a] : predictions.offsets[b]] for a, b in pairwise(starts.tolist())]
    constant = [at for at, score in enumerate(spans) if score.size > 1 and bool((score == score[0]).all())]
    if not constant:
        return []
    where = predictions.calendar.format(int(predictions.window_starts[constant[0]]))
    return [
        f"the model forecasts one number in {len(constant)} of {len(spans)} windows (first: window {constant[0]}, from "
        f"{where}): it learned nothing, or its features are missing there; loosen its "
        "regularisation (for lightgbm smaller model.lambda_l1, "
        "model.lambda_l2 and model.extra.min_data_in_leaf) or give it more rows or other features"
    ]


def _any(flags: Flags, offsets: npt.NDArray[np.int64]) -> Flags:
    """Return (S,) bool: does any row of each time have the flag."""
    found: Flags = np.diff(np.concatenate([[0], np.cumsum(flags)])[offsets]) > 0
    return found


def _flat(values: npt.NDArray[np.float32], keep: Flags, offsets: npt.NDArray[np.int64]) -> Flags:
    """Return (S,) bool: are all kept values of each time equal."""
    kept = values[keep]
    times = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))[keep]
    moves = np.append((kept[1:] != kept[:-1]) & (times[1:] == times[:-1]), np.False_)[: kept.size]
    varied = np.zeros(offsets.size - 1, dtype=np.bool_)
    varied[times[moves]] = True
    return ~varied


Doubles = npt.NDArray[np.float64]


def evaluate_portfolio(result: PortfolioResult, periods_per_year: int) -> Evaluation:
    """Judge a portfolio by its returns beyond the benchmark, after costs (and before, ``…_without_cost``).

    ``excess_return``, ``information_ratio`` and ``max_drawdown`` are the last three columns of qlib's benchmark tables;
    returns and cost are per year, ``portfolio_turnover`` is per time. Times without a return, behind the last price,
    count in nothing.

    Args:
        result: What the account did.
        periods_per_year: Periods in a year.
    """
    net = result.returns - result.cost
    series: dict[str, Doubles] = {
        "portfolio_return": net,
        "benchmark_return": result.benchmark,
        "excess_return": result.excess_with_cost,
        "excess_return_without_cost": result.excess_without_cost,
        "portfolio_cost": result.cost,
        "portfolio_turnover": result.turnover,
        "portfolio_value": result.value,
    }
    mode = result.config.accumulate

    known = ~np.isnan(net)

    def summarise(span: slice) -> dict[str, Number]:
        summary: dict[str, Number] = {}
        at = np.flatnonzero(known[span]) + span.start
        for suffix in ("", "_without_cost"):
            risk = risk_analysis(series[f"excess_return{suffix}"][at], periods_per_year, mode)
            summary[f"excess_return{suffix}"] = risk.annualized_return
            summary[f"information_ratio{suffix}"] = risk.information_ratio
            summary[f"max_drawdown{suffix}"] = risk.max_drawdown
        for name in ("portfolio_return", "benchmark_return"):
            summary[name] = risk_analysis(series[name][at], periods_per_year, mode).annualized_return
        summary["portfolio_cost"] = metrics.mean(result.cost[at]) * periods_per_year
        summary["portfolio_turnover"] = metrics.mean(result.turnover[at])
        return summary

    found = summarised(result.calendar, result.start, result.window_starts, series, summarise)
    return replace(found, periods_per_year=periods_per_year, notes=result.notes)


class Criteria(Protocol):
    """What predictions are judged by."""

    @property
    def signal(self) -> SignalEvaluation:
        """How the signal is judged."""
        ...

    @property
    def portfolio(self) -> TopkDropout | None:
        """The strategy whose portfolio is judged; None for the signal alone."""
        ...

    @property
    def rules(self) -> Rules:
        """Whose rules hold where nothing is configured: the harness's, or qlib's."""
        ...

    @property
    def extra(self) -> tuple[Metric, ...]:
        """Metrics of the user's own."""
        ...


def evaluate(
    predictions: Predictions,
    panel: Panel,
    criteria: Criteria,
    *,
    horizon: int | None,
    look_ahead: int = 1,
    same_unit: bool = True,
) -> Evaluation:
    """Judge predictions by all that `criteria` ask for: the signal, the portfolio that follows it, the user's own.

    All of them take a year to have the same number of times, see `year_of`.

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
    signal = evaluate_signal(predictions, config, horizon, same_unit=same_unit)
    year_notes = () if year.note is None else (year.note,)
    parts = [replace(signal, notes=(*year_notes, *signal_notes(predictions, look_ahead)))]
    if criteria.portfolio is not None:
        parts.append(evaluate_portfolio(backtest(panel, predictions, criteria.portfolio), year.periods))
    if criteria.extra:
        parts.append(evaluate_extra(predictions, criteria.extra, panel))
    return merge(*parts)
