"""Order statistics of a window: extremes and where they lie, rank of the newest value, quantiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.features.kernels.compiled import compiled

Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

MEDIAN = -1.0  # as a level: the mean of the two middle values
_BLOCK = 400  # times per block: its sums fit into the first-level cache, and are not a page apart


@compiled
def extreme(x: Doubles, starts: Positions, window: int, sign: float, out: Doubles) -> None:
    """Write the largest (`sign` 1) or smallest (−1) finite value of each window: pandas' ``max`` and ``min``."""
    rows, times = x.shape
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            out[row, begin:end] = -np.inf
            for lag in range(min(window, end - start)):
                low = max(begin, start + lag)
                past, best = x[row, low - lag : end - lag], out[row, low:end]
                for j in range(end - low):
                    value = sign * past[j]
                    better = (value > best[j]) & (value - value == 0.0)
                    best[j] = value if better else best[j]
            for t in range(begin, end):
                out[row, t] = sign * out[row, t] if out[row, t] > -np.inf else np.nan


@compiled
def extreme_position(x: Doubles, starts: Positions, window: int, sign: float, out: Doubles) -> None:
    """Write the place of the extreme in its window, 1 being the oldest; the oldest of equals wins.

    As in qlib's ``IdxMax`` and ``IdxMin``, which apply NumPy's ``argmax``: a window with a missing value gives the
    place of its oldest missing value, and a window without any value gives NaN.
    """
    rows, times = x.shape
    best, place, known = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            longest = min(window, end - start)
            best[:], place[:], known[:] = -np.inf, 0.0, 0.0
            for back in range(longest):
                lag = longest - 1 - back
                low = max(begin, start + lag)
                past = x[row, low - lag : end - lag]
                top, where, any_known = best[low - begin :], place[low - begin :], known[low - begin :]
                step = float(lag)
                for j in range(end - low):
                    value = sign * past[j]
                    finite = value - value == 0.0
                    value = value if finite else np.inf
                    better = value > top[j]
                    top[j] = value if better else top[j]
                    where[j] = step if better else where[j]
                    any_known[j] = 1.0 if finite else any_known[j]
            for j in range(end - begin):
                length = min(window, begin + j - start + 1)
                out[row, begin + j] = length - place[j] if known[j] > 0.0 else np.nan


@compiled
def rank(x: Doubles, starts: Positions, window: int, out: Doubles) -> None:
    """Write the newest value's rank among the window's values, in (0, 1]; equals share their mean rank."""
    rows, times = x.shape
    count, less, equal = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            count[:], less[:], equal[:] = 0.0, 0.0, 0.0
            for lag in range(min(window, end - start)):
                low = max(begin, start + lag)
                past, newest = x[row, low - lag : end - lag], x[row, low:end]
                counted, below, same = count[low - begin :], less[low - begin :], equal[low - begin :]
                for j in range(end - low):
                    finite = past[j] - past[j] == 0.0
                    counted[j] += 1.0 if finite else 0.0
                    below[j] += 1.0 if finite & (past[j] < newest[j]) else 0.0
                    same[j] += 1.0 if finite & (past[j] == newest[j]) else 0.0
            for j in range(end - begin):
                newest_value = x[row, begin + j]
                finite = newest_value - newest_value == 0.0
                out[row, begin + j] = (less[j] + 0.5 * (equal[j] + 1.0)) / count[j] if finite else np.nan


@compiled
def quantile(x: Doubles, starts: Positions, window: int, level: float, out: Doubles) -> None:
    """Write a quantile of each window's finite values, linear between neighbours; `MEDIAN` gives the median.

    The window is kept as a sorted array; what enters and leaves is found by its exact value.
    """
    rows, times = x.shape
    ordered = np.empty(min(window, times) + 1)
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        count = 0
        for t in range(start, times):
            leaving = x[row, t - window] if t - start >= window else np.nan
            count = _replace(ordered, count, leaving, x[row, t])
            if count == 0:
                out[row, t] = np.nan
            elif level == MEDIAN:
                out[row, t] = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
            else:
                place = level * (count - 1)
                below = int(place)
                above = min(below + 1, count - 1)
                out[row, t] = ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@compiled
def _replace(ordered: Doubles, count: int, leaving: float, entering: float) -> int:
    """Take one value out of a sorted array and put another in, either of which may be missing; return the new count."""
    if leaving - leaving == 0.0:
        at, stop = 0, count
        while at < stop:
            middle = (at + stop) // 2
            if ordered[middle] < leaving:
                at = middle + 1
            else:
                stop = middle
        last = count - 1
    else:
        at, last = count, count
    if not entering - entering == 0.0:
        for j in range(at, last):
            ordered[j] = ordered[j + 1]
        return last
    while at < last and ordered[at + 1] < entering:
        ordered[at] = ordered[at + 1]
        at += 1
    while at > 0 and ordered[at - 1] > entering:
        ordered[at] = ordered[at - 1]
        at -= 1
    ordered[at] = entering
    return last + 1


Floats = npt.NDArray[np.float32]
_TILE = 16  # float32 per cache line


@compiled
def scatter(block: Floats, rows: npt.NDArray[np.int64], matrix: Floats, known: npt.NDArray[np.bool_]) -> None:
    """Write ``block[f, i, t]`` to ``matrix[rows[i, t], f]`` where ``rows[i, t]`` ≥ 0.

    `known` notes which features have a value anywhere. Tiles of 16 times × 16 features use whole cache lines on both
    sides.
    """
    features, instruments, times = block.shape
    tile = np.empty((_TILE, _TILE), dtype=np.float32)
    for begin in range(0, times, _TILE):
        end = min(begin + _TILE, times)
        for i in range(instruments):
            for first in range(0, features, _TILE):
                width = min(_TILE, features - first)
                for f in range(width):
                    for t in range(end - begin):
                        tile[t, f] = block[first + f, i, begin + t]
                for t in range(end - begin):
                    row = rows[i, begin + t]
                    if row >= 0:
                        for f in range(width):
                            matrix[row, first + f] = tile[t, f]
    for f in range(features):
        for i in range(instruments):
            for t in range(times):
                if known[f]:
                    break
                known[f] = rows[i, t] >= 0 and not np.isnan(block[f, i, t])


@compiled
def compact(values: Floats, width: int, keep: npt.NDArray[np.int64]) -> None:
    """Keep only some columns of a flat (n · width,) row-major matrix, moving them to the front of the buffer."""
    to = 0
    for row in range(values.size // width):
        for column in keep:
            values[to] = values[row * width + column]
            to += 1
