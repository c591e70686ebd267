"""Objects from plain data: a mapping whose ``_target_`` names a class becomes an instance, every field checked.

The class's own signature is the schema: an unknown key, a wrong type or a missing field is an error that names the key.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import traceback
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pydantic
from typing_extensions import get_protocol_members

from harness.errors import ConfigError, UnknownKeyError, closest

__all__ = ["LATER", "TARGET", "build", "build_record", "describe", "join_key", "locate", "modules_of"]

TARGET = "_target_"
# Metadata of a field that was added after snapshots were blessed.
LATER: Mapping[str, Any] = MappingProxyType({"later": True})
_ARBITRARY = pydantic.ConfigDict(arbitrary_types_allowed=True)


def build(node: object, path: str = "") -> object:
    """Return `node` with every mapping that has a ``_target_`` replaced by an instance of the class it names."""
    if isinstance(node, Mapping):
        if TARGET in node:
            rest = {str(k): v for k, v in node.items() if k != TARGET}
            return build_record(locate(node[TARGET], join_key(path, TARGET)), rest, path)
        return {str(k): build(v, join_key(path, str(k))) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return tuple(build(v, f"{path}[{i}]") for i, v in enumerate(node))
    return node


def modules_of(*values: object) -> tuple[str, ...]:
    """Return the modules of every object in built configuration, nested ones too, sorted: the code that it runs."""
    found: set[str] = set()
    waiting = [describe(value) for value in values]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            found |= {str(node[TARGET]).rpartition(".")[0]} if TARGET in node else set()
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return tuple(sorted(found))


def describe(value: object) -> object:
    """Return a built object as JSON-able data: every field, with the ``_target_`` of every object.

    A field that is `LATER` is left out while it has its default: what was described before it existed stays equal.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value) if _is_described(f, value)
        }
        return {TARGET: _name(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Path):
        return value.as_posix()
    attributes = {k: describe(v) for k, v in sorted(vars(value).items()) if not k.startswith("_")}
    return {TARGET: _name(type(value)), **attributes}


def _name(cls: type) -> str:
    """Return what a class is called in a snapshot: a module that was split keeps its name by `described_in`."""
    module = vars(sys.modules[cls.__module__]).get("described_in", cls.__module__)
    return f"{module}.{cls.__qualname__}"


def _is_described(field: dataclasses.Field[Any], owner: object) -> bool:
    return field.init and not ("later" in field.metadata and getattr(owner, field.name) == field.default)


def build_record(cls: type, given: Mapping[str, Any], path: str) -> object:
    """Return `cls(**given)` after checking every field against the class's signature and type hints.

    Raises
    ------
    ConfigError
        Names the full key (`path` and the field), the value, and what would be accepted.
    """
    parameters = {n: p for n, p in inspect.signature(cls).parameters.items() if p.kind not in (p.VAR_POSITIONAL,)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in given:
        if name not in parameters and not open_ended:
            raise UnknownKeyError(
                f"There is no configuration key `{join_key(path, name)}`.",
                where=join_key(path, name),
                got=given[name],
                expected=", ".join(parameters) or "no key at all",
                hint=closest(name, parameters),
            )
    missing = [
        n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and n not in given
    ]
    if missing:
        raise ConfigError(
            f"The configuration lacks `{join_key(path, missing[0])}`.",
            where=join_key(path, missing[0]),
            expected=", ".join(missing),
        )
    owner: Any = cls if dataclasses.is_dataclass(cls) else inspect.getattr_static(cls, "__init__")
    hints = typing.get_type_hints(owner)
    values = {n: _typed(hints.get(n, Any), v, join_key(path, n)) for n, v in given.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        inner = "" if error.where is None else str(error.where)
        error.where = inner if path and inner.startswith(path) else join_key(path, inner.rpartition(".")[2])
        raise


def _typed(hint: Any, value: object, path: str) -> object:
    record = _record_of(hint)
    if isinstance(value, Mapping) and record is not None and TARGET not in value:
        return build_record(record, value, path)
    built = build(value, path)
    if _holds_objects(built):
        return _checked_object(hint, built, path)
    accepts_bool = bool in _alternatives(hint) or hint in (Any, object)
    if isinstance(built, bool) and not accepts_bool:
        raise _wrong_type(path, built, _name_of(hint))
    try:
        return pydantic.TypeAdapter(hint, config=_ARBITRARY).validate_python(built)
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        inner = "".join(f"[{p}]" if isinstance(p, int) else "" for p in detail["loc"])
        raise _wrong_type(path + inner, detail["input"], f"{_name_of(hint)} ({detail['msg']})") from error


def _wrong_type(path: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"`{path}` has a value of the wrong kind.", where=path, got=repr(value), expected=expected)


def _checked_object(hint: Any, built: object, path: str) -> object:
    protocols = [h for h in _alternatives(hint) if isinstance(h, type) and getattr(h, "_is_protocol", False)]
    for protocol in protocols:
        lacking = [name for name in _members(protocol) if not hasattr(built, name)]
        if lacking:
            raise ConfigError(
                f"`{path}` is not a {protocol.__name__}: it lacks {', '.join(lacking)}.",
                where=path,
                got=f"{type(built).__module__}.{type(built).__qualname__}",
                expected=f"an object with {', '.join(_members(protocol))}",
            )
    return built


def _members(protocol: type) -> list[str]:
    return sorted(get_protocol_members(protocol))


def _holds_objects(value: object) -> bool:
    if isinstance(value, tuple):
        return any(_holds_objects(v) for v in value)
    if isinstance(value, Mapping):
        return any(_holds_objects(v) for v in value.values())
    return not (value is None or isinstance(value, bool | int | float | str))


def _record_of(hint: Any) -> type | None:
    records = [h for h in _alternatives(hint) if isinstance(h, type) and dataclasses.is_dataclass(h)]
    return records[0] if len(records) == 1 else None


def _alternatives(hint: Any) -> tuple[Any, ...]:
    arguments = typing.get_args(hint)
    is_union = typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"
    return arguments if is_union else (hint,)


def _name_of(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(str(member) for member in hint)
    if typing.get_origin(hint) is Literal:
        return " | ".join(str(a) for a in typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def join_key(path: str, name: str) -> str:
    """Return the dotted key of `name` inside `path`."""
    return f"{path}.{name}" if path and name else path or name


def locate(target: object, where: str) -> type:
    """Return the class that a ``_target_`` names; a mistake is an error that names `where` it stands."""
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(
            "A `_target_` must be the dotted name of a class.",
            where=where,
            got=target,
            expected="module.Class, such as baselines.models.linear.Linear",
        )
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise ConfigError(
                f"`{module_name}` needs the library `{error.name}`, which is not installed.",
                where=where,
                got=target,
                hint=f"pip install {error.name}",
            ) from error
        raise ConfigError(
            "The module of a `_target_` cannot be found.",
            where=where,
            got=target,
            expected="a module that Python can import",
            hint="your own file must be importable: PYTHONPATH=FOLDER bench …",
        ) from error
    except Exception as error:
        # Somebody's own file may raise anything while it is read; where it did so is what its author needs.
        line = traceback.extract_tb(error.__traceback__)[-1]
        at = getattr(error, "lineno", None) or line.lineno
        raise ConfigError(
            f"The module `{module_name}` cannot be imported.",
            where=where,
            got=f"{type(error).__name__}: {error} ({getattr(error, 'filename', None) or line.filename}, line {at})",
            expected="a file that Python can import",
            hint=f"python -c 'import {module_name}' shows the whole traceback",
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and not n.startswith("_")]
        raise ConfigError(
            f"`{module_name}` has no class `{name}`.",
            where=where,
            got=target,
            expected=", ".join(names) or None,
            hint=closest(name, names),
        )
    return found
