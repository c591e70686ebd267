"""Compiled kernels that order values: extremes, their places and quantiles; the conventions are those of `kernels`.

What compares needs no fixed order: an extreme of a window is that of two shorter ones which overlap. Nothing here calls
a kernel of another file, whose changes Numba's cache would not notice.
"""

from __future__ import annotations

import numpy as np

from harness.features.kernels import Doubles, Positions, compiled

MEDIAN = -1.0  # as a level: the mean of the two middle values
_PLACES = 16  # of a sorted window: as many are computed at once, and so few are for nothing


@compiled
def extreme(x: Doubles, starts: Positions, windows: Positions, signs: Doubles, out: Doubles) -> None:
    """Write the largest (all `signs` 1) or smallest (−1) finite value of each window: pandas' ``max`` and ``min``."""
    times, sign = x.shape[1], signs[0]
    either, other = np.empty(times), np.empty(times)
    for row in range(starts.size):
        start, width = starts[row], 1
        top, longer = either[: times - start], other[: times - start]
        values = x[row, start:]
        for j in range(values.size):
            value = sign * values[j]
            top[j] = value if value - value == 0.0 else -np.inf
        for k, window in enumerate(windows):
            while width < min(window, times - start):
                step = min(width, window - width)
                _larger(top, step, longer)
                top, longer, width = longer, top, width + step
            found = out[k, row, start:]
            for j in range(found.size):
                found[j] = sign * top[j] if top[j] > -np.inf else np.nan


@compiled
def _larger(top: Doubles, step: int, out: Doubles) -> None:
    """Write the larger of each value and the one `step` times before; of equals the newer, for zeros have signs."""
    newer, older, both = top[step:], top[: top.size - step], out[step:]
    for j in range(step):  # Numba takes seconds to compile what copies a slice, for the message of a wrong shape
        out[j] = top[j]
    for j in range(newer.size):
        both[j] = older[j] if older[j] > newer[j] else newer[j]


@compiled
def extreme_position(x: Doubles, starts: Positions, windows: Positions, signs: Doubles, out: Doubles) -> None:
    """Write the place of the extreme in its window, 1 being the oldest; the oldest of equals wins.

    As in qlib's ``IdxMax`` and ``IdxMin``, which apply NumPy's ``argmax``: a window with a missing value gives the
    place of its oldest missing value, and a window without any value gives NaN.
    """
    times, sign = x.shape[1], signs[0]
    either, other, known = np.empty((2, times)), np.empty((2, times)), np.empty(times)
    for row in range(starts.size):
        start, width, last = starts[row], 1, -np.inf
        top, longer = either[:, : times - start], other[:, : times - start]  # the extreme, and when it was
        values = x[row, start:]
        for j in range(values.size):
            value = sign * values[j]
            finite = value - value == 0.0
            last = j if finite else last
            top[0, j], top[1, j], known[j] = value if finite else np.inf, j, last
        for k, window in enumerate(windows):
            while width < min(window, times - start):
                step = min(width, window - width)
                _earlier(top, step, longer)
                top, longer, width = longer, top, width + step
            found = out[k, row, start:]
            for j in range(found.size):
                oldest = max(j - window + 1, 0)
                found[j] = top[1, j] - oldest + 1.0 if known[j] >= oldest else np.nan


@compiled
def _earlier(top: Doubles, step: int, out: Doubles) -> None:
    """Write the larger of each value and the one `step` times before, and when it was; of equals the older."""
    times = top.shape[1]
    new_value, old_value, value = top[0, step:], top[0, : times - step], out[0, step:]
    new_time, old_time, time = top[1, step:], top[1, : times - step], out[1, step:]
    for j in range(step):
        out[0, j], out[1, j] = top[0, j], top[1, j]
    for j in range(new_value.size):
        older = old_value[j] >= new_value[j]
        value[j] = old_value[j] if older else new_value[j]
        time[j] = old_time[j] if older else new_time[j]


@compiled
def quantile(x: Doubles, starts: Positions, windows: Positions, levels: Doubles, out: Doubles) -> None:
    """Write a quantile of each window's finite values, linear between neighbours; `MEDIAN` gives the median.

    The window is kept sorted, between −∞ and as many infinities as there is room: a place of the next one is told by
    its neighbours in this one, what leaves and what enters, so that neighbouring places are computed at once.
    """
    results, rows, times = out.shape
    longest = 0
    for window in windows:
        longest = max(longest, min(window, times))
    ordered = np.empty((2, longest + _PLACES + 2))  # this one and the next
    for row in range(rows):
        start, stop = starts[row], 0
        for first in range(results):
            if first < stop:  # another level of the window before
                continue
            window, count = windows[first], 0
            while stop < results and windows[stop] == window:
                stop += 1
            ordered[:], ordered[:, 0] = np.inf, -np.inf
            for t in range(start, times):
                entering, leaving = x[row, t], x[row, t - window] if t - start >= window else np.nan
                enters, leaves = entering - entering == 0.0, leaving - leaving == 0.0
                count += (1 if enters else 0) - (1 if leaves else 0)
                # Of equal zeros any may leave: none has a sign.
                entering, leaving = entering + 0.0 if enters else np.inf, leaving if leaves else np.inf
                old, new = (t - start) % 2, (t - start + 1) % 2
                for i in range(1, -(-min(window, t - start + 1) // _PLACES) * _PLACES + 1):
                    before = ordered[old, i - 1] if ordered[old, i - 1] < leaving else ordered[old, i]
                    here = ordered[old, i] if ordered[old, i] < leaving else ordered[old, i + 1]
                    larger = entering if before < entering else before
                    ordered[new, i] = larger if larger < here else here
                for k in range(first, stop):
                    out[k, row, t] = _quantile(ordered, new, count, levels[k])


@compiled
def _quantile(ordered: Doubles, which: int, count: int, level: float) -> float:
    """Return a quantile of `count` sorted values; the first is at place 1."""
    result = np.nan
    if count > 0 and level == MEDIAN:
        result = 0.5 * (ordered[which, (count - 1) // 2 + 1] + ordered[which, count // 2 + 1])
    elif count > 0:
        place = level * (count - 1)
        below = int(place)
        lower, upper = ordered[which, below + 1], ordered[which, min(below + 1, count - 1) + 1]
        result = lower + (upper - lower) * (place - below)
    return result
