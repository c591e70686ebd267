"""The rows of a table, as arrays: what is read of files before it becomes a panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.dates import time_texts
from harness.data.text_files import SHOWN, first_of
from harness.errors import DataError

Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
_BLOCK = 1 << 15  # rows that are compared at once: they stay in the cache


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of times and instruments, in any order; n of them.

    Attributes:
        times: (n,) ``datetime64[ns]``.
        codes: (n,) int64, the place of each row's instrument among `instruments`.
        instruments: The codes that occur, sorted.
        fields: name → (n,) float32, NaN for no value.
        places: (n,) int64, where each row stands in its file, from 0.
    """

    times: npt.NDArray[np.datetime64]
    codes: Integers
    instruments: tuple[str, ...]
    fields: Mapping[str, npt.NDArray[np.float32]]
    places: Integers

    def __len__(self) -> int:
        return self.times.size

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return the rows of several tables with the same fields, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        instruments = tuple(sorted({code for part in parts for code in part.instruments}))
        position = {code: at for at, code in enumerate(instruments)}
        codes = [np.array([position[code] for code in part.instruments], np.int64)[part.codes] for part in parts]
        fields = {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields}
        times, places = (np.concatenate([getattr(part, name) for part in parts]) for name in ("times", "places"))
        return cls(times, np.concatenate(codes), instruments, fields, places)

    def take(self, chosen: Bools | Integers) -> Rows:
        """Return some rows; `instruments` stay as they are."""
        fields = {name: values[chosen] for name, values in self.fields.items()}
        return replace(
            self, times=self.times[chosen], codes=self.codes[chosen], fields=fields, places=self.places[chosen]
        )

    @property
    def steps_back(self) -> Bools:
        """(n,) whether a row belongs before the one that stands before it, by time and then by instrument."""
        return out_of_order(self.times, self.codes)

    @property
    def repeats(self) -> Bools:
        """(n,) whether an earlier row has the same time and instrument."""
        times, codes, found = self.times.view(np.int64), self.codes, np.zeros(len(self), dtype=bool)
        if not (_increases(times, codes) or _increases(codes, times)):
            order = np.lexsort((self.codes, self.times))  # stable: of equal keys the first row comes first
            times, codes = times[order], codes[order]
            found[order[1:]] = (times[1:] == times[:-1]) & (codes[1:] == codes[:-1])
        return found

    def refuse(
        self,
        bad: Bools,
        fault: str,
        *,
        spot: Callable[[int], str],
        where: str,
        expected: str,
        hint: str,
        values: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        """Refuse rows, if any is `bad`: the first are shown with time, instrument and `values`.

        Args:
            spot: Says where the row at a position of these stands, such as ``row 5``.

        Raises:
            DataError: When a row is bad.
        """
        at = np.flatnonzero(bad)
        if at.size:
            first = at[:SHOWN]
            columns = [[f" {name}={one[row]:g}" for row in first] for name, one in (values or {}).items()]
            cells = ["".join(row) for row in zip(*columns, strict=True)] or [""] * first.size
            times, codes = time_texts(self.times[first], "s"), self.codes[first]
            got = first_of(
                f"{spot(int(row))}: {time.removesuffix(' 00:00:00')} {self.instruments[code]}{more}"
                for row, time, code, more in zip(first, times, codes, cells, strict=True)
            )
            raise DataError(f"{at.size} row(s) {fault}.", where=where, got=got, expected=expected, hint=hint)


def _increases(first: Integers, second: Integers) -> bool:
    """Return whether pairs of values are in strictly increasing order."""
    for begin in range(0, first.size - 1, _BLOCK):
        major, minor = first[begin : begin + _BLOCK + 1], second[begin : begin + _BLOCK + 1]
        later = (major[1:] == major[:-1]) & (minor[1:] > minor[:-1])
        if not ((major[1:] > major[:-1]) | later).all():
            return False
    return True


def out_of_order(times: npt.NDArray[np.datetime64], codes: npt.NDArray[np.integer[Any]]) -> Bools:
    """Return (n,) whether a row belongs before the one that stands before it, by time and then by `codes`."""
    step, move = np.diff(times, prepend=times[:1]).astype(np.int64), np.diff(codes, prepend=codes[:1])
    backward: Bools = (step < 0) | ((step == 0) & (move < 0))
    return backward
