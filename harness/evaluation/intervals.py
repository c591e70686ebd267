"""How sure each overall metric is: its interval, and for the mean ICs the t-value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.evaluation.portfolio import TopkDropout
from harness.evaluation.signal import SignalEvaluation
from harness.evaluation.significance import Bootstrap, Interval, Question, bootstrap_intervals, hac_mean, question
from harness.evaluation.year import Evaluation
from harness.execution.progress import Observer

Doubles = npt.NDArray[np.float64]
Record = dict[str, float | None]

_TESTED = ("IC", "rank_IC")


@dataclass(frozen=True)
class Estimate:
    """How an overall metric follows from a series.

    Attributes:
        series: Its name.
        statistic: ``mean``, ``ir`` (mean over standard deviation) or ``drawdown``.
        overlap: What neighbouring values share: the ``label``'s look-ahead, the scores of ``lag`` times before, or
            nothing.
        unit: What the statistic is multiplied by: nothing, returns of a ``horizon`` to a year, periods to a ``year``,
            or the ``root`` of the periods in a year.
    """

    series: str
    statistic: Literal["mean", "ir", "drawdown"] = "mean"
    overlap: Literal["label", "lag", "nothing"] = "label"
    unit: Literal["none", "horizon", "year", "root"] = "none"


def _portfolio_estimates() -> dict[str, Estimate]:
    found = {}
    for suffix in ("", "_without_cost"):
        series = f"excess_return{suffix}"
        found[series] = Estimate(series, "mean", "nothing", "year")
        found[f"information_ratio{suffix}"] = Estimate(series, "ir", "nothing", "root")
        found[f"max_drawdown{suffix}"] = Estimate(series, "drawdown", "nothing")
    for name in ("portfolio_return", "benchmark_return", "portfolio_cost"):
        found[name] = Estimate(name, "mean", "nothing", "year")
    return {**found, "portfolio_turnover": Estimate("portfolio_turnover", "mean", "nothing")}


ESTIMATES: Mapping[str, Estimate] = MappingProxyType(
    {
        "IC": Estimate("IC"),
        "ICIR": Estimate("IC", "ir"),
        "rank_IC": Estimate("rank_IC"),
        "rank_ICIR": Estimate("rank_IC", "ir"),
        "long_short_return": Estimate("long_short_return", unit="horizon"),
        "long_average_return": Estimate("long_average_return", unit="horizon"),
        "turnover": Estimate("turnover", overlap="lag"),
        "autocorrelation": Estimate("autocorrelation", overlap="lag"),
        "MSE": Estimate("MSE"),
        **_portfolio_estimates(),
    }
)


@dataclass(frozen=True)
class Judged:
    """What the predictions were judged by.

    Attributes:
        signal, portfolio: How signal and portfolio are judged.
        look_ahead: Of the label.
        horizon: Times that the label's return spans; None when the label is not a return.
    """

    signal: SignalEvaluation
    portfolio: TopkDropout | None
    look_ahead: int
    horizon: int | None

    @property
    def compounds(self) -> bool:
        """Whether the portfolio's returns are multiplied instead of added."""
        return self.portfolio is not None and self.portfolio.accumulate == "product"

    def overlap(self, estimate: Estimate) -> int:
        """Return the look-ahead that makes neighbouring values of a series dependent; 1 when they share nothing."""
        return {"label": self.look_ahead, "lag": self.signal.lag + 1, "nothing": 1}[estimate.overlap]

    def factor(self, estimate: Estimate, periods: int | None) -> float:
        """Return what the statistic of the series is multiplied by; NaN where that is undefined.

        `periods` are the times in a year; only a metric that is not annualised can do without.
        """
        if estimate.unit == "none":
            return 1.0
        if periods is None:
            return float("nan")
        per_horizon = float("nan") if self.horizon is None else periods / self.horizon
        return {"horizon": per_horizon, "year": float(periods), "root": math.sqrt(periods)}[estimate.unit]


def intervals(
    evaluation: Evaluation, judged: Judged, bootstrap: Bootstrap, observer: Observer | None = None
) -> dict[str, Record]:
    """Return the interval of every overall metric that follows from a series.

    Means and ratios have the symmetric studentised interval of `bootstrap_interval`, drawdowns the percentiles of
    resampled paths. A user's own metric is the mean of its series, which depend on each other like the labels.
    Compounded returns are resampled as logarithms; their information ratio, a geometric mean over a standard deviation
    of logarithms, has no interval.

    Args:
        evaluation: Metrics and series.
        judged: What gives the series their overlap and the metrics their unit.
        bootstrap: How to resample.
        observer: Told of the stage ``significance``, which takes seconds over tens of thousands of times.

    Returns:
        dict: Metric → ``low``, ``high``, ``level``, ``block_length``; for IC and rank IC also ``t`` and ``p`` of a true
            mean of zero, two-sided, from `harness.evaluation.significance.hac_mean`. Undefined numbers are None: of a
            series into which fewer than five look-aheads fit, and of one that is nearly constant.
    """
    own = [name for name in evaluation.overall if name in evaluation.series and name not in ESTIMATES]
    wanted = {**ESTIMATES, **{name: Estimate(name) for name in own}}
    wanted = {name: estimate for name, estimate in wanted.items() if name in evaluation.overall}
    questions = [_question(evaluation.series[estimate.series], estimate, judged) for estimate in wanted.values()]
    answers = bootstrap_intervals(questions, bootstrap, observer)
    found = {}
    for (name, estimate), answer in zip(wanted.items(), answers, strict=True):
        interval = _in_unit(answer, estimate, judged, evaluation.periods_per_year)
        found[name] = _plain(
            {"low": interval.low, "high": interval.high, "level": interval.level, "block_length": interval.block_length}
        )
        if name in _TESTED:
            test = hac_mean(evaluation.series[estimate.series], look_ahead=judged.overlap(estimate))
            found[name] |= _plain({"t": test.t_value, "p": test.p_value})
    return found


def _question(series: Doubles, estimate: Estimate, judged: Judged) -> Question:
    values = np.log1p(series) if judged.compounds and _is_compounded(estimate) else series
    return question(values, estimate.statistic, judged.overlap(estimate))


def _in_unit(interval: Interval, estimate: Estimate, judged: Judged, periods: int | None) -> Interval:
    """Return the interval of a series' statistic as one of the metric."""
    interval = interval.scaled(judged.factor(estimate, periods))
    if not (judged.compounds and _is_compounded(estimate)):
        return interval
    if estimate.statistic == "ir":
        return replace(interval, low=float("nan"), high=float("nan"))
    return replace(interval, low=math.expm1(interval.low), high=math.expm1(interval.high))


def _is_compounded(estimate: Estimate) -> bool:
    """Whether the metric is a `risk_analysis` of returns; cost and turnover are plain means."""
    return estimate.series.startswith("excess_return") or estimate.series in ("portfolio_return", "benchmark_return")


def _plain(record: dict[str, float]) -> Record:
    return {name: value if math.isfinite(value) else None for name, value in record.items()}
