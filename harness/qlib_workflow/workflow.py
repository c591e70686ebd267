"""Read a qlib workflow file, and look values up in it with errors that name their place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from harness.errors import ConfigError

__all__ = ["Node", "read_workflow"]


# Characters of a value that a note shows.
_SHOWN = 60


@dataclass(frozen=True)
class Node:
    """A mapping of the file and where it stands.

    Attributes
    ----------
    content
        Key → value.
    path
        Dotted place in the file.
    file
        The file's name, for errors.
    """

    content: Mapping[str, Any]
    path: str
    file: str

    def child(self, key: str) -> Node:
        """Return a mapping inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, Mapping):
            raise ConfigError(
                "The workflow lacks a section.",
                where=f"{self.file}: {self._place(key)}",
                got=type(found).__name__,
                expected="what qlib's rolling benchmarks have: task.model, task.dataset with handler and segments",
                hint="is this a workflow of qlib (`qrun`)?",
            )
        return Node(found, self._place(key), self.file)

    def maybe(self, key: str) -> Node:
        """Return a mapping inside, empty when there is none."""
        found = self.content.get(key)
        return Node(found if isinstance(found, Mapping) else {}, self._place(key), self.file)

    def text(self, key: str) -> str:
        """Return a text inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, str):
            raise ConfigError(
                "The workflow lacks a name.", where=f"{self.file}: {self._place(key)}", got=found, expected="a text"
            )
        return found

    def dates(self, key: str) -> list[str]:
        """Return two dates inside as ISO text; raises `ConfigError` when they are something else."""
        found = self.content.get(key)
        if not isinstance(found, list | tuple) or len(found) != 2 or any(d is None for d in found):
            raise ConfigError(
                "A segment is no pair of dates.",
                where=f"{self.file}: {self._place(key)}",
                got=found,
                expected="[first, last]",
            )
        return [str(date) for date in found]

    def left_over(self, known: Collection[str], why: str) -> list[str]:
        """Return a note for every key that is not among those known."""
        return [f"{self._place(str(k))}={_short(v)}: {why}" for k, v in self.content.items() if k not in known]

    def _place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def read_workflow(path: Path) -> Node:
    """Return the content of a workflow file.

    Raises
    ------
    ConfigError
        When it is missing or no YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            "The workflow cannot be read.",
            where=str(path),
            got=" ".join(f"{type(error).__name__}: {error}".split()),
            expected="a YAML file of qlib",
            hint="bench convert-qlib workflow.yaml",
        ) from error
    if not isinstance(content, Mapping):
        raise ConfigError(
            "The workflow cannot be read.",
            where=str(path),
            got=type(content).__name__,
            expected="a YAML mapping",
            hint="is this a workflow of qlib (`qrun`)?",
        )
    return Node(content, "", path.name)
