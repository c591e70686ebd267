"""What every data source offers, and how it finds its files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import DataError


@runtime_checkable
class Source(Protocol):
    """Where a panel comes from: a frozen dataclass whose fields are the YAML keys.

    A user's own source needs these two methods, no base class.
    """

    def load(self) -> Panel:
        """Return the validated panel.

        Raises:
            DataError: When a file is missing or damaged, or its content breaks the panel's contract.
        """
        ...

    def inputs(self) -> dict[str, str]:
        """Return name → hex SHA-256 of every file that `load` reads; empty when it reads none.

        With the fields of the dataclass it identifies the panel, so that a cached result can be found without loading.
        """
        ...


def existing_file(path: str, *, key: str, expected: str, kind: Literal["file", "folder"] = "file") -> Path:
    """Return the file (or folder) at `path`, relative to the current directory.

    Raises:
        DataError: When there is none; `key` is the configuration key that names it, `expected` what would be accepted.
    """
    found = Path(path).expanduser()
    if found.is_file() if kind == "file" else found.is_dir():
        return found
    hint = f"`{found.parent}` does not exist either"
    if found.parent.is_dir():
        names = sorted(entry.name for entry in found.parent.iterdir())
        hint = f"`{found.parent}` holds: {', '.join(names[:8]) or 'nothing'}" + (", …" if len(names) > 8 else "")
    raise DataError(f"There is no such {kind}.", where=key, got=str(found), expected=expected, hint=hint)


@dataclass(frozen=True)
class TruncatedSource:
    """A source whose calendar ends at `last`, ISO text, included."""

    inner: Source
    last: str

    def load(self) -> Panel:
        panel = self.inner.load()
        stop = panel.calendar.stop_after(self.last)
        if stop == 0:
            what, expected = "The panel begins after the time at which it should end.", panel.calendar.format(0)
            raise DataError(what, where="last", got=self.last, expected=f"a time from {expected} on")
        return truncate(panel, stop)

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


def truncate(panel: Panel, stop: int) -> Panel:
    """Return the panel of the calendar positions [0, stop).

    An instrument that has neither traded nor been a member by then is left out, for its name is news; so is a
    simulator's truth.
    """
    kept = np.flatnonzero((panel.present[:stop] | panel.membership[:stop]).any(axis=0))
    benchmark = panel.benchmark
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[:stop]),
        instruments=tuple(panel.instruments[at] for at in kept),
        fields={name: np.ascontiguousarray(values[:stop, kept]) for name, values in panel.fields.items()},
        membership=np.ascontiguousarray(panel.membership[:stop, kept]),
        benchmark=None if benchmark is None else replace(benchmark, close=benchmark.close[:stop].copy()),
        truth=None,
    )
