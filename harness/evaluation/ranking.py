"""What a ranking is worth beyond its IC: its quantiles, how long it lasts, and what is left of it within groups.

Shapes as in `harness.evaluation.formulas`; Q quantiles, the lowest scores first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.evaluation.formulas import (
    Codes,
    Doubles,
    Offsets,
    Values,
    mean,
    offsets_among,
    order_within,
    rank_ic,
    shifted,
    times_of,
    times_that_vary,
)
from harness.evaluation.predictions import Predictions

QUANTILES = 5
NO_QUANTILE = -1
_LAGS = (0, 1, 2, 3, 5, 10, 20, 40, 60, 120, 240)
_FEWEST = 20  # times that a lag must leave


@dataclass(frozen=True, eq=False)
class Ranking:
    """What predictions are worth beyond their ICs; S test times, Q quantiles."""

    times: npt.NDArray[np.datetime64]  # (S,)
    quantile_returns: Doubles  # (S, Q)
    turnover: Doubles  # (S, Q)
    decay: Mapping[int, float]  # lag in times → mean rank IC, see `lagged_rank_ic`
    neutral: Mapping[str, Doubles]  # field that numbers groups → (S,) rank IC within them

    @classmethod
    def of(cls, predictions: Predictions, *, lag: int, horizon: int, groups: Mapping[str, Values]) -> Ranking:
        """Judge predictions.

        Args:
            lag: Times between the two rankings of the turnover.
            horizon: Times that a label spans; the decay goes to three of them at least.
            groups: Name → (n,) number of each row's group.
        """
        score, label, codes, offsets = predictions.score, predictions.label, predictions.codes, predictions.offsets
        quantile, times = quantiles(score, offsets, QUANTILES), predictions.times
        lags = [at for at in _LAGS if at <= min(max(3 * horizon, 20), times.size - _FEWEST)]
        return cls(
            times,
            quantile_returns(quantile, label, offsets, QUANTILES),
            quantile_turnover(quantile, codes, offsets, QUANTILES, lag),
            {at: mean(lagged_rank_ic(score, label, codes, offsets, at)) for at in lags},
            {name: neutral_rank_ic(score, label, group, offsets) for name, group in groups.items()},
        )


def quantiles(score: Values, offsets: Offsets, count: int) -> npt.NDArray[np.int64]:
    """Return (n,) int64, the quantile of each row among the scores of its time, from 0 to `count` − 1.

    Row r of m in ascending order is in quantile ⌊r · count / m⌋; of equal scores the earlier row comes first. Labels
    are not looked at. `NO_QUANTILE` where the score is NaN, a time has fewer than two scores per quantile, or they are
    all equal.
    """
    kept = ~np.isnan(score)
    values, among = score[kept], offsets_among(offsets, kept)
    sizes, times = np.diff(among), times_of(among)
    rank = np.empty(values.size, dtype=np.int64)
    rank[order_within(values, among)] = np.arange(values.size) - among[times]
    is_known = ((sizes >= 2 * count) & times_that_vary(values, among))[times]
    found = np.full(score.size, NO_QUANTILE, dtype=np.int64)
    found[kept] = np.where(is_known, rank * count // np.maximum(sizes[times], 1), NO_QUANTILE)
    return found


def quantile_returns(quantile: npt.NDArray[np.int64], label: Values, offsets: Offsets, count: int) -> Doubles:
    """Return (S, Q) float64, the mean label of each quantile at each time minus the mean label of all its rows.

    Rows without a label are left out of both means; NaN where a quantile has none.
    """
    kept = (quantile != NO_QUANTILE) & ~np.isnan(label)
    shape = (offsets.size - 1, count)
    at = times_of(offsets)[kept] * count + quantile[kept]
    sums = np.bincount(at, label[kept].astype(np.float64), shape[0] * count).reshape(shape)
    sizes = np.bincount(at, minlength=shape[0] * count).reshape(shape)
    with np.errstate(invalid="ignore"):
        excess: Doubles = sums / sizes - sums.sum(axis=1, keepdims=True) / sizes.sum(axis=1, keepdims=True)
    return excess


def quantile_turnover(
    quantile: npt.NDArray[np.int64], codes: Codes, offsets: Offsets, count: int, lag: int = 1
) -> Doubles:
    """Return (S, Q) float64, the share of each quantile's instruments that was not in it `lag` times before.

    NaN for the first `lag` times, and where the quantile is empty at one of the two.
    """
    table = np.full((offsets.size - 1, int(codes.max(initial=-1)) + 1), NO_QUANTILE, dtype=np.int64)  # (S, N)
    table[times_of(offsets), codes] = quantile
    turnover = np.full((offsets.size - 1, count), np.nan)
    for q in range(count):
        held = table == q
        size = held.sum(axis=1)
        is_known = (size[lag:] > 0) & (size[:-lag] > 0)
        entered = (held[lag:] & ~held[:-lag]).sum(axis=1)
        turnover[lag:, q][is_known] = entered[is_known] / size[lag:][is_known]
    return turnover


def lagged_rank_ic(score: Values, label: Values, codes: Codes, offsets: Offsets, lag: int) -> Doubles:
    """Return (S,) float64, the rank IC of each time's scores with the labels of `lag` times later.

    Over the instruments that have a label then: what a signal is worth that is acted on `lag` times late. NaN for the
    last `lag` times.
    """
    return rank_ic(score, shifted(label, codes, offsets, -lag), offsets)


def neutral_rank_ic(score: Values, label: Values, group: Values, offsets: Offsets) -> Doubles:
    """Return (S,) float64, the rank IC of scores and labels that each had the mean of their group taken away.

    (n,) `group` holds the number of each row's group at its time. Rows without score, label or group, and those that
    are alone in their group, are left out.
    """
    kept = ~(np.isnan(score) | np.isnan(label) | np.isnan(group))
    offsets = offsets_among(offsets, kept)
    sides = score[kept].astype(np.float64), label[kept].astype(np.float64)
    groups, of_group = np.unique(group[kept], return_inverse=True)
    at = times_of(offsets) * groups.size + of_group
    sizes = np.bincount(at)
    alone = sizes[at] == 1
    # In single precision, so that what would be equal but for a rounding error is.
    x, y = (np.where(alone, np.nan, side - np.bincount(at, side)[at] / sizes[at]).astype(np.float32) for side in sides)
    return rank_ic(x, y, offsets)
