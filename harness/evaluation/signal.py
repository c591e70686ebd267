"""Judge the scores against the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from harness.data.calendar import frequency_of
from harness.errors.limits import Count, check_limits
from harness.evaluation import formulas as metrics
from harness.evaluation.predictions import Predictions
from harness.evaluation.year import Evaluation, Number, summarised

Doubles = npt.NDArray[np.float64]


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
        """Refuse impossible numbers."""
        check_limits(self, "evaluation.signal")


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
        horizon: Times that the label's return spans; None when the label is not a return.
        same_unit: Scores are in the unit of the raw label; False where models learn a processed one, such as its rank.
    """
    periods = config.periods_per_year or frequency_of(predictions.calendar).periods_per_year
    score, label, offsets, codes = predictions.score, predictions.label, predictions.offsets, predictions.codes
    labelled = np.concatenate([[0], np.cumsum(~(np.isnan(label) | np.isnan(score)))])
    series: dict[str, Doubles] = {
        "IC": metrics.ic(score, label, offsets),
        "rank_IC": metrics.rank_ic(score, label, offsets),
        "long_short_return": metrics.long_short_return(score, label, offsets, config.quantile),
        "long_average_return": metrics.long_average_return(score, label, offsets),
        "turnover": metrics.top_turnover(score, codes, offsets, config.quantile, config.lag),
        "autocorrelation": metrics.score_autocorrelation(score, codes, offsets, config.lag),
        "MSE": metrics.mse(score, label, offsets) if same_unit else np.full(offsets.size - 1, np.nan),
    }

    def summarise(at: slice) -> dict[str, Number]:
        part = {name: values[at] for name, values in series.items()}
        summary: dict[str, Number] = {
            "IC": metrics.mean(part["IC"]),
            "ICIR": metrics.ir(part["IC"]),
            "rank_IC": metrics.mean(part["rank_IC"]),
            "rank_ICIR": metrics.ir(part["rank_IC"]),
        }
        for name in ("long_short_return", "long_average_return"):
            summary[name] = None if horizon is None else metrics.annualise(part[name], periods, horizon)
        summary |= {name: metrics.mean(part[name]) for name in ("turnover", "autocorrelation", "MSE")}
        return summary | {
            "days": at.stop - at.start,
            "rows": int(offsets[at.stop] - offsets[at.start]),
            "labelled_rows": int(labelled[offsets[at.stop]] - labelled[offsets[at.start]]),
            "undefined_days": int(np.isnan(part["IC"]).sum()),
        }

    found = summarised(predictions.calendar, predictions.start, predictions.window_starts, series, summarise)
    return replace(found, periods_per_year=periods)
