"""In what two panels differ, when their fingerprints do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel

_SHOWN = 5

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ValueDifference:
    """One array in which two panels differ, where both have the times and the instruments.

    Attributes:
        name: A field, ``membership``, ``benchmark`` or ``truth``.
        count: Values that differ; one of them missing counts, both missing does not.
        first: The first few, as text: time, instrument, both values.
    """

    name: str
    count: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class DataDifference:
    """In what panel b differs from panel a.

    Attributes:
        times, instruments, fields: What only one side has: (only in a, only in b), as text and in order.
        values: The arrays that differ, by name.
        notes: What else differs: the benchmark's name, the price field, the name of the panel.
    """

    times: tuple[tuple[str, ...], tuple[str, ...]]
    instruments: tuple[tuple[str, ...], tuple[str, ...]]
    fields: tuple[tuple[str, ...], tuple[str, ...]]
    values: tuple[ValueDifference, ...]
    notes: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Return the difference for people: counts and the first few of each; empty when nothing differs."""
        found = []
        for what in ("times", "instruments", "fields"):
            for side, names in zip(("baseline", "candidate"), getattr(self, what), strict=True):
                if names:
                    found.append(f"{len(names)} {what} only in the {side}: {_few(names)}")
        for value in self.values:
            found.append(f"{value.name}: {value.count} values differ: {'; '.join(value.first)}")
        return (*found, *self.notes)


def explain_data_difference(a: Panel, b: Panel) -> DataDifference:
    """Return which instruments, times, fields and values differ between two panels.

    Values are compared where both panels have the time and the instrument.
    """
    _, rows_a, rows_b = np.intersect1d(a.calendar.times, b.calendar.times, return_indices=True)
    shared = sorted(set(a.instruments) & set(b.instruments))
    at_a = {name: i for i, name in enumerate(a.instruments)}
    at_b = {name: i for i, name in enumerate(b.instruments)}
    overlap = _Overlap(
        a,
        b,
        np.asarray(rows_a, dtype=np.int64),
        np.asarray(rows_b, dtype=np.int64),
        np.array([at_a[name] for name in shared], dtype=np.int64),
        np.array([at_b[name] for name in shared], dtype=np.int64),
    )
    return DataDifference(
        times=(_times_without(a, rows_a), _times_without(b, rows_b)),
        instruments=_only(a.instruments, b.instruments),
        fields=_only(a.fields, b.fields),
        values=tuple(v for v in overlap.values() if v.count),
        notes=_notes(a, b),
    )


@dataclass(frozen=True, eq=False)
class _Overlap:
    """The times and instruments that two panels share, as positions in each."""

    a: Panel
    b: Panel
    rows_a: Positions
    rows_b: Positions
    columns_a: Positions
    columns_b: Positions

    def values(self) -> Iterable[ValueDifference]:
        """Compare every array that both have."""
        for name in sorted(set(self.a.fields) & set(self.b.fields)):
            yield self._compare(name, self.a.fields[name], self.b.fields[name])
        yield self._compare("membership", self.a.membership, self.b.membership)
        if self.a.benchmark is not None and self.b.benchmark is not None:
            x, y = self.a.benchmark.close[self.rows_a], self.b.benchmark.close[self.rows_b]
            different = np.flatnonzero(_differ(x, y))
            first = tuple(f"{self._time(int(t))} {x[t]!s} → {y[t]!s}" for t in different[:_SHOWN])
            yield ValueDifference("benchmark", int(different.size), first)

    def _compare(self, name: str, left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> ValueDifference:
        x = left[np.ix_(self.rows_a, self.columns_a)]  # (T shared, N shared)
        y = right[np.ix_(self.rows_b, self.columns_b)]
        times, columns = np.nonzero(_differ(x, y))
        first = tuple(
            f"{self._time(int(t))} {self.a.instruments[self.columns_a[n]]} {x[t, n]!s} → {y[t, n]!s}"
            for t, n in zip(times[:_SHOWN], columns[:_SHOWN], strict=True)
        )
        return ValueDifference(name, int(times.size), first)

    def _time(self, position: int) -> str:
        return self.a.calendar.format(int(self.rows_a[position]))


def _differ(x: npt.NDArray[np.generic], y: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return where two arrays of bools or floats differ; two missing values are equal."""
    different: npt.NDArray[np.bool_] = x != y
    both_missing: npt.NDArray[np.bool_] = (x != x) & (y != y)  # only NaN differs from itself
    return np.logical_and(different, ~both_missing)


def _times_without(panel: Panel, shared: Positions) -> tuple[str, ...]:
    own = np.setdiff1d(np.arange(len(panel.calendar)), shared)
    return tuple(panel.calendar.format(int(t)) for t in own)


def _only(a: Iterable[str], b: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    left, right = set(a), set(b)
    return tuple(sorted(left - right)), tuple(sorted(right - left))


def _notes(a: Panel, b: Panel) -> tuple[str, ...]:
    found = []
    benchmarks = [None if panel.benchmark is None else panel.benchmark.name for panel in (a, b)]
    for what, (left, right) in (("benchmark", benchmarks), ("price field", [a.price_field, b.price_field])):
        if left != right:
            found.append(f"{what}: {left} → {right}")
    if _truth(a) != _truth(b):
        found.append("the simulator's truth differs")
    return tuple(found)


def _truth(panel: Panel) -> tuple[bytes, ...] | None:
    if panel.truth is None:
        return None
    return tuple(np.ascontiguousarray(v).tobytes() for v in vars(panel.truth).values())


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
