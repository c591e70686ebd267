"""Objects as plain records, and what a class is called there: a name that stays when its file moves.

The root package of a class may list names in a mapping ``PUBLIC_NAMES``: public name → module that holds the class now,
in ``FORMER_MODULES``: a module that earlier versions recorded → the public module; and in ``FORMER_FIELDS``: a public
name → fields that earlier versions recorded of the class, and that are no part of a result any more. A class that is
not listed is called after its own module. Moving a file changes one line here and no snapshot.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from harness.store.fingerprint import fingerprint_arrays

TARGET = "_target_"
OURS = ("harness", "baselines")
# Metadata of a field that was added after snapshots were blessed, and of one that changes no number.
LATER: Mapping[str, Any] = MappingProxyType({"later": True})
UNRECORDED: Mapping[str, Any] = MappingProxyType({"unrecorded": True})


def public_name(cls: type) -> str:
    """Return what a class is called wherever it is recorded."""
    own = f"{cls.__module__}.{cls.__qualname__}"
    names = _table(cls.__module__, "PUBLIC_NAMES")
    return next((name for name, module in names.items() if f"{module}.{name.rpartition('.')[2]}" == own), own)


def module_of(name: str) -> str:
    """Return the module that holds the class of a public, former or plain dotted name."""
    current = _current(name)
    return _table(current, "PUBLIC_NAMES").get(current, current.rpartition(".")[0])


def public_siblings(name: str) -> list[str]:
    """Return the last parts of the public names in the place of a dotted name; none where the place is no such one."""
    place = f"{name.rpartition('.')[0]}."
    found = (other.removeprefix(place) for other in _table(name, "PUBLIC_NAMES") if other.startswith(place))
    return [other for other in found if "." not in other]


def exported_from(name: str) -> str | None:
    """Return the module behind a name that a root package of ours exports, such as ``harness.LearnSet``."""
    root, _, attribute = name.partition(".")
    return _table(name, "PLACES").get(attribute) if root in OURS else None


def with_public_names(recorded: Any) -> Any:
    """Return a record as it would be made today, with public names and present fields: old ones stay comparable."""
    if isinstance(recorded, Mapping):
        target = recorded.get(TARGET)
        name = _current(target) if isinstance(target, str) else ""
        former = _table(name, "FORMER_FIELDS").get(name, ())
        own = {TARGET: name} if name else {}
        return {k: with_public_names(v) for k, v in recorded.items() if k not in former} | own
    return [with_public_names(v) for v in recorded] if isinstance(recorded, list) else recorded


def _current(name: str) -> str:
    module, _, cls = name.rpartition(".")
    public = f"{_table(name, 'FORMER_MODULES').get(module, module)}.{cls}"
    return public if public in _table(name, "PUBLIC_NAMES") else name


def _table(name: str, table: str) -> Mapping[str, str]:
    """Return a table of the root package of a dotted name; empty where it has none or cannot be imported."""
    root = name.partition(".")[0]
    if root not in sys.modules:
        if root not in OURS:
            return {}
        importlib.import_module(root)
    found = getattr(sys.modules[root], table, None)
    return found if isinstance(found, Mapping) else {}


def join_key(path: str, name: str) -> str:
    """Return the dotted key of `name` inside `path`."""
    return f"{path}.{name}" if path and name else path or name


def walk(node: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of everything in plain data, from the outside in; `path` is the key of it all."""
    yield path, node
    if isinstance(node, Mapping):
        inner = [(join_key(path, str(key)), value) for key, value in node.items()]
    else:
        inner = [(f"{path}[{at}]", value) for at, value in enumerate(node)] if isinstance(node, list | tuple) else []
    for key, value in inner:
        yield from walk(value, key)


def targets_in(node: object) -> Iterator[str]:
    """Yield the ``_target_`` of every object in plain data."""
    return (str(value[TARGET]) for _, value in walk(node) if isinstance(value, Mapping) and TARGET in value)


def modules_of(*values: object) -> tuple[str, ...]:
    """Return the modules of every object in built configuration, nested ones too, sorted: the code that it runs."""
    return tuple(sorted({module_of(name) for name in targets_in(list(map(describe, values)))}))


def describe(value: object) -> object:
    """Return a built object as JSON-able data: every field, with the ``_target_`` of every object.

    A field that is `LATER` is left out while it has its default: what was described before it existed stays equal. One
    that is `UNRECORDED` is always left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        recorded = [f for f in dataclasses.fields(value) if f.init and "unrecorded" not in f.metadata]
        given = [(f, getattr(value, f.name)) for f in recorded]
        fields = {f.name: describe(v) for f, v in given if not ("later" in f.metadata and v == f.default)}
        return {TARGET: public_name(type(value)), **fields}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Path):
        return value.as_posix()
    attributes = {k: describe(v) for k, v in sorted(attributes_of(value).items()) if not k.startswith("_")}
    return {TARGET: public_name(type(value)), **attributes}


def content_of(value: object) -> object:
    """Return everything that is in a value as JSON-able data, arrays as their fingerprints: equal content, equal value.

    Raises:
        TypeError: When something in it cannot be told: what is no record, no plain data and no array, or a record with
            attributes beside its fields.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name for field in dataclasses.fields(value)}
        if beside := sorted(attributes_of(value).keys() - fields):
            raise TypeError(f"{type(value).__name__} keeps {', '.join(beside)} beside its fields")
        return {TARGET: public_name(type(value)), **{name: content_of(getattr(value, name)) for name in sorted(fields)}}
    if isinstance(value, Mapping):
        return {str(name): content_of(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [content_of(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "dtype") and value.dtype.kind in "biufmMU":
        return fingerprint_arrays({"": cast("Any", value)})
    raise TypeError(f"what is in {type(value).__name__} cannot be told")


def attributes_of(value: object) -> dict[str, object]:
    """Return name → value of an object's own attributes, those in ``__slots__`` too."""
    slots: list[str] = []
    for cls in type(value).__mro__:
        given = vars(cls).get("__slots__", ())
        slots += [given] if isinstance(given, str) else list(given)
    found = {name: getattr(value, name) for name in slots if not name.startswith("__") and hasattr(value, name)}
    return found | dict(getattr(value, "__dict__", {}))
