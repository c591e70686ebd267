"""In what two panels differ, when their fingerprints do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel

_SHOWN = 5
Sides = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class ValueDifference:
    """One array in which two panels differ, where both have the times and the instruments.

    Attributes:
        name: A field, ``membership`` or ``benchmark``.
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
        notes: What else differs: the benchmark's name, the price field, the simulator's truth.
    """

    times: Sides
    instruments: Sides
    fields: Sides
    values: tuple[ValueDifference, ...]
    notes: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Return the difference for people: counts and the first few of each; empty when nothing differs."""
        found = []
        for what in ("times", "instruments", "fields"):
            for side, names in zip(("baseline", "candidate"), getattr(self, what), strict=True):
                if names:
                    few = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
                    found.append(f"{len(names)} {what} only in the {side}: {few}")
        found += [f"{value.name}: {value.count} values differ: {'; '.join(value.first)}" for value in self.values]
        return (*found, *self.notes)


def explain_data_difference(a: Panel, b: Panel) -> DataDifference:
    """Return which instruments, times, fields and values differ between two panels.

    Values are compared where both panels have the time and the instrument.
    """
    times = [[panel.calendar.format(t) for t in range(len(panel.calendar))] for panel in (a, b)]
    _, rows_a, rows_b = np.intersect1d(a.calendar.times, b.calendar.times, return_indices=True)
    names, columns_a, columns_b = np.intersect1d(a.instruments, b.instruments, return_indices=True)
    days = [times[0][row] for row in rows_a]

    def differing(name: str, left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> ValueDifference:
        """Compare two arrays, over times alone or also over instruments; two missing values are equal."""
        if left.ndim == 1:
            x, y = left[rows_a, None], right[rows_b, None]
        else:
            x, y = left[np.ix_(rows_a, columns_a)], right[np.ix_(rows_b, columns_b)]  # (T shared, N shared)
        at = np.argwhere((x != y) & ~((x != x) & (y != y)))  # only NaN differs from itself
        first = (
            f"{days[t]} {'' if left.ndim == 1 else f'{names[n]} '}{x[t, n]!s} → {y[t, n]!s}" for t, n in at[:_SHOWN]
        )
        return ValueDifference(name, len(at), tuple(first))

    values = [differing(name, a.fields[name], b.fields[name]) for name in sorted(set(a.fields) & set(b.fields))]
    values.append(differing("membership", a.membership, b.membership))
    if a.benchmark is not None and b.benchmark is not None:
        values.append(differing("benchmark", a.benchmark.close, b.benchmark.close))
    return DataDifference(
        times=_only(*times),
        instruments=_only(a.instruments, b.instruments),
        fields=_only(list(a.fields), list(b.fields)),
        values=tuple(value for value in values if value.count),
        notes=_notes(a, b),
    )


def _only(a: Sequence[str], b: Sequence[str]) -> Sides:
    return tuple(sorted(set(a) - set(b))), tuple(sorted(set(b) - set(a)))


def _notes(a: Panel, b: Panel) -> tuple[str, ...]:
    benchmarks = [None if panel.benchmark is None else panel.benchmark.name for panel in (a, b)]
    pairs = (("benchmark", *benchmarks), ("price field", a.price_field, b.price_field))
    found = [f"{what}: {left} → {right}" for what, left, right in pairs if left != right]
    if _truth(a) != _truth(b):
        found.append("the simulator's truth differs")
    return tuple(found)


def _truth(panel: Panel) -> tuple[bytes, ...] | None:
    if panel.truth is None:
        return None
    return tuple(np.ascontiguousarray(v).tobytes() for v in vars(panel.truth).values())
