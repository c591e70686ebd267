"""Statistics of the columns of a large float32 matrix, missing values left out, by a few threads.

Each column, or each fixed chunk of rows, is worked on by one thread and chunks are added in order, so the bits do not
depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness.samples.chunks import Rows
from harness.samples.table import Doubles, Floats, Positions
from harness.store.compiled import compiled, kernel_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
Keys = npt.NDArray[np.int32]
_CHUNK = 1 << 14  # rows converted to float64 at a time
_ROWS = 1 << 12  # rows looked through at a time, so that they stay in the cache
_SMALL = 1 << 13  # rows of which all are the sample
_RUN = 16  # rows side by side in a sample
_WIDE = 2.5  # half the width of a bracket in roots of the size of the sample: five deviations of independent rows
_LEAST_KEY, _GREATEST_KEY = -(1 << 31), (1 << 31) - 1  # of no float32 but NaNs


def column_medians(values: Rows) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 medians of (m, F) columns, and medians of the absolute deviations from them.

    Deviations are taken in float32. A column without values gives NaN. The rows are read twice, and a few of them
    more: ranks of a sample bracket the median, and only what lies within is kept and sorted (Floyd and Rivest 1975).
    """
    if not len(values):
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    sample = _sample(values)
    centre = _medians(values, sample, np.zeros(values.shape[1], dtype=np.float32), deviations=False)
    middle = np.where(np.isfinite(centre), centre, 0.0).astype(np.float32)
    spread = _medians(values, np.abs(sample - middle), middle, deviations=True)
    return centre, np.where(np.isfinite(centre), spread, centre)


def _sample(values: Rows) -> Floats:
    """Return rows from all over: few enough to sort, so many that what lies within a bracket of their ranks is few."""
    n = len(values)
    count = n if n <= _SMALL else int(n ** (2 / 3))
    if count == n:
        return values[:n]
    starts = np.linspace(0, n - _RUN, -(-count // _RUN)).astype(np.int64).tolist()
    found = np.empty((len(starts), _RUN, values.shape[1]), np.float32)
    for at, first in enumerate(starts):  # copied at once: what is kept of a mapped file keeps all of it in memory
        found[at] = values[first : first + _RUN]
    return found.reshape(len(starts) * _RUN, values.shape[1])


def _medians(values: Rows, sample: Floats, middle: Floats, *, deviations: bool) -> Doubles:
    """Return (F,) float64 medians of the columns, or of |x − middle|."""
    n, width = values.shape
    absent = np.isnan(sample)
    ordered = np.sort(np.where(absent, np.int32(_GREATEST_KEY), _keys_of(sample)), axis=0)
    present = len(sample) - np.count_nonzero(absent, axis=0)
    slack = np.full(width, len(sample)) if len(sample) == n else np.ceil(_WIDE * np.sqrt(present)).astype(np.int64)
    columns = np.arange(width)
    low, high = (
        np.where(outside, beyond, ordered[np.clip(at, 0, len(sample) - 1), columns])
        for at, outside, beyond in (
            (present // 2 - slack, present // 2 - slack < 0, _LEAST_KEY),
            (present // 2 + slack, present // 2 + slack >= present, _GREATEST_KEY),
        )
    )
    found = np.full(width, np.nan)
    missing = np.ones(width, dtype=np.bool_)
    while missing.any():
        # Of a column that is done no value need be kept any more.
        low, high = np.where(missing, low, _GREATEST_KEY).astype(np.int32), high.astype(np.int32)

        def task(first: int, low: Keys = low, high: Keys = high) -> tuple[Positions, Keys, Positions]:
            return _bracketed(values[first : first + _ROWS], middle, deviations, low, high)

        parts = shared(task, range(0, n, _ROWS))
        counts: Positions = np.sum([part[0] for part in parts], axis=0)
        for j in np.flatnonzero(missing).tolist():
            inside = np.concatenate([kept[ends[j] : ends[j + 1]] for _, kept, ends in parts])
            below, at_low, _, above = counts[j].tolist()
            total = int(counts[j].sum()) + inside.size
            ranks = np.array([(total - 1) // 2, total // 2]) - below - at_low  # counted from the first that was kept
            if total and ranks[0] + at_low < 0:
                low[j], high[j] = _LEAST_KEY, low[j]
            elif total and ranks[1] + below + at_low >= total - above:
                low[j], high[j] = high[j], _GREATEST_KEY
            else:
                found[j] = _middle_of(inside, ranks, low[j], high[j]) if total else np.nan
                missing[j] = False
    return found


def _middle_of(inside: Keys, ranks: Positions, low: np.int32, high: np.int32) -> float:
    """Return the mean of the values of two ranks among `inside`; before them comes `low`, after them `high`."""
    within = ranks[(ranks >= 0) & (ranks < inside.size)]
    placed = np.partition(inside, within) if within.size else inside
    keys = [low if rank < 0 else placed[rank] if rank < inside.size else high for rank in ranks.tolist()]
    lower, upper = _values_of(np.array(keys, dtype=np.int32)).astype(np.float64).tolist()
    return float((lower + upper) / 2.0)


def _keys_of(values: Floats) -> Keys:
    """Return the bits of float32 as whole numbers of the same order; −0 is less than 0."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(_GREATEST_KEY))


def _values_of(keys: Keys) -> Floats:
    """Return the float32 of `_keys_of`."""
    return (keys ^ ((keys >> 31) & np.int32(_GREATEST_KEY))).view(np.float32)


def column_moments(values: Rows) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 means of (m, F) columns and their standard deviations (of the population).

    A column without values gives NaN.
    """

    def total(of: Callable[[Floats], Doubles]) -> Doubles:
        parts = shared(lambda first: of(values[first : first + _CHUNK]), range(0, len(values), _CHUNK))
        result: Doubles = np.sum(parts, axis=0, initial=0.0)
        return result

    with np.errstate(invalid="ignore", divide="ignore"):
        present = total(lambda rows: np.count_nonzero(~np.isnan(rows), axis=0).astype(np.float64))
        mean = total(lambda rows: np.nansum(rows.astype(np.float64), axis=0)) / present
        centre = np.where(np.isfinite(mean), mean, 0.0)
        return mean, np.sqrt(total(lambda rows: np.nansum((rows - centre) ** 2, axis=0)) / present)


def column_extremes(values: Rows) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 least and greatest values of (m, F) columns; NaN for a column without values."""
    least, most = (np.full(values.shape[1], np.nan, dtype=np.float32) for _ in range(2))
    for first in range(0, len(values), _CHUNK):
        rows = values[first : first + _CHUNK]
        least, most = np.fmin(least, np.fmin.reduce(rows, axis=0)), np.fmax(most, np.fmax.reduce(rows, axis=0))
    return least.astype(np.float64), most.astype(np.float64)


def median(values: Floats) -> float:
    """Return the median of the values that are not missing, or NaN."""
    present = values[~np.isnan(values)].astype(np.float64)
    return float(np.median(present)) if present.size else float("nan")


def shared(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of independent tasks in the order of their items, computed by a few threads."""
    with ThreadPoolExecutor(kernel_threads()) as pool:
        return list(pool.map(task, items))


@compiled()
def _bracketed(
    values: Floats, middle: Floats, deviations: bool, low: Keys, high: Keys
) -> tuple[Positions, Keys, Positions]:
    """Return what lies below, on and above the bracket of each column, (F, 4), and the keys of what lies within.

    Those of column j are ``keys[ends[j] : ends[j + 1]]``.
    """
    rows, width = values.shape
    below, at_low, at_high, above = (
        np.zeros(width, dtype=np.int32),
        np.zeros(width, dtype=np.int32),
        np.zeros(width, dtype=np.int32),
        np.zeros(width, dtype=np.int32),
    )
    size = np.zeros(width, dtype=np.int32)
    room, row = np.empty((width, rows + 16), dtype=np.int32), np.empty(width, dtype=np.float32)
    bits = row.view(np.int32)
    for i in range(rows):
        # Loops without a branch: where a value lies cannot be foreseen. None copies a slice, which Numba takes seconds
        # to compile, for the message of a wrong shape.
        if deviations:
            for j in range(width):
                row[j] = abs(values[i, j] - middle[j])
        else:
            for j in range(width):
                row[j] = values[i, j]
        for j in range(width):
            known = row[j] == row[j]
            key = bits[j] ^ ((bits[j] >> np.int32(31)) & np.int32(_GREATEST_KEY))
            below[j] += (key < low[j]) & known
            at_low[j] += (key == low[j]) & known
            at_high[j] += (key == high[j]) & (low[j] < high[j]) & known
            above[j] += (key > high[j]) & known
            bits[j] = key if known else low[j]
        for j in range(width):
            room[j, size[j]] = bits[j]
            size[j] += np.int32((low[j] < bits[j]) & (bits[j] < high[j]))
    ends = np.zeros(width + 1, dtype=np.int64)
    for j in range(width):
        ends[j + 1] = ends[j] + size[j]
    found = np.empty(ends[-1], dtype=np.int32)
    for j in range(width):
        for i in range(size[j]):
            found[ends[j] + i] = room[j, i]
    return np.stack((below, at_low, at_high, above), axis=1).astype(np.int64), found, ends


@compiled()
def rank_norm(values: Floats, offsets: Positions, scale: float) -> None:
    """Replace each value by (share − ½) · scale: its mean rank among the values of its time, over their number."""
    for t in range(offsets.size - 1):
        start, stop = offsets[t], offsets[t + 1]
        for j in range(values.shape[1]):
            rows, column, size = np.empty(stop - start, np.int64), np.empty(stop - start, np.float32), 0
            for row in range(start, stop):
                if values[row, j] == values[row, j]:
                    rows[size], column[size] = row, values[row, j]
                    size += 1
            order = np.argsort(column[:size])
            first = 0
            while first < size:
                last = first
                while last + 1 < size and column[order[last + 1]] == column[order[first]]:
                    last += 1
                share = (first + last + 2) / 2.0 / size  # the mean of ranks first + 1 … last + 1
                for i in range(first, last + 1):
                    values[rows[order[i]], j] = (share - 0.5) * scale
                first = last + 1


def series_moments(values: Floats, codes: npt.NDArray[np.int32]) -> tuple[Doubles, Doubles]:
    """Return mean and deviation (of the population) of each column for each instrument column; missing left out.

    Both are (C + 1, F) float64 for C − 1 the largest of the (m,) codes; the last row, and that of an instrument without
    a value, are those of all rows together; 0 where there is none.
    """
    count = int(codes.max(initial=-1)) + 2
    centre, scale = np.empty((count, values.shape[1])), np.empty((count, values.shape[1]))
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        own, given = codes[known], values[known, column].astype(np.float64)
        number = np.bincount(own, minlength=count)
        mean = np.bincount(own, given, minlength=count) / np.maximum(number, 1)
        square = np.bincount(own, (given - mean[own]) ** 2, minlength=count) / np.maximum(number, 1)
        mean[number == 0], square[number == 0] = (given.mean(), given.var()) if given.size else (0.0, 0.0)
        centre[:, column], scale[:, column] = mean, np.sqrt(square)
    return centre, scale
