"""Rows of a matrix that is never held as a whole: slices of it are read, or made, when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LazyRows:
    """(n, F) float32 rows that are read by slices, like those of one array.

    Attributes:
        read: Returns the rows [start, stop) of a source as an array, which may be one of another's memory.
        width: F.
        first, last: The rows [first, last) of the source that are meant.
    """

    read: Callable[[int, int], Floats]
    width: int
    first: int
    last: int

    @classmethod
    def of_chunks(cls, bounds: Positions, chunk: Callable[[int], Floats], width: int) -> LazyRows:
        """Return rows that lie in several arrays, one behind the other; a slice within one of them is no copy.

        Args:
            bounds: (K + 1,) rows; chunk k holds ``bounds[k] … bounds[k + 1]``.
            chunk: Returns the (rows, F) array of chunk k, which may be memory-mapped.
            width: F.
        """

        def read(start: int, stop: int) -> Floats:
            inside = np.flatnonzero((bounds[:-1] < stop) & (bounds[1:] > start)).tolist()
            begins, ends = bounds[:-1].tolist(), bounds[1:].tolist()
            parts = [chunk(k)[max(start - begins[k], 0) : min(stop, ends[k]) - begins[k]] for k in inside]
            if len(parts) == 1:
                return parts[0]
            return np.concatenate(parts)

        return cls(read, width, 0, int(bounds[-1]))

    @property
    def shape(self) -> tuple[int, int]:
        return self.last - self.first, self.width

    @property
    def ndim(self) -> int:
        return 2

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.width * self.dtype.itemsize

    def __len__(self) -> int:
        return self.last - self.first

    def part(self, rows: slice) -> LazyRows:
        """Return consecutive rows without reading any."""
        start, stop, _ = rows.indices(len(self))
        return replace(self, first=self.first + start, last=self.first + max(start, stop))

    def __getitem__(self, asked: Any) -> Floats:
        rows, *rest = asked if isinstance(asked, tuple) else (asked,)
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            empty = stop <= start
            found = np.empty((0, self.width), np.float32) if empty else self.read(self.first + start, self.first + stop)
            found.setflags(write=False)
        else:
            found = np.asarray(self)[rows]
        return found[:, *rest] if rest else found

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self[:], dtype=dtype, copy=bool(copy) or None)


Rows = Floats | LazyRows
"""(n, F) float32 rows of which slices are arrays."""


def part_of(rows: Rows, period: slice) -> Any:
    """Return consecutive `Rows`; no copy, and nothing is read."""
    return rows.part(period) if isinstance(rows, LazyRows) else rows[period]


def columns_of(rows: Rows, columns: Positions) -> Any:
    """Return `Rows` of some columns, in their order; those of an array as a copy, of others when they are read."""
    if not isinstance(rows, LazyRows):
        return np.take(rows, columns, axis=1)
    source = rows
    return LazyRows(lambda *period: np.take(source[slice(*period)], columns, axis=1), columns.size, 0, len(rows))


def rows_where(rows: Rows, keep: npt.NDArray[np.bool_]) -> Any:
    """Return the `Rows` that a (n,) mask keeps; those of an array as a copy, of others when they are read."""
    if not isinstance(rows, LazyRows):
        return rows[keep]
    source, kept = rows, np.flatnonzero(keep)

    def read(start: int, stop: int) -> Floats:
        period = slice(int(kept[start]), int(kept[stop - 1]) + 1)
        found = source[period]
        return found if len(found) == stop - start else found[keep[period]]

    return LazyRows(read, rows.width, 0, kept.size)


def chunk_borders(times: int, length: int) -> list[tuple[int, int]]:
    """Return the [start, stop) positions of chunks of `length` times; the last may be shorter."""
    return list(itertools.pairwise([*range(0, times, length), times]))
