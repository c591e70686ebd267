"""Rank correlation of many predictions with one label, at every time: the inner loop of the similarity."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.samples.chunks import Rows
from harness.samples.interfaces import Doubles, Floats
from harness.store.compiled import compiled, kernel_threads

Offsets = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]
Order = npt.NDArray[np.int32]
Span = tuple[int, int]

_DIGITS = 4
_BUCKETS = 256
_READ = 1 << 17  # rows that one thread reads at a time
_SHARE = 1 << 18  # predictions to rank that make it worth another thread


@dataclass(frozen=True, eq=False)
class LabelRanks:
    """Average ranks of the labels within each time; computed once for all predictions.

    Attributes:
        centred: (n,) float64, rank minus the mean rank of its time.
        norm: (T,) float64, root of the sum of squares of `centred`; 0 where all labels of a time are equal.
    """

    offsets: Offsets
    centred: Doubles
    norm: Doubles


def rank_labels(label: Floats, offsets: Offsets) -> LabelRanks:
    """Return the within-time average ranks of (n,) labels without NaN."""
    centred, norm = _centred_ranks(np.ascontiguousarray(label, dtype=np.float32), offsets)
    return LabelRanks(offsets, centred, norm)


def linear_rank_ic(features: Rows, coefficients: Doubles, labels: LabelRanks) -> Doubles:
    """Return (T, K) float64, the Spearman correlation at every time of K linear predictions with the label.

    It is NaN where it is undefined: fewer than two rows, one side constant, or a prediction that is NaN. `features` are
    (n, p) float32 rows in time order, `labels` those of the same rows; `coefficients` are (K, p), one linear model a
    row. Predictions are made in float32, features summed in column order.
    """
    weights = np.ascontiguousarray(coefficients.T, dtype=np.float32)
    result = np.full((labels.norm.size, weights.shape[1]), np.nan)

    def task(span: Span) -> None:
        rows, first = rows_of(features, labels.offsets, span)
        _correlate_times(rows, first, weights, labels.offsets, labels.centred, labels.norm, span, result)

    over_times(task, len(features), result)
    return result


def over_times(task: Callable[[Span], None], rows: int, result: Doubles) -> None:
    """Run `task`, which fills the times [start, stop) of a (T, K) result, by as many threads as (rows, K) are worth."""
    times, models = result.shape
    threads = min(kernel_threads(), 1 + rows * models // _SHARE)
    if threads == 1 and rows <= _READ:
        task((0, times))
        return
    # Times do not depend on each other, so that the cut does not show in the result.
    cuts = np.linspace(0, times, max(8 * threads, rows // _READ) + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(task, itertools.pairwise(cuts)))


def rows_of(features: Rows, offsets: Offsets, span: Span) -> tuple[Floats, int]:
    """Return the rows of the times [start, stop) as one array, and the number of the first."""
    first, last = int(offsets[span[0]]), int(offsets[span[1]])
    return np.ascontiguousarray(features[first:last]), first


def rank_ic(predictions: Floats, labels: LabelRanks) -> Doubles:
    """Return (T,) float64, the Spearman correlation at every time of (n,) predictions with the label; NaN as above."""
    column = np.ascontiguousarray(predictions, dtype=np.float32).reshape(-1, 1)
    return linear_rank_ic(column, np.ones((1, 1)), labels)[:, 0]


@compiled()
def _sort(keys: Keys, order: Order, room: Keys, moved: Order) -> None:
    """Sort `keys` in place, least significant byte first, carrying `order` along; `room` and `moved` are scratch."""
    counts = np.zeros((_DIGITS, _BUCKETS), dtype=np.int32)
    for key in keys:
        for digit in range(_DIGITS):
            counts[digit, (key >> np.uint32(8 * digit)) & np.uint32(255)] += 1
    for digit in range(_DIGITS):
        shift = np.uint32(8 * digit)
        at = 0
        for bucket in range(_BUCKETS):
            size = counts[digit, bucket]
            counts[digit, bucket] = at
            at += size
        for i in range(keys.size):
            key = keys[i]
            place = counts[digit, (key >> shift) & np.uint32(255)]
            counts[digit, (key >> shift) & np.uint32(255)] = place + 1
            room[place] = key
            moved[place] = order[i]
        keys, room = room, keys
        order, moved = moved, order


@compiled()
def _load(values: Floats, keys: Keys, order: Order) -> bool:
    """Write the values as integers in the same order, −0 equal to 0; False when one of them is NaN."""
    for i in range(values.size):
        value = np.float32(values[i] + np.float32(0.0))
        if np.isnan(value):
            return False
        bits = value.view(np.uint32)
        keys[i] = ~bits if bits & np.uint32(0x80000000) else bits | np.uint32(0x80000000)
        order[i] = i
    return True


@compiled()
def _centred_ranks(label: Floats, offsets: Offsets) -> tuple[Doubles, Doubles]:
    centred = np.empty(label.size, dtype=np.float64)
    norm = np.zeros(offsets.size - 1, dtype=np.float64)
    for t in range(offsets.size - 1):
        first, size = offsets[t], offsets[t + 1] - offsets[t]
        keys, room = np.empty(size, dtype=np.uint32), np.empty(size, dtype=np.uint32)
        order, moved = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
        _load(label[first : first + size], keys, order)
        _sort(keys, order, room, moved)
        i = 0
        square = 0.0
        while i < size:
            j = i + 1
            while j < size and keys[j] == keys[i]:
                j += 1
            rank = 0.5 * (i + j - size)
            for at in range(i, j):
                centred[first + order[at]] = rank
            square += (j - i) * rank * rank
            i = j
        norm[t] = np.sqrt(square)
    return centred, norm


@compiled()
def score_rows(features: Floats, weights: Floats, scores: Floats) -> None:
    """Write features @ weights: each sum runs over the features in order, whatever the number of threads."""
    scores[:] = np.float32(0.0)
    for i in range(features.shape[0]):
        for f in range(features.shape[1]):
            x = features[i, f]
            for k in range(weights.shape[1]):
                scores[i, k] += x * weights[f, k]


@compiled()
def _correlate(keys: Keys, order: Order, centred: Doubles, norm: float) -> float:
    """Return the correlation of the average ranks of sorted `keys` with centred label ranks."""
    size = keys.size
    square, product = 0.0, 0.0
    i = 0
    while i < size:
        total = centred[order[i]]
        j = i + 1
        while j < size and keys[j] == keys[i]:
            total += centred[order[j]]
            j += 1
        rank = 0.5 * (i + j - size)
        square += (j - i) * rank * rank
        product += rank * total
        i = j
    scale = np.sqrt(square) * norm
    return product / scale if scale > 0.0 else np.nan


@compiled()
def _correlate_times(
    features: Floats,
    begin: int,
    weights: Floats,
    offsets: Offsets,
    centred: Doubles,
    norm: Doubles,
    span: Span,
    result: Doubles,
) -> None:
    models = weights.shape[1]
    for t in range(span[0], span[1]):
        first, last = offsets[t], offsets[t + 1]
        size = last - first
        scores = np.empty((size, models), dtype=np.float32)
        score_rows(features[first - begin : last - begin], weights, scores)
        keys, room = np.empty(size, dtype=np.uint32), np.empty(size, dtype=np.uint32)
        order, moved = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
        for k in range(models):
            if _load(scores[:, k], keys, order):
                _sort(keys, order, room, moved)
                result[t, k] = _correlate(keys, order, centred[first:last], norm[t])
