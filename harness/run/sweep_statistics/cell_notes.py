"""What a reader must know beside the numbers of several cells, each note once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_NAMED = 3  # cells that are named one by one


def cell_notes(cells: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return every note once, with the cells that it is of, in the order of the cells.

    Parameters
    ----------
    cells
        Name → notes of every cell that has run.
    """
    found: dict[str, list[str]] = {}
    count = 0
    for name, notes in cells:
        count += 1
        for note in notes:
            found.setdefault(note, []).append(name)
    return [f"{_names(names, count)}: {note}" for note, names in found.items()]


def _names(names: Sequence[str], count: int) -> str:
    if len(names) == count > 1:
        return f"all {count} cells"
    return "; ".join(names) if len(names) <= _NAMED else f"{len(names)} of {count} cells, first {names[0]}"
