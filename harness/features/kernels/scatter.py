"""From columns to rows: feature blocks of a few instruments into the row-major sample matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.features.kernels.compiled import compiled

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
