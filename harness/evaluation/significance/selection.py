"""Choosing among many: which may be the best (Hansen, Lunde & Nason 2011), and what the best of many tries is worth."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError
from harness.evaluation.significance import hac
from harness.evaluation.significance.bootstrap import Bootstrap
from harness.evaluation.significance.hac import Doubles
from harness.evaluation.significance.resampling import Moments, resample
from harness.execution.threads import one_blas_thread

Elimination = tuple[npt.NDArray[np.int64], list[float]]  # columns, the first eliminated first, and their p-values

Method = Literal["studentised", "R", "max"]
_AT_ONCE = 1 << 20
_STILL = 1e-18  # a resampled difference does not vary when its variance is that share of the series' own


def _studentised_elimination(relative: Doubles, degrees: int, block_length: float, bootstrap: Bootstrap) -> Elimination:
    """Eliminate, by T_R, of (T, M) losses beyond their mean at each time, no two of which differ by a constant."""
    relative, repetitions = np.ascontiguousarray(relative), bootstrap.repetitions
    centre = relative.mean(axis=0)
    own = np.einsum("tm,tj->mj", relative - centre, hac.cosine_basis(len(relative), degrees))
    variance = _pairwise_variance(own[None], len(relative))[0]
    observed = _ratios((centre[:, None] - centre)[None], variance[None], np.zeros_like(variance))[0]
    kept = Moments(relative, degrees, block_length, repetitions)
    resample([kept], repetitions=repetitions, seed=bootstrap.seed)
    means, projections = kept.means - centre, kept.projections
    resampled = np.empty((repetitions, *observed.shape))  # (R, M, M)
    chunk = max(1, _AT_ONCE // observed.size)
    for first in range(0, repetitions, chunk):
        rows = slice(first, first + chunk)
        difference = means[rows, :, None] - means[rows, None, :]
        resampled[rows] = _ratios(difference, _pairwise_variance(projections[rows], len(relative)), _STILL * variance)
    return _one_by_one(observed, resampled)


def _peer_elimination(
    losses: Doubles, block_length: float, bootstrap: Bootstrap, method: Literal["R", "max"]
) -> Elimination:
    """Eliminate as `arch.bootstrap.MCS` does, with standard errors that are the same in every resample."""
    from arch.bootstrap import MCS  # slow to import

    # The size does not touch the p-values; arch takes whole block lengths only.
    size, repetitions = max(1, round(block_length)), bootstrap.repetitions
    peer = MCS(losses, 0.5, reps=repetitions, block_size=size, method=method, seed=bootstrap.seed)
    with one_blas_thread():
        peer.compute()
    return peer.pvalues.index.to_numpy(dtype=np.int64), peer.pvalues["Pvalue"].tolist()


def _pairwise_variance(projections: Doubles, count: int) -> Doubles:
    """Return (r, M, M) squared standard errors of row minus column, from (r, M, ν) projections."""
    variance = np.zeros((len(projections), projections.shape[1], projections.shape[1]))
    for j in range(projections.shape[2]):
        variance += np.square(projections[:, :, None, j] - projections[:, None, :, j])
    variance /= projections.shape[2] * count
    return variance


def _ratios(difference: Doubles, variance: Doubles, least: Doubles) -> Doubles:
    """Return (r, M, M) t-values, 0 on the diagonal; infinite where the difference does not vary beyond `least`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = difference / np.sqrt(variance)
    ratios = np.where(variance > least, ratios, np.inf)
    ratios[:, np.arange(ratios.shape[1]), np.arange(ratios.shape[1])] = 0.0
    return ratios


def _one_by_one(observed: Doubles, resampled: Doubles) -> Elimination:
    left, order, p_values = np.arange(len(observed)), list[int](), list[float]()
    while left.size > 1:
        inner = observed[np.ix_(left, left)]
        reached = resampled[:, left[:, None], left].max(axis=(1, 2))
        p_value = (1 + int((reached >= inner.max()).sum())) / (len(resampled) + 1)
        worst = int(inner.argmax()) // left.size
        order.append(int(left[worst]))
        p_values.append(max(p_value, p_values[-1] if p_values else 0.0))
        left = np.delete(left, worst)
    return np.array([*order, left[0]], dtype=np.int64), [*p_values, 1.0]


@dataclass(frozen=True)
class ModelConfidenceSet:
    """The models that cannot be told from the best (Hansen, Lunde & Nason 2011).

    Attributes:
        names: All M models, the first eliminated first; the last is the best.
        p_values: (M,) the smallest size at which each is eliminated, never falling; NaN when the series are too short.
        included: The names whose p-value exceeds the size: the best model is among them with probability 1 − size.
        size: Nominal probability of losing the best model.
        block_length: Mean length of the bootstrap's blocks, 0 when nothing was resampled.
        count, dropped: Times at which all losses are defined, and the others.
    """

    names: tuple[str, ...]
    p_values: tuple[float, ...]
    included: tuple[str, ...]
    size: float
    block_length: float
    count: int
    dropped: int


def model_confidence_set(
    losses: Doubles,
    names: tuple[str, ...],
    size: float = 0.10,
    *,
    bootstrap: Bootstrap | None = None,
    look_ahead: int = 1,
    method: Method = "studentised",
) -> ModelConfidenceSet:
    """Return the model confidence set of a sweep.

    Overlapping labels make the published bootstrap eliminate too eagerly, for it divides every resample by the same
    standard errors: of five equal models with losses of overlap 20 over 860 days, at a size of 10 %, ``R`` kept all in
    68 % of 150 sweeps, ``max`` in 75 %, ``studentised`` in 86 %, where 90 % are promised.

    Losses that differ from another model's by a constant only have nothing to be tested with: the worse ones go first
    with p-value 0, equal ones share the p-value of the first.

    Args:
        losses: (S, M) loss per time and model, smaller is better: minus the IC, say. A time with a NaN is dropped.
        names: M different names.
        size: Probability with which the best model may be lost.
        bootstrap: How to resample; its level plays no part.
        look_ahead: Of the label behind the losses: the shortest mean block.
        method: ``studentised``: largest pairwise t-value with the cosine estimator, in the series and in each resample,
            as in `bootstrap_interval`. As published, by `arch`: ``R``, the largest pairwise difference; ``max``, the
            largest difference to the mean.

    Raises:
        ConfigError: When the size is impossible.
        DataError: When shapes and names do not fit, or names repeat.
    """
    hac.check_look_ahead(look_ahead)
    where = "model_confidence_set"
    hac.check_choice("method", method, get_args(Method))
    if not 0.0 < size < 1.0:
        raise ConfigError("The size is a probability.", where=f"{where}.size", got=size, expected="0 < size < 1")
    if losses.ndim != 2 or not losses.shape[1] == len(names) == len(set(names)) > 0:
        got, expected = f"losses {losses.shape}, {len(set(names))} different names", "(S, M ≥ 1) losses, M names"
        raise DataError("Every column of losses needs its own name.", where=where, got=got, expected=expected)
    (defined,) = hac.defined_rows(where, losses)
    count, dropped = defined.shape[0], losses.shape[0] - defined.shape[0]
    if not hac.is_long_enough(count, look_ahead):
        unknown = (float("nan"),) * len(names)
        return ModelConfidenceSet(names, unknown, names, size, 0.0, count, dropped)
    means = defined.mean(axis=0)
    leader = _leaders(defined, means)
    tested = np.flatnonzero(leader == np.arange(leader.size))
    order, tested_p, block_length = _eliminate(defined[:, tested], bootstrap or Bootstrap(), look_ahead, method)
    places = dict(zip(tested[order].tolist(), enumerate(tested_p), strict=True))  # column → place and p-value
    dominated = means - means[leader] > hac.ROUNDING * hac.largest(defined)
    found = [(-1, 0.0) if dominated[m] else places[int(lead)] for m, lead in enumerate(leader)]
    final = sorted(range(len(names)), key=lambda m: (found[m][0], -means[m], m))
    ordered, p_values = tuple(names[m] for m in final), tuple(found[m][1] for m in final)
    included = tuple(name for name, p_value in zip(ordered, p_values, strict=True) if p_value > size)
    return ModelConfidenceSet(ordered, p_values, included, size, block_length, count, dropped)


def _eliminate(losses: Doubles, bootstrap: Bootstrap, look_ahead: int, method: Method) -> tuple[*Elimination, float]:
    """Return the columns in order of elimination, their p-values and the block length."""
    if losses.shape[1] == 1:
        return np.zeros(1, dtype=np.int64), [1.0], 0.0
    relative = losses - losses.mean(axis=1, keepdims=True)
    moving = [m for m, column in enumerate(relative.T) if not hac.is_constant(column, hac.largest(losses))]
    block_length = bootstrap.block_length_of(relative[:, moving], look_ahead)
    if method == "studentised":
        degrees = int(np.median([hac.cosine_degrees(relative[:, m], look_ahead) for m in moving]))
        return *_studentised_elimination(relative, degrees, block_length, bootstrap), block_length
    return *_peer_elimination(losses, block_length, bootstrap, method), block_length


def _leaders(losses: Doubles, means: Doubles) -> npt.NDArray[np.int64]:
    """Return (M,) the best column among those that differ by a constant only, the first of equals."""
    leader, by_mean, magnitude = np.full(means.size, -1), np.argsort(means, kind="stable"), hac.largest(losses)
    for best in by_mean:
        if leader[best] < 0:
            for other in by_mean[leader[by_mean] < 0]:
                if hac.is_constant(losses[:, other] - losses[:, best], magnitude):
                    leader[other] = best
    return leader


@dataclass(frozen=True)
class DeflatedSharpe:
    """A Sharpe ratio held against the best that chance alone would bring (Bailey & López de Prado 2014).

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
    (values,) = hac.defined_rows("deflated_sharpe_ratio", returns)
    (sharpes,) = hac.defined_rows("deflated_sharpe_ratio", trial_sharpes)
    trials = sharpes.size if trials is None else trials
    if sharpes.size < 2 or trials < sharpes.size:
        what = "Chance is measured by the spread over the trials."
        got = f"{sharpes.size} Sharpe ratios, {trials} trials"
        expected = "at least two defined Sharpe ratios, and as many trials"
        raise ConfigError(what, where="deflated_sharpe_ratio.trials", got=got, expected=expected)
    threshold = expected_maximum_sharpe(trials, float(sharpes.var(ddof=1)))
    count, dropped, nan = values.size, returns.size - values.size, float("nan")
    if not hac.is_long_enough(count, 1) or not hac.varies(values, hac.largest(values)):
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
    (defined,) = hac.defined_rows(where, returns)
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
    flat = np.ptp(returns, axis=0) <= hac.ROUNDING * np.abs(returns).max(axis=0)
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
