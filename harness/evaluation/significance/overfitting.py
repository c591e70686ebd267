"""The probability of backtest overfitting (Bailey, Borwein, López de Prado & Zhu 2017)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.defined import ROUNDING, Doubles, defined_rows


@dataclass(frozen=True)
class BacktestOverfitting:
    """What happens out of sample to the strategy that was best in sample, over all symmetric splits.

    Attributes
    ----------
    probability
        Share of the splits in which it is not above the median out of sample.
    loss_probability
        Share of the splits in which its Sharpe ratio out of sample is negative.
    degradation
        Slope of its Sharpe ratio out of sample on that in sample, over the splits; NaN when that does not vary.
    splits
        Number of splits.
    strategies
        M.
    count, dropped
        Times at which all returns are defined, and the others.
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

    Parameters
    ----------
    returns
        (S, M) returns per time of every strategy tried; a time with a NaN is dropped.
    blocks
        Even number of blocks, whose lengths differ by at most one time.

    Raises
    ------
    ConfigError
        When the number of blocks is odd, below 2, above 20, or leaves fewer than two times per block.
    DataError
        When there are fewer than two strategies or a value is infinite.
    """
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise DataError(
            "A choice needs at least two strategies.",
            where="probability_of_backtest_overfitting",
            got=returns.shape,
            expected="(S, M) returns, M ≥ 2",
        )
    (defined,) = defined_rows("probability_of_backtest_overfitting", returns)
    _check_blocks(blocks, defined.shape[0])
    chosen = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    sample = np.zeros((len(chosen), blocks))  # (C, blocks)
    np.put_along_axis(sample, chosen, 1.0, axis=1)
    inside, outside = _sharpes(defined, sample)  # (C, M)
    best = inside.argmax(axis=1)
    own_inside, own_outside = (np.take_along_axis(a, best[:, None], axis=1)[:, 0] for a in (inside, outside))
    lower = (outside < own_outside[:, None]).sum(axis=1)
    equal = (outside == own_outside[:, None]).sum(axis=1)
    rank = lower + (equal + 1) / 2.0
    return BacktestOverfitting(
        probability=float((rank <= (returns.shape[1] + 1) / 2.0).mean()),
        loss_probability=float((own_outside < 0.0).mean()),
        degradation=_slope(own_inside, own_outside),
        splits=len(chosen),
        strategies=returns.shape[1],
        count=defined.shape[0],
        dropped=returns.shape[0] - defined.shape[0],
    )


def _sharpes(returns: Doubles, sample: Doubles) -> tuple[Doubles, Doubles]:
    """Return the (C, M) Sharpe ratios in and out of every sample, from sums per block."""
    count, blocks = returns.shape[0], sample.shape[1]
    borders = np.array([piece[0] for piece in np.array_split(np.arange(count), blocks)])
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


def _slope(x: Doubles, y: Doubles) -> float:
    usable = np.isfinite(x) & np.isfinite(y)
    x, y = x[usable], y[usable]
    if x.size < 2 or np.ptp(x) == 0:
        return float("nan")
    dx = x - x.mean()
    return float((dx * (y - y.mean())).sum() / (dx * dx).sum())


def _check_blocks(blocks: int, count: int) -> None:
    if blocks % 2 or not 2 <= blocks <= 20 or count < 2 * blocks:
        raise ConfigError(
            "The times cannot be cut this way.",
            where="probability_of_backtest_overfitting.blocks",
            got=f"{blocks} blocks of {count} periods",
            expected="an even number from 2 to 20, at least two periods in each",
        )
