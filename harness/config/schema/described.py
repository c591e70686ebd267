"""A composed configuration, key by key: its value, what it accepts, what it means."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import ExperimentConfig
from harness.config.instantiate import join_key, locate
from harness.config.schema.groups import GROUP_RECORDS, classes_of_group, is_global, read_yaml
from harness.config.schema.options import Option, alternatives, is_record, options_of
from harness.store.records import TARGET

_ROOT_ONLY = ("choices", "command", "composed")


@dataclass(frozen=True)
class DescribedKey:
    """One key of a configuration.

    Attributes
    ----------
    key
        Dotted, from the root.
    value
        What it is; of an object its class, or nothing where there is one class only.
    accepts
        What it may be, in words of YAML.
    meaning
        What it does; empty when its class does not say.
    """

    key: str
    value: object
    accepts: str
    meaning: str


def describe_keys(tree: Mapping[str, Any], prefix: str = "") -> tuple[DescribedKey, ...]:
    """Return every key of a composed tree (references resolved) that is `prefix` or lies below it, in its order.

    Raises
    ------
    ConfigError
        When a ``_target_`` names no class.
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
