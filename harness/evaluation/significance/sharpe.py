"""The deflated Sharpe ratio (Bailey & López de Prado 2014): more than the best of many tries, or not."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.hac import ROUNDING, Doubles, defined_rows, is_long_enough, largest, varies


@dataclass(frozen=True)
class DeflatedSharpe:
    """A Sharpe ratio held against the best that chance alone would bring.

    Attributes:
        probability: The deflated Sharpe ratio: probability that the true one exceeds the threshold; NaN when undefined.
        sharpe: Mean over standard deviation (ddof 1) per period, not annualised.
        threshold: Expected largest Sharpe ratio of `trials` worthless strategies, per period.
        skewness, kurtosis: Of the returns; 0 and 3 when normal.
        trials: Number of strategies tried.
        count, dropped: Defined and undefined returns.
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

    Args:
        returns: (S,) returns per period of the chosen strategy, treated as serially independent.
        trial_sharpes: (M,) Sharpe ratios per period of all strategies of the sweep, the chosen one included. Their
            variance (ddof 1) says how far chance can reach.
        trials: Number of strategies tried, at least M; by default M. More than M when some were tried and thrown away.
            Strategies that resemble each other amount to fewer independent ones, so that M is on the careful side.

    Raises:
        ConfigError: When trials are fewer than the Sharpe ratios, or there are no two of these.
    """
    (values,) = defined_rows("deflated_sharpe_ratio", returns)
    (sharpes,) = defined_rows("deflated_sharpe_ratio", trial_sharpes)
    trials = sharpes.size if trials is None else trials
    if sharpes.size < 2 or trials < sharpes.size:
        what = "Chance is measured by the spread over the trials."
        got = f"{sharpes.size} Sharpe ratios, {trials} trials"
        expected = "at least two defined Sharpe ratios, and as many trials"
        raise ConfigError(what, where="deflated_sharpe_ratio.trials", got=got, expected=expected)
    threshold = expected_maximum_sharpe(trials, float(sharpes.var(ddof=1)))
    count, dropped, nan = values.size, returns.size - values.size, float("nan")
    if not is_long_enough(count, 1) or not varies(values, largest(values)):
        return DeflatedSharpe(nan, nan, threshold, nan, nan, trials, count, dropped)
    sharpe = float(values.mean() / values.std(ddof=1))
    standard = (values - values.mean()) / values.std()
    skewness, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    probability = probabilistic_sharpe_ratio(sharpe, threshold, count, skewness, kurtosis)
    return DeflatedSharpe(probability, sharpe, threshold, skewness, kurtosis, trials, count, dropped)


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Return the expected largest of N independent normal Sharpe ratios of mean zero (equation 1 of the paper).

    √V ((1 − γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))) with γ Euler's constant; a single trial expects 0.

    Raises:
        ConfigError: When there is no trial or the variance is negative.
    """
    if trials < 1 or not variance >= 0.0:
        got, expected = f"{trials} trials, variance {variance}", "trials ≥ 1, variance ≥ 0"
        raise ConfigError("Impossible trials.", where="expected_maximum_sharpe", got=got, expected=expected)
    if trials == 1:
        return 0.0
    quantile = NormalDist().inv_cdf
    high, higher = quantile(1.0 - 1.0 / trials), quantile(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - np.euler_gamma) * high + np.euler_gamma * higher)


def probabilistic_sharpe_ratio(
    sharpe: float, threshold: float, count: int, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the probability that the true Sharpe ratio exceeds a threshold (Bailey & López de Prado 2012).

    Φ((SR − SR₀) √(T − 1) / √(1 − γ₃ SR + (γ₄ − 1)/4 SR²)), every ratio per period; NaN of fewer than two returns, and
    where the root is of no positive number: for some series of two values, and moments that no distribution has.
    """
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if count < 2 or not variance > 0.0:
        return math.nan
    return NormalDist().cdf((sharpe - threshold) * math.sqrt(count - 1) / math.sqrt(variance))


@dataclass(frozen=True)
class BacktestOverfitting:
    """What happens out of sample to the strategy that was best in sample, over all symmetric splits.

    Attributes:
        probability: Share of the splits in which it is not above the median out of sample.
        loss_probability: Share of the splits in which its Sharpe ratio out of sample is negative.
        degradation: Slope of its Sharpe ratio out of sample on that in sample, over the splits; NaN when that does not
            vary.
        splits: Number of splits.
        strategies: M.
        count, dropped: Times at which all returns are defined, and the others.
    """

    probability: float
    loss_probability: float
    degradation: float
    splits: int
    strategies: int
    count: int
    dropped: int


def probability_of_backtest_overfitting(returns: Doubles, blocks: int = 16) -> BacktestOverfitting:
    """Return the probability of backtest overfitting by combinatorially symmetric cross-validation.

    The times are cut into consecutive blocks; each choice of half of them is the sample, the rest is out of sample.
    With r the rank out of sample (1 the worst) of the strategy with the best Sharpe ratio in sample,
    λ = log(ω/(1 − ω)), ω = r/(M + 1), and the probability is the share of splits with λ ≤ 0. Of equal Sharpe ratios
    the first strategy is the best, and equals share their average rank; a strategy without variation has none and
    ranks last.

    Args:
        returns: (S, M) returns per time of every strategy tried; a time with a NaN is dropped.
        blocks: Even number of blocks, whose lengths differ by at most one time.

    Raises:
        ConfigError: When the number of blocks is odd, below 2, above 20, or leaves fewer than two times per block.
        DataError: When there are fewer than two strategies.
    """
    where = "probability_of_backtest_overfitting"
    if returns.ndim != 2 or returns.shape[1] < 2:
        what, expected = "A choice needs at least two strategies.", "(S, M) returns, M ≥ 2"
        raise DataError(what, where=where, got=returns.shape, expected=expected)
    (defined,) = defined_rows(where, returns)
    if blocks % 2 or not 2 <= blocks <= 20 or defined.shape[0] < 2 * blocks:
        got = f"{blocks} blocks of {len(defined)} periods"
        expected = "an even number from 2 to 20, at least two periods in each"
        raise ConfigError("The times cannot be cut this way.", where=f"{where}.blocks", got=got, expected=expected)
    chosen = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    sample = np.zeros((len(chosen), blocks))  # (C, blocks)
    np.put_along_axis(sample, chosen, 1.0, axis=1)
    inside, outside = _sharpes(defined, sample)  # (C, M)
    best = inside.argmax(axis=1)
    own_inside, own_outside = (np.take_along_axis(a, best[:, None], axis=1)[:, 0] for a in (inside, outside))
    equal = (outside == own_outside[:, None]).sum(axis=1)
    rank = (outside < own_outside[:, None]).sum(axis=1) + (equal + 1) / 2.0
    usable = np.isfinite(own_inside) & np.isfinite(own_outside)
    x, y, slope = own_inside[usable], own_outside[usable], float("nan")
    if x.size > 1 and np.ptp(x) > 0:
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / np.square(x - x.mean()).sum())
    shares = float((rank <= (returns.shape[1] + 1) / 2.0).mean()), float((own_outside < 0.0).mean())
    return BacktestOverfitting(*shares, slope, len(chosen), returns.shape[1], len(defined), len(returns) - len(defined))


def _sharpes(returns: Doubles, sample: Doubles) -> tuple[Doubles, Doubles]:
    """Return the (C, M) Sharpe ratios in and out of every sample, from sums per block."""
    count, blocks = returns.shape[0], sample.shape[1]
    borders = np.array([part[0] for part in np.array_split(np.arange(count), blocks)])
    lengths = np.diff(np.append(borders, count)).astype(np.float64)
    # The ratio does not depend on the scale, and sums of squares keep their digits near one.
    centre, scale = returns.mean(axis=0), returns.std(axis=0)
    flat = np.ptp(returns, axis=0) <= ROUNDING * np.abs(returns).max(axis=0)
    standard = (returns - centre) / np.where(flat, 1.0, scale)
    level = centre / np.where(flat, 1.0, scale)
    sums = np.add.reduceat(standard, borders, axis=0)  # (blocks, M)
    squares = np.add.reduceat(standard**2, borders, axis=0)

    def ratios(weights: Doubles) -> Doubles:
        times = (weights @ lengths)[:, None]
        mean = np.einsum("cb,bm->cm", weights, sums) / times
        variance = np.einsum("cb,bm->cm", weights, squares) / times - mean**2
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Doubles = (mean + level) / np.sqrt(variance * times / (times - 1.0))
        return np.where(variance > 1e-12, ratio, -np.inf)

    return ratios(sample), ratios(1.0 - sample)
