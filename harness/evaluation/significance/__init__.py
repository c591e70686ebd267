"""How sure a number is: intervals, paired tests, confidence sets, deflation, stability.

Pure functions of (S,) float64 series, one value per time. Undefined values (NaN) are dropped, from both sides of a
pair, and counted; the rest is treated as consecutive. An infinite value is an error. The seed stands in `Bootstrap`.

Labels that overlap make daily series autocorrelated, and the usual corrections (Newey–West with normal critical values,
percentile intervals of a block bootstrap) then reject two equal signals in 10–30 % of all cases at a nominal 5 %. The
tests here use fixed-smoothing asymptotics instead, see `harness.evaluation.significance.hac`.
"""

from harness.evaluation.significance.bootstrap import (
    Bootstrap,
    Interval,
    Question,
    bootstrap_interval,
    bootstrap_intervals,
    drawdown_interval,
    question,
)
from harness.evaluation.significance.confidence_set import ModelConfidenceSet, model_confidence_set
from harness.evaluation.significance.hac import HacTest, hac_mean, why_untested
from harness.evaluation.significance.paired import (
    PairedDifference,
    SubPeriod,
    calendar_years,
    diebold_mariano,
    paired_difference,
    paired_differences,
    paired_question,
    subperiod_stability,
    volatility_regimes,
)
from harness.evaluation.significance.sharpe import (
    BacktestOverfitting,
    DeflatedSharpe,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
)

__all__ = [
    "BacktestOverfitting",
    "Bootstrap",
    "DeflatedSharpe",
    "HacTest",
    "Interval",
    "ModelConfidenceSet",
    "PairedDifference",
    "Question",
    "SubPeriod",
    "bootstrap_interval",
    "bootstrap_intervals",
    "calendar_years",
    "deflated_sharpe_ratio",
    "diebold_mariano",
    "drawdown_interval",
    "expected_maximum_sharpe",
    "hac_mean",
    "model_confidence_set",
    "paired_difference",
    "paired_differences",
    "paired_question",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "question",
    "subperiod_stability",
    "volatility_regimes",
    "why_untested",
]
