"""Rows of a matrix that lie in several arrays, one behind the other, each opened when it is first read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ChunkedRows:
    """(n, F) float32 rows that are read by slices, like those of one array; a slice within one chunk is no copy.

    Attributes:
        bounds: (K + 1,) rows; chunk k holds ``bounds[k] … bounds[k + 1]``.
        chunk: Returns the (rows, C) array of chunk k, which may be memory-mapped.
        columns: (F,) the columns of the chunks that are meant, in order.
        first, last: The rows [first, last) that are meant.
    """

    bounds: Positions
    chunk: Callable[[int], Floats]
    columns: Positions
    width: int
    first: int
    last: int

    @classmethod
    def of(cls, bounds: Positions, chunk: Callable[[int], Floats], columns: Positions, width: int) -> ChunkedRows:
        """Return all rows of chunks that are `width` columns wide."""
        return cls(bounds, chunk, columns, width, 0, int(bounds[-1]))

    @property
    def shape(self) -> tuple[int, int]:
        return self.last - self.first, self.columns.size

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def part(self, rows: slice) -> ChunkedRows:
        """Return consecutive rows without opening anything."""
        start, stop, _ = rows.indices(len(self))
        return ChunkedRows(
            self.bounds, self.chunk, self.columns, self.width, self.first + start, self.first + max(start, stop)
        )

    def __getitem__(self, asked: Any) -> Floats:
        rows, *rest = asked if isinstance(asked, tuple) else (asked,)
        if isinstance(rows, slice) and rows.step in (None, 1):
            found = self._slice(*rows.indices(len(self))[:2])
            found.setflags(write=False)
        else:
            found = self._slice(0, len(self))[rows]
        return found[:, *rest] if rest else found

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self._slice(0, len(self)), dtype=dtype, copy=bool(copy) or None)

    def _slice(self, start: int, stop: int) -> Floats:
        start, stop = self.first + start, self.first + max(start, stop)
        inside = np.flatnonzero((self.bounds[:-1] < stop) & (self.bounds[1:] > start)).tolist()
        parts = [self._part(k, max(start, int(self.bounds[k])), min(stop, int(self.bounds[k + 1]))) for k in inside]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.columns.size), dtype=np.float32)

    def _part(self, k: int, start: int, stop: int) -> Floats:
        rows = self.chunk(k)[start - int(self.bounds[k]) : stop - int(self.bounds[k])]
        return rows if self.columns.size == self.width else np.ascontiguousarray(rows[:, self.columns])


def chunk_borders(times: int, length: int) -> list[tuple[int, int]]:
    """Return the [start, stop) positions of chunks of `length` times; the last may be shorter."""
    return list(itertools.pairwise([*range(0, times, length), times]))
