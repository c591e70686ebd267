"""The deflated Sharpe ratio (Bailey & López de Prado 2014): more than the best of many tries, or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.errors import ConfigError
from harness.evaluation.significance.defined import Doubles, defined_rows, is_long_enough, varies


@dataclass(frozen=True)
class DeflatedSharpe:
    """A Sharpe ratio held against the best that chance alone would bring.

    Attributes
    ----------
    probability
        The deflated Sharpe ratio: probability that the true one exceeds the threshold; NaN when undefined.
    sharpe
        Mean over standard deviation (ddof 1) per period, not annualised.
    threshold
        Expected largest Sharpe ratio of `trials` worthless strategies, per period.
    skewness, kurtosis
        Of the returns; 0 and 3 when normal.
    trials
        Number of strategies tried.
    count, dropped
        Defined and undefined returns.
    """

    probability: float
    sharpe: float
    threshold: float
    skewness: float
    kurtosis: float
    trials: int
    count: int
    dropped: int


def deflated_sharpe_ratio(returns: Doubles, trial_sharpes: Doubles, trials: int | None = None) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of the chosen one of many strategies.

    Parameters
    ----------
    returns
        (S,) returns per period of the chosen strategy, NaN where undefined. Treated as serially independent.
    trial_sharpes
        (M,) Sharpe ratios per period of all strategies of the sweep, the chosen one included; NaN where undefined.
        Their variance (ddof 1) says how far chance can reach.
    trials
        Number of strategies tried, at least M; by default M. More than M when some were tried and thrown away.
        Strategies that resemble each other amount to fewer independent ones, so that M is on the careful side.

    Raises
    ------
    ConfigError
        When trials are fewer than the Sharpe ratios, or there are no two of these.
    DataError
        When a value is infinite.
    """
    (values,) = defined_rows("deflated_sharpe_ratio", returns)
    (sharpes,) = defined_rows("deflated_sharpe_ratio", trial_sharpes)
    trials = sharpes.size if trials is None else trials
    if sharpes.size < 2 or trials < sharpes.size:
        raise ConfigError(
            "Chance is measured by the spread over the trials.",
            where="deflated_sharpe_ratio.trials",
            got=f"{sharpes.size} defined Sharpe ratios, {trials} trials",
            expected="at least two Sharpe ratios, and as many trials",
        )
    threshold = expected_maximum_sharpe(trials, float(sharpes.var(ddof=1)))
    count, dropped, nan = values.size, returns.size - values.size, float("nan")
    if not is_long_enough(count, 1) or not varies(values, float(np.abs(values).max())):
        return DeflatedSharpe(nan, nan, threshold, nan, nan, trials, count, dropped)
    sharpe = float(values.mean() / values.std(ddof=1))
    standard = (values - values.mean()) / values.std()
    skewness, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2  # 0 for some series of two values
    probability = probabilistic_sharpe_ratio(sharpe, threshold, count, skewness, kurtosis) if spread > 0.0 else nan
    return DeflatedSharpe(probability, sharpe, threshold, skewness, kurtosis, trials, count, dropped)


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Return the expected largest of N independent normal Sharpe ratios of mean zero (equation 1 of the paper).

    √V ((1 − γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))) with γ Euler's constant; a single trial expects 0.

    Raises
    ------
    ConfigError
        When there is no trial or the variance is negative.
    """
    if trials < 1 or not variance >= 0.0:
        raise ConfigError(
            "Impossible trials.",
            where="expected_maximum_sharpe",
            got=f"{trials} trials, variance {variance}",
            expected="trials ≥ 1, variance ≥ 0",
        )
    if trials == 1:
        return 0.0
    quantile = NormalDist().inv_cdf
    high, higher = quantile(1.0 - 1.0 / trials), quantile(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - np.euler_gamma) * high + np.euler_gamma * higher)


def probabilistic_sharpe_ratio(
    sharpe: float, threshold: float, count: int, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the probability that the true Sharpe ratio exceeds a threshold (Bailey & López de Prado 2012).

    Φ((SR − SR₀) √(T − 1) / √(1 − γ₃ SR + (γ₄ − 1)/4 SR²)), every ratio per period.

    Raises
    ------
    ConfigError
        When there are fewer than two returns or no distribution has such moments.
    """
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if count < 2 or not variance > 0.0:
        raise ConfigError(
            "Impossible moments.",
            where="probabilistic_sharpe_ratio",
            got=f"{count} returns, skewness {skewness}, kurtosis {kurtosis}",
            expected="at least two returns, kurtosis > 1 + skewness²",
        )
    return NormalDist().cdf((sharpe - threshold) * math.sqrt(count - 1) / math.sqrt(variance))
