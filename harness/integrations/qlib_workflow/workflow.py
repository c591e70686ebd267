"""Read a qlib workflow file, and look values up in it with errors that name their place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from harness.errors import ConfigError

# Characters of a value that a note shows.
_SHOWN = 60
# A file whose aliases unfold to more values than this is no workflow.
_MOST_VALUES = 50_000
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
_TEMPLATE = re.compile(r"\{\{\s*[\w.]+\s*[|}]|\{%")


@dataclass(frozen=True)
class Mark:
    """Where a value stands in the file, and how it is written there.

    Attributes
    ----------
    line
        Counted from 1.
    text
        Of a scalar, before YAML reads ``000300`` as 192 or ``NO`` as false; None for null and for what is no scalar.
    """

    line: int
    text: str | None


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
    marks
        Dotted place → how it is written, for the whole file.
    """

    content: Mapping[str, Any]
    path: str
    file: str
    marks: Mapping[str, Mark] = field(default_factory=dict, repr=False)

    def child(self, key: str) -> Node:
        """Return a mapping inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, Mapping):
            raise ConfigError(
                "The workflow lacks a section.",
                where=self.where(key),
                got=type(found).__name__,
                expected="what qlib's rolling benchmarks have: task.model, task.dataset with handler and segments",
                hint="is this a workflow of qlib (`qrun`)?",
            )
        return Node(found, self._place(key), self.file, self.marks)

    def maybe(self, key: str) -> Node:
        """Return a mapping inside, empty when there is none."""
        found = self.content.get(key)
        return Node(found if isinstance(found, Mapping) else {}, self._place(key), self.file, self.marks)

    def text(self, key: str) -> str:
        """Return a text inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, str):
            raise ConfigError("The workflow lacks a name.", where=self.where(key), got=found, expected="a text")
        return found

    def dates(self, key: str) -> list[str]:
        """Return two dates inside as ISO text; raises `ConfigError` when they are something else."""
        found = self.content.get(key)
        if not isinstance(found, list | tuple) or len(found) != 2 or any(d is None for d in found):
            raise ConfigError(
                "A segment is no pair of dates.",
                where=self.where(key),
                got=found,
                expected="[first, last]",
            )
        return [str(date) for date in found]

    def code(self, key: str) -> str | None:
        """Return a name inside as it is written, so that ``000300`` keeps its zeros; None for null.

        Raises
        ------
        ConfigError
            When it is a list or a mapping.
        """
        found, mark = self.content.get(key), self.marks.get(self._place(key))
        if isinstance(found, Mapping | list):
            raise ConfigError(
                "One name is wanted here.",
                where=self.where(key),
                got=_short(found),
                expected="the name of a market (a file of instruments/), or one code",
                hint="write the codes into instruments/NAME.txt of the data folder, and name it here",
            )
        if found is None:
            return None
        return str(found) if mark is None or mark.text is None else mark.text

    def of_qlib(self) -> bool:
        """Return whether the class that is named here is one of qlib's, as far as the file says."""
        module = self.content.get("module_path")
        return module is None or str(module).partition(".")[0] == "qlib"

    def where(self, key: str = "") -> str:
        """Return the place of a key, with its line, for errors; of the mapping itself without a key."""
        place = self._place(key) if key else self.path
        inner = place
        while inner and inner not in self.marks:
            inner = inner.rpartition(".")[0]
        line = f", line {self.marks[inner].line}" if inner in self.marks else ""
        return f"{self.file}{line}: {place}"

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
        When it is missing, no YAML mapping, unfolds without end, or is a template.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        marks = {} if root is None else _marks(root, path)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
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
    template = _TEMPLATE.search(text)
    if template is not None:
        raise ConfigError(
            "The workflow is a template.",
            where=f"{path.name}, line {text.count(chr(10), 0, template.start()) + 1}",
            got=template[0],
            expected="a file whose values stand in it",
            hint="put the values in first, as qrun does from the environment",
        )
    return Node(content, "", path.name, marks)


def _refuse_twice(keys: list[yaml.Node], path: str, file: Path) -> None:
    """Refuse a key that stands twice in a mapping: YAML readers take one of them, and not all the same."""
    seen: dict[str, int] = {}
    for key in keys:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            raise ConfigError(
                "A key stands twice in one mapping.",
                where=f"{file.name}, line {line}: {path}.{name}" if path else f"{file.name}, line {line}: {name}",
                got=f"also on line {seen[name]}",
                expected="each key once",
            )
        seen[name] = line


def _marks(root: yaml.Node, file: Path) -> dict[str, Mark]:
    """Return where everything stands and how it is written, aliases unfolded."""
    found: dict[str, Mark] = {}

    def walk(node: yaml.Node, path: str, above: tuple[int, ...]) -> None:
        if id(node) in above or len(found) > _MOST_VALUES:
            raise ConfigError(
                "The aliases of the workflow unfold without end.",
                where=f"{file.name}, line {node.start_mark.line + 1}: {path}",
                got=f"more than {_MOST_VALUES} values" if id(node) not in above else "an alias inside itself",
                expected="a workflow of qlib",
            )
        is_text = isinstance(node, yaml.ScalarNode) and node.tag != _NULL
        found.setdefault(path, Mark(node.start_mark.line + 1, node.value if is_text else None))
        inner = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            for at, item in enumerate(node.value):
                walk(item, f"{path}[{at}]", inner)
        if isinstance(node, yaml.MappingNode):
            own = [(key, value) for key, value in node.value if key.tag != _MERGE]
            _refuse_twice([key for key, _ in own], path, file)
            for key, value in own:
                walk(value, f"{path}.{key.value}" if path else str(key.value), inner)
            for key, value in node.value:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if key.tag == _MERGE:
                        walk(merged, path, inner)

    walk(root, "", ())
    return found
