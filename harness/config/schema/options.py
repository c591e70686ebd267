"""What may be written under a `_target_`, or into a group without one: the fields of a class."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from harness.config.instantiate import hints_of
from harness.errors.limits import limits_of

# A section in Google's style, and one in numpy's, which a user's class may have.
_GOOGLE = re.compile(r"^(?:Args|Attributes|Parameters):\n((?:[ \t]+.*\n?|\n)*)", flags=re.MULTILINE)
_NUMPY = re.compile(r"^(?:Attributes|Parameters)\n-{3,}\n((?:(?!^\w[\w ]*\n-{3,}$).*\n?)*)", flags=re.MULTILINE)


def meanings(cls: type) -> dict[str, str]:
    """Return name → meaning, as one line, from the sections of a class's docstring that list its names.

    Names that share an entry, such as ``low, high``, share its meaning. None is written as YAML writes it.
    """
    text = inspect.getdoc(cls) or ""
    found: dict[str, str] = {}
    for section, end_of_names in ((_NUMPY, "\n"), (_GOOGLE, ":")):
        for body in section.findall(text):
            found |= _entries(textwrap.dedent(body), end_of_names)
    return found


def summary(cls: type) -> str:
    """Return the first paragraph of a class's docstring as one line."""
    return _line((inspect.getdoc(cls) or "").partition("\n\n")[0])


def _entries(body: str, end_of_names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=\S)", body, flags=re.MULTILINE):
        names, _, text = entry.partition(end_of_names)
        found |= dict.fromkeys((name.strip() for name in names.split(":")[0].split(",")), _line(text))
    return {name: text for name, text in found.items() if name and text}


def _line(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("``", "`"))


# The default of a key that has none.
REQUIRED = inspect.Parameter.empty
# Characters for which the keys of a mapping are listed.
_ROOM = 60
_WORDS: Mapping[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true | false",
    type(None): "null",
    Any: "anything",
    object: "anything",
}


@dataclass(frozen=True)
class Option:
    """One key of a class.

    Attributes:
        name: The key.
        hint: Its type.
        default: What it is when nobody says; `REQUIRED` when somebody must.
        meaning: What the class's docstring says of it; empty when it says nothing.
    """

    name: str
    hint: Any
    default: object
    meaning: str

    @property
    def accepts(self) -> str:
        """The type and the values that are accepted, in words of YAML."""
        return accepts(self.hint)


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the keys of a class, in the order of its signature; the type of what nobody has typed is `Any`.

    Raises:
        ConfigError: When the types of the class name something that does not exist.
    """
    told = meanings(cls)
    hints = hints_of(cls)
    defaults = {f.name: f for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    found = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        factory = defaults[name].default_factory if name in defaults else dataclasses.MISSING
        default = parameter.default if factory is dataclasses.MISSING else factory()
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            default = dataclasses.asdict(default)  # as YAML gives it
        found.append(Option(name, hints.get(name, Any), default, told.get(name, "")))
    return tuple(found)


def summary_of(cls: type) -> str:
    """Return what a class is, in one sentence or two."""
    return summary(cls)


def accepts(hint: Any) -> str:
    """Return a type in words of YAML, such as ``number, or null`` or ``ols | ridge``."""
    parts = [_one(part) for part in alternatives(hint)]
    return ", or ".join(dict.fromkeys(parts))


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, with their limits; any other type alone."""
    is_union = typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"
    return typing.get_args(hint) if is_union else (hint,)


def is_record(hint: Any) -> bool:
    """Return whether a mapping without a ``_target_`` makes an object of this type."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and not issubclass(hint, Enum)


def _one(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        return " ".join(filter(None, (_one(typing.get_args(hint)[0]), limits_of(hint))))
    if hint in _WORDS:
        return _WORDS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(str(a) for a in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list of {accepts(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(accepts(a) for a in arguments)}]"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping of name: {accepts(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(str(member) for member in hint)
    if is_record(hint):
        keys = ", ".join(option.name for option in options_of(hint))
        return f"{{{keys}}}" if len(keys) <= _ROOM else "mapping"
    return f"object ({getattr(hint, '__name__', hint)})"
