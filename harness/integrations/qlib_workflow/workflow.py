"""Read a qlib workflow file, and look values up in it with errors that name their place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import ConfigError

_SHOWN = 60  # characters of a value that a note shows
_MOST_VALUES = 50_000  # a file whose aliases unfold to more than this is no workflow
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
_TEMPLATE = re.compile(r"\{\{\s*[\w.]+\s*[|}]|\{%")
_IS_IT = "is this a workflow of qlib (`qrun`)?"
# Dotted place → its line, counted from 1, and how a scalar is written there before YAML reads ``000300`` as 192 or
# ``NO`` as false; None for null and for what is no scalar.
_Marks = dict[str, tuple[int, str | None]]


@dataclass(frozen=True)
class Node:
    """A mapping of the file and where it stands.

    Attributes:
        path: Dotted place in the file.
        marks: How everything is written, for the whole file.
        notes: What has no counterpart, with the reason; one list for the whole file.
    """

    content: Mapping[str, Any]
    path: str
    file: str
    marks: _Marks = field(repr=False)
    notes: list[str] = field(default_factory=list, repr=False)

    def maybe(self, key: str) -> Node:
        found = self.content.get(key)
        return replace(self, content=found if isinstance(found, Mapping) else {}, path=self.place(key))

    def child(self, key: str) -> Node:
        """Return a mapping inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, Mapping):
            sections = "what qlib's rolling benchmarks have: task.model, task.dataset with handler and segments"
            raise self.error("The workflow lacks a section.", key, type(found).__name__, sections, _IS_IT)
        return self.maybe(key)

    def text(self, key: str) -> str:
        """Return a text inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, str):
            raise self.error("The workflow lacks a name.", key, found, "a text")
        return found

    def dates(self, key: str) -> list[str]:
        """Return two dates inside as ISO text; raises `ConfigError` when they are something else."""
        found = self.content.get(key)
        if not isinstance(found, list | tuple) or len(found) != 2 or any(d is None for d in found):
            raise self.error("A segment is no pair of dates.", key, found, "[first, last]")
        return [str(date) for date in found]

    def code(self, key: str) -> str | None:
        """Return a name inside as it is written, so that ``000300`` keeps its zeros; None for null."""
        found = self.content.get(key)
        if isinstance(found, Mapping | list):
            expected = "the name of a market (a file of instruments/), or one code"
            hint = "write the codes into instruments/NAME.txt of the data folder, and name it here"
            raise self.error("One name is wanted here.", key, _short(found), expected, hint)
        written = self.marks.get(self.place(key), (0, None))[1]
        return None if found is None else str(found) if written is None else written

    def class_name(self) -> str:
        """Return the class that is named here, with its module when it is none of qlib's as far as the file says."""
        module = str(self.content.get("module_path") or "qlib")
        return self.text("class") + ("" if module.partition(".")[0] == "qlib" else f" of {module}")

    def error(self, what: str, key: str, got: object, expected: object, hint: str | None = None) -> ConfigError:
        place = inner = self.place(key)
        while inner and inner not in self.marks:
            inner = inner.rpartition(".")[0]
        line = f", line {self.marks[inner][0]}" if inner in self.marks else ""
        return ConfigError(what, where=f"{self.file}{line}: {place}", got=got, expected=expected, hint=hint)

    def note_others(self, known: Collection[str], why: str = "no counterpart") -> None:
        for key, value in self.content.items():
            if key not in known:
                self.note(str(key), value, why)

    def note(self, key: str, value: object, why: str) -> None:
        self.notes.append(f"{self.place(key)}={_short(value)}: {why}")

    def place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def read_workflow(path: Path) -> Node:
    """Return the content of a workflow file.

    Raises:
        ConfigError: When it is missing, no YAML mapping, unfolds without end, or is a template.
    """
    unreadable = "The workflow cannot be read."
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        marks = {} if root is None else _marks(root, path)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        got, hint = " ".join(f"{type(error).__name__}: {error}".split()), "bench convert-qlib workflow.yaml"
        raise ConfigError(unreadable, where=str(path), got=got, expected="a YAML file of qlib", hint=hint) from error
    if not isinstance(content, Mapping):
        got = type(content).__name__
        raise ConfigError(unreadable, where=str(path), got=got, expected="a YAML mapping", hint=_IS_IT)
    template = _TEMPLATE.search(text)
    if template is not None:
        what, where = "The workflow is a template.", f"{path.name}, line {text.count(chr(10), 0, template.start()) + 1}"
        expected, hint = "a file whose values stand in it", "put the values in first, as qrun does from the environment"
        raise ConfigError(what, where=where, got=template[0], expected=expected, hint=hint)
    return Node(content, "", path.name, marks)


def _refuse_twice(keys: list[yaml.Node], above: str, file: Path) -> None:
    """Refuse a key that stands twice in a mapping: YAML readers take one of them, and not all the same."""
    seen: dict[str, int] = {}
    for key in keys:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            what, where = "A key stands twice in one mapping.", f"{file.name}, line {line}: {above}{name}"
            raise ConfigError(what, where=where, got=f"also on line {seen[name]}", expected="each key once")
        seen[name] = line


def _marks(root: yaml.Node, file: Path) -> _Marks:
    """Return where everything stands and how it is written, aliases unfolded."""
    found: _Marks = {}

    def walk(node: yaml.Node, path: str, above: tuple[int, ...]) -> None:
        line, inner = node.start_mark.line + 1, (*above, id(node))
        if id(node) in above or len(found) > _MOST_VALUES:
            what, where = "The aliases of the workflow unfold without end.", f"{file.name}, line {line}: {path}"
            got = "an alias inside itself" if id(node) in above else f"more than {_MOST_VALUES} values"
            raise ConfigError(what, where=where, got=got, expected="a workflow of qlib")
        is_text = isinstance(node, yaml.ScalarNode) and node.tag != _NULL
        found.setdefault(path, (line, node.value if is_text else None))
        if isinstance(node, yaml.SequenceNode):
            for at, item in enumerate(node.value):
                walk(item, f"{path}[{at}]", inner)
        elif isinstance(node, yaml.MappingNode):
            own = [pair for pair in node.value if pair[0].tag != _MERGE]
            _refuse_twice([key for key, _ in own], f"{path}." if path else "", file)
            for key, value in own:
                walk(value, f"{path}.{key.value}" if path else str(key.value), inner)
            for key, value in node.value:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if key.tag == _MERGE:
                        walk(merged, path, inner)

    walk(root, "", ())
    return found
