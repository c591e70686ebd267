"""Statistics of the columns of a large float32 matrix, missing values left out, by a few threads.

Each column, or each fixed chunk of rows, is worked on by one thread and chunks are added in order, so the bits do not
depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from harness.samples.table import Doubles, Floats, Positions
from harness.store.compiled import compiled

Item = TypeVar("Item")
Result = TypeVar("Result")
_GROUP = 16  # columns gathered at a time: one cache line of float32
_CHUNK = 1 << 14  # rows converted to float64 at a time


def column_medians(values: Floats) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 medians of (m, F) columns, and medians of the absolute deviations from them.

    Deviations are taken in float32. A column without values gives NaN.
    """
    centre, spread = np.empty(values.shape[1]), np.empty(values.shape[1])

    def task(first: int) -> None:
        columns = slice(first, first + _GROUP)
        _medians_of_group(values[:, columns], centre[columns], spread[columns])

    shared(task, range(0, values.shape[1], _GROUP))
    return centre, spread


def column_moments(values: Floats) -> tuple[Doubles, Doubles]:
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


def column_extremes(values: Floats) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 least and greatest values of (m, F) columns; NaN for a column without values."""
    least: Doubles = np.fmin.reduce(values, axis=0, initial=np.float32(np.nan)).astype(np.float64)
    most: Doubles = np.fmax.reduce(values, axis=0, initial=np.float32(np.nan)).astype(np.float64)
    return least, most


def median(values: Floats) -> float:
    """Return the median of the values that are not missing, or NaN."""
    present = values[~np.isnan(values)].astype(np.float64)
    return float(np.median(present)) if present.size else float("nan")


def shared(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of independent tasks in the order of their items, computed by a few threads."""
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        return list(pool.map(task, items))


@compiled()
def _medians_of_group(values: Floats, centre: Doubles, spread: Doubles) -> None:
    rows, width = values.shape
    columns = np.empty((width, rows), dtype=np.float32)
    present = np.zeros(width, dtype=np.int64)
    for i in range(rows):
        for j in range(width):
            value = values[i, j]
            if not np.isnan(value):
                columns[j, present[j]] = value
                present[j] += 1
    for j in range(width):
        column = columns[j, : present[j]]
        centre[j] = _median(column)
        if np.isfinite(centre[j]):
            middle = np.float32(centre[j])
            for i in range(column.size):
                column[i] = abs(column[i] - middle)
        spread[j] = _median(column)


@compiled()
def _median(column: Floats) -> float:
    if column.size == 0:
        return np.nan
    upper = _ranked(column, column.size // 2)
    lower = upper if column.size % 2 else _ranked(column, column.size // 2 - 1)
    return (np.float64(lower) + np.float64(upper)) / 2.0


@compiled()
def _ranked(column: Floats, rank: int) -> Any:
    """Return the value of a rank (from 0) by counting: first by the upper half of its bits, then by the lower."""
    bits = column.view(np.uint32)
    counts = np.zeros(1 << 16, dtype=np.int64)
    for word in bits:
        counts[_key(word) >> 16] += 1
    high = 0
    while rank >= counts[high]:
        rank -= counts[high]
        high += 1
    counts[:] = 0
    for word in bits:
        key = _key(word)
        if key >> 16 == high:
            counts[key & 0xFFFF] += 1
    low = 0
    while rank >= counts[low]:
        rank -= counts[low]
        low += 1
    key = (high << 16) | low
    found = np.empty(1, dtype=np.uint32)
    found[0] = key ^ (0x80000000 if key >> 31 else 0xFFFFFFFF)
    return found.view(np.float32)[0]


@compiled()
def _key(word: np.uint32) -> Any:
    """Return the bits of a float32 as a whole number of the same order."""
    bits = np.int64(word)
    return bits ^ (0xFFFFFFFF if bits >> 31 else 0x80000000)


@compiled()
def rank_norm(values: Floats, offsets: Positions, scale: float) -> None:
    """Replace each value by (share − ½) · scale: its mean rank among the values of its time, over their number."""
    for t in range(offsets.size - 1):
        start, stop = offsets[t], offsets[t + 1]
        for j in range(values.shape[1]):
            rows = start + np.flatnonzero(~np.isnan(values[start:stop, j]))
            column = np.empty(rows.size, dtype=np.float32)
            for i in range(rows.size):
                column[i] = values[rows[i], j]
            order = np.argsort(column)
            first = 0
            while first < rows.size:
                last = first
                while last + 1 < rows.size and column[order[last + 1]] == column[order[first]]:
                    last += 1
                share = (first + last + 2) / 2.0 / rows.size  # the mean of ranks first + 1 … last + 1
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
