"""ZᵀWZ of Z = [features, label, 1] in float64, summed in fixed pieces and a fixed order.

The bits depend on the rows, the borders of the pieces and the machine's BLAS, never on how many threads or workers
took part: each piece is summed by one thread, in chunks of `CHUNK` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba
import numpy as np
import numpy.typing as npt

from harness.execution.threads import one_blas_thread

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 2048  # rows converted to float64 at a time: a few MB, so that they stay in the cache
SPAN = 16 * CHUNK  # rows of one piece where there are no blocks


def sums_of_rows(features: Floats, label: Floats, weights: Doubles | None) -> Doubles:
    """Return (p + 2, p + 2) float64 ZᵀWZ of (m, p) rows, shared among threads; rows without a label do not count."""
    pieces = [slice(at, at + SPAN) for at in range(0, label.size, SPAN)]

    def task(rows: slice) -> Doubles:
        return sums_of_piece(features[rows], label[rows], None if weights is None else weights[rows])

    width = features.shape[1] + 2
    total = np.zeros((width, width))
    for part in in_order(task, pieces):
        total += part
    return total


def sums_of_piece(
    features: Floats, label: Floats, weights: Doubles | None = None, columns: Positions | None = None
) -> Doubles:
    """Return (p + 2, p + 2) float64 ZᵀWZ of one piece, of the chosen feature `columns` if given.

    To be called inside `one_blas_thread`.
    """
    p = features.shape[1] if columns is None else columns.size
    total, part = np.zeros((p + 2, p + 2)), np.empty((p + 2, p + 2))
    buffer = np.empty((min(CHUNK, label.size), p + 2))
    for start in range(0, label.size, CHUNK):
        rows = slice(start, start + CHUNK)
        known = ~np.isnan(label[rows])
        chunk = buffer[: np.count_nonzero(known)]  # (m, p + 2)
        taken = features[rows] if columns is None else features[rows][:, columns]
        chunk[:, :p] = taken if known.all() else taken[known]
        chunk[:, p] = label[rows][known]
        chunk[:, p + 1] = 1.0
        if weights is not None:
            chunk *= np.sqrt(weights[rows][known])[:, None]
        with np.errstate(invalid="ignore", over="ignore"):  # whoever solves says which feature is not finite
            np.matmul(chunk.T, chunk, out=part)
        total += part
    return total


def in_order(task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the results of independent tasks in the order of their items, computed by a few threads."""
    with one_blas_thread(), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        yield from pool.map(task, items)
