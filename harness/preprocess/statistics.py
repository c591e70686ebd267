"""Statistics of the columns of a large float32 matrix, missing values left out, by a few threads.

Each column, or each fixed chunk of rows, is worked on by one thread and chunks are added in order, so the bits do not
depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from harness.preprocess.processor import Doubles, Floats

__all__ = ["column_extremes", "column_medians", "column_moments", "median"]

_GROUP = 16  # columns gathered at a time: one cache line of float32
_CHUNK = 1 << 14  # rows converted to float64 at a time


def column_medians(values: Floats) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 medians of (m, F) columns, and medians of the absolute deviations from them.

    Deviations are taken in float32. A column without values gives NaN.
    """
    centre = np.empty(values.shape[1])
    spread = np.empty(values.shape[1])

    def task(first: int) -> None:
        block = np.array(values[:, first : first + _GROUP].T, order="C")  # (columns, m), a copy to reorder
        for at, column in enumerate(block, start=first):
            present = column.size - int(np.count_nonzero(np.isnan(column)))
            centre[at] = _median_in_place(column, present)
            if np.isfinite(centre[at]):
                column -= np.float32(centre[at])
                np.abs(column, out=column)
            spread[at] = _median_in_place(column, present)

    _share(task, range(0, values.shape[1], _GROUP))
    return centre, spread


def column_moments(values: Floats) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 means of (m, F) columns and their standard deviations (of the population).

    A column without values gives NaN.
    """

    def total(power: int, centre: Doubles) -> Doubles:
        parts: dict[int, Doubles] = {}

        def task(first: int) -> None:
            deviations = values[first : first + _CHUNK] - centre
            parts[first] = np.nansum(deviations**power, axis=0)

        _share(task, range(0, len(values), _CHUNK))
        result: Doubles = np.sum([parts[first] for first in sorted(parts)], axis=0, initial=0.0)
        return result

    with np.errstate(invalid="ignore", divide="ignore"):
        present = _count_present(values)
        mean = total(1, np.zeros(values.shape[1])) / present
        return mean, np.sqrt(total(2, np.where(np.isfinite(mean), mean, 0.0)) / present)


def column_extremes(values: Floats) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 least and greatest values of (m, F) columns; NaN for a column without values."""
    least: Doubles = np.fmin.reduce(values, axis=0, initial=np.float32(np.nan)).astype(np.float64)
    most: Doubles = np.fmax.reduce(values, axis=0, initial=np.float32(np.nan)).astype(np.float64)
    return least, most


def median(values: Floats) -> float:
    """Return the median of the values that are not missing, or NaN."""
    column = values.copy()
    return _median_in_place(column, column.size - int(np.count_nonzero(np.isnan(column))))


def _median_in_place(column: Floats, present: int) -> float:
    """Return the median of the `present` values of a column, which is reordered; missing ones sort last."""
    if present == 0:
        return float("nan")
    middle = present // 2
    column.partition(middle)
    upper = float(column[middle])
    return upper if present % 2 else (float(column[:middle].max()) + upper) / 2.0


def _count_present(values: Floats) -> Doubles:
    present = np.zeros(values.shape[1])
    for first in range(0, len(values), _CHUNK):
        present += np.count_nonzero(~np.isnan(values[first : first + _CHUNK]), axis=0)
    return present


def _share(task: Callable[[int], None], items: range) -> None:
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for _ in pool.map(task, items):
            pass
