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
_CHUNK = 1 << 14  # rows converted to float64 at a time


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
