"""What every data source offers, and how it finds its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.data.panel import Panel
from harness.errors import DataError


@runtime_checkable
class Source(Protocol):
    """Where a panel comes from: a frozen dataclass whose fields are the YAML keys.

    A user's own source needs these two methods, no base class.
    """

    def load(self) -> Panel:
        """Return the validated panel.

        Raises
        ------
        DataError
            When a file is missing or damaged, or its content breaks the panel's contract.
        """
        ...

    def inputs(self) -> dict[str, str]:
        """Return name → hex SHA-256 of every file that `load` reads; empty when it reads none.

        With the fields of the dataclass it identifies the panel, so that a cached result can be found without loading.
        """
        ...


def at_the_root(source: Source, change: Callable[[Source], Source]) -> Source:
    """Return `source` with its root changed: a source may transform another one, which is a field of it."""
    names: list[str] = [f.name for f in dataclasses.fields(source)] if dataclasses.is_dataclass(source) else []
    for name in names:
        inner = getattr(source, name)
        if isinstance(inner, Source):
            return dataclasses.replace(source, **{name: at_the_root(inner, change)})  # type: ignore[type-var]
    return change(source)


def existing_file(path: str, *, key: str, expected: str) -> Path:
    """Return the file at `path`, relative to the current directory.

    Raises
    ------
    DataError
        When there is none; `key` is the configuration key that names it, `expected` what would be accepted.
    """
    found = Path(path).expanduser()
    if not found.is_file():
        raise _missing(found, "file", key, expected)
    return found


def existing_folder(path: str, *, key: str, expected: str) -> Path:
    """Return the folder at `path`, relative to the current directory; raises as `existing_file` does."""
    found = Path(path).expanduser()
    if not found.is_dir():
        raise _missing(found, "folder", key, expected)
    return found


def _missing(path: Path, kind: str, key: str, expected: str) -> DataError:
    parent = path.parent
    hint = f"`{parent}` does not exist either" if not parent.is_dir() else f"`{parent}` holds: {_listing(parent)}"
    return DataError(f"There is no such {kind}.", where=key, got=str(path), expected=expected, hint=hint)


def _listing(folder: Path, limit: int = 8) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "") if names else "nothing"
