"""A composed configuration, key by key: its value, what it accepts, what it means."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from harness.config import ExperimentConfig
from harness.config.instantiate import join_key, locate
from harness.config.schema.groups import GROUP_RECORDS, classes_of_group, is_global, read_yaml
from harness.config.schema.options import Option, alternatives, is_record, options_of, summary_of
from harness.errors.limits import bounds_of
from harness.store.records import TARGET

_ROOT_ONLY = ("choices", "command", "composed")


@dataclass(frozen=True)
class DescribedKey:
    """One key of a configuration.

    Attributes:
        key: Dotted, from the root.
        value: What it is; of an object its class, or nothing where there is one class only.
        accepts: What it may be, in words of YAML.
        meaning: What it does; empty when its class does not say.
    """

    key: str
    value: object
    accepts: str
    meaning: str


def describe_keys(tree: Mapping[str, Any], prefix: str = "") -> tuple[DescribedKey, ...]:
    """Return every key of a composed tree (references resolved) that is `prefix` or lies below it, in its order.

    Raises:
        ConfigError: When a ``_target_`` names no class.
    """
    below = f"{prefix}."
    return tuple(
        k for k in _keys(ExperimentConfig, tree, "") if not prefix or k.key == prefix or k.key.startswith(below)
    )


def describe_file(group: str, path: Path) -> tuple[DescribedKey, ...]:
    """Return every key that a file of a group may hold, with the file's value or else the class's default.

    A file that changes several groups is described by the keys that it changes, dotted from the root; so is the main
    file, whose `group` is empty.
    """
    node = {k: v for k, v in read_yaml(path).items() if k != "defaults"}
    if not group or is_global(path):
        return tuple(_keys(ExperimentConfig, node, ""))
    cls = GROUP_RECORDS[group] if group in GROUP_RECORDS else locate(node.get(TARGET), join_key(str(path), TARGET))
    left_out = (o for o in options_of(cls) if o.name not in node)
    found = (*_keys(cls, node, ""), *(DescribedKey(o.name, o.default, o.accepts, o.meaning) for o in left_out))
    order = [option.name for option in options_of(cls)]
    return tuple(sorted(found, key=lambda k: order.index(re.split(r"[.\[]", k.key)[0])))


def _keys(cls: type, node: Mapping[str, Any], path: str) -> Iterator[DescribedKey]:
    known = {option.name: option for option in options_of(cls)}
    for name, value in node.items():
        if name == TARGET or (cls is ExperimentConfig and name in _ROOT_ONLY):
            continue
        key = join_key(path, name)
        option = known.get(name, Option(name, Any, None, ""))
        inner = _class_of(option, value, key)
        if inner is None:
            yield DescribedKey(key, value, option.accepts, option.meaning)
            yield from _items(option, key)
        else:
            yield DescribedKey(key, value.get(TARGET, ""), option.accepts, option.meaning)
            yield from _keys(inner, value, key)


def _items(option: Option, key: str) -> Iterator[DescribedKey]:
    """Return the keys of each item, where a list holds mappings of one kind."""
    for record in filter(is_record, typing.get_args(option.hint)):
        for inner in options_of(record):
            yield DescribedKey(f"{key}[].{inner.name}", inner.default, inner.accepts, inner.meaning)


def _class_of(option: Option, value: object, key: str) -> type | None:
    """Return the class whose keys a mapping holds; None for what is no such mapping."""
    if not isinstance(value, Mapping):
        return None
    if TARGET in value:
        return locate(value[TARGET], join_key(key, TARGET))
    records = [hint for hint in alternatives(option.hint) if is_record(hint)]
    fallback = records[0] if records else None
    if not records and "." not in key:
        # A file that changes some keys of a group, whichever of its choices that is for.
        records = list(classes_of_group(key).values())
    return next((r for r in records if set(value) <= {o.name for o in options_of(r)}), fallback)


Schema = dict[str, Any]

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Mapping[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
# What Hydra fills in: a reference to another key or to the environment, or a value that the command must give.
_FILLED_IN: Schema = {"type": "string", "pattern": r"\$\{.+\}|^\?\?\?$"}
_HYDRA: Schema = {
    "defaults": {"type": "array", "description": "Hydra's defaults list: the files that this one changes."}
}
# Fields of an experiment that no file holds.
_NOT_IN_FILES = ("choices", "command", "composed")


def group_schema(group: str, search_path: Sequence[str | Path] = ()) -> Schema:
    """Return the schema of a file ``GROUP/NAME.yaml``; no key is required, as a file may change another one.

    The keys of an object follow from its ``_target_``; a class that no file of the group names may have any.
    """
    classes = classes_of_group(group, search_path)
    title = f"driftbench: a file of `{group}`"
    schema = _group(group, classes)
    schema["properties"] = {**_HYDRA, **schema["properties"]}
    return {"$schema": _DRAFT, "title": title, **schema, "$defs": _definitions(classes)}


def experiment_schema(search_path: Sequence[str | Path] = ()) -> Schema:
    """Return the schema of a file that changes several groups (``# @package _global_``), such as an experiment."""
    properties: Schema = {}
    classes: dict[str, type] = {}
    for option in options_of(ExperimentConfig):
        if option.name in _NOT_IN_FILES:
            continue
        own = classes_of_group(option.name, search_path)
        classes |= own
        is_group = own or option.name in GROUP_RECORDS
        described = {"description": option.meaning, **_group(option.name, own)}
        properties[option.name] = described if is_group else _property(option, classes)
    return {
        "$schema": _DRAFT,
        "title": "driftbench: a file that changes several groups, such as an experiment",
        "type": "object",
        "properties": {**_HYDRA, **properties},
        "additionalProperties": False,
        "$defs": _definitions(classes),
    }


def _group(group: str, classes: Mapping[str, type]) -> Schema:
    record = GROUP_RECORDS.get(group)
    return _by_target(classes) if record is None else _object(record, classes)


def _by_target(classes: Mapping[str, type]) -> Schema:
    """Return the schema of a mapping with a ``_target_``: each class that is known has its own keys."""
    cases = [
        {"if": {"properties": {TARGET: {"const": name}}, "required": [TARGET]}, "then": {"$ref": f"#/$defs/{name}"}}
        for name in classes
    ]
    target = {
        "type": "string",
        **({"examples": list(classes)} if classes else {}),
        "description": "The class that is made of the other keys.",
    }
    return {"type": "object", "properties": {TARGET: target}} | ({"allOf": cases} if cases else {})


def _definitions(classes: Mapping[str, type]) -> Schema:
    return {name: _object(cls, classes, target=name) for name, cls in classes.items()}


def _object(cls: type, classes: Mapping[str, type], target: str | None = None) -> Schema:
    own: Schema = {} if target is None else {**_HYDRA, TARGET: {"const": target}}
    properties = {option.name: _property(option, classes) for option in options_of(cls)}
    return {
        "type": "object",
        "description": summary_of(cls),
        "properties": {**own, **properties},
        "additionalProperties": False,
    }


def _property(option: Option, classes: Mapping[str, type]) -> Schema:
    accepted = [_value(part, classes) for part in alternatives(option.hint)]
    if not any(part in (str, Any, object) for part in alternatives(option.hint)):
        accepted.append(_FILLED_IN)
    schema: Schema = {"description": option.meaning} if option.meaning else {}
    schema |= {"anyOf": accepted} if len(accepted) > 1 else accepted[0]
    if option.default is None or isinstance(option.default, bool | int | float | str):
        schema["default"] = option.default
    return schema


def _value(hint: Any, classes: Mapping[str, type]) -> Schema:
    if typing.get_origin(hint) is Annotated:
        limits = {_BOUNDS[n]: getattr(bound, n) for bound in bounds_of(hint) for n in _BOUNDS if hasattr(bound, n)}
        return {**_value(typing.get_args(hint)[0], classes), **limits}
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _any_of(arguments[0], classes)}
    if origin is tuple:
        items = [_any_of(argument, classes) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _any_of(arguments[1], classes)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [str(member) for member in hint]}
    if is_record(hint):
        known = [name for name, cls in classes.items() if cls is hint]
        return {"$ref": f"#/$defs/{known[0]}"} if known else _object(hint, classes)
    return {} if hint in (Any, object) else _by_target(classes)


def _any_of(hint: Any, classes: Mapping[str, type]) -> Schema:
    accepted = [_value(part, classes) for part in alternatives(hint)]
    return accepted[0] if len(accepted) == 1 else {"anyOf": accepted}
