"""Records as files: what is plain in one JSON, every array in an ``.npy`` beside it; nothing that could run code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from pydantic import ConfigDict, TypeAdapter

_ARRAY = "npy"  # the key that stands for an array in the JSON
Value = TypeVar("Value")


def save(folder: Path, value: object, name: str = "record") -> None:
    """Write a value into an existing folder: ``NAME.json``, and ``NAME-0.npy`` … for the arrays in it.

    It may nest frozen dataclasses, tuples, mappings of texts, plain values, datetimes and NumPy arrays at will.
    """
    count = 0

    def encode(part: object) -> object:
        nonlocal count
        if not isinstance(part, np.ndarray):
            return plain(part)
        file, count = f"{name}-{count}.npy", count + 1
        np.save(folder / file, part, allow_pickle=False)
        return {_ARRAY: file}

    text = json.dumps(value, default=encode, ensure_ascii=False, indent=1)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def load(folder: Path, kind: type[Value], name: str = "record", *, mapped: bool = True) -> Value:
    """Read what `save` wrote; the hints of `kind` say what the JSON becomes, `mapped` arrays stay on disk, read-only.

    Raises:
        OSError: When a file is missing.
        ValueError: When the JSON is not of this type.
    """

    def decode(node: dict[str, Any]) -> Any:
        if node.keys() != {_ARRAY}:
            return node
        return np.load(folder / node[_ARRAY], mmap_mode="r" if mapped else None, allow_pickle=False)

    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    return from_plain(kind, json.loads(text, object_hook=decode))


def from_plain(kind: type[Value], node: object) -> Value:
    """Return the value of type `kind` that `plain`, and JSON after it, took apart.

    Raises:
        ValueError: When it is not of this type.
    """
    return cast("Value", _adapter(cast("Any", kind)).validate_python([node])[0])


def plain(part: object) -> object:
    """Return what JSON has no word for as what it has one for; the ``default`` of `json.dumps`.

    Raises:
        TypeError: For anything but a record, a mapping, a NumPy number or array, a date, a path or a set.
    """
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return {field.name: getattr(part, field.name) for field in dataclasses.fields(part) if field.init}
    if isinstance(part, Mapping):
        return dict(part)
    if isinstance(part, np.ndarray | np.generic):
        return part.tolist()
    if isinstance(part, set | frozenset):
        return sorted(part)
    if isinstance(part, Path):
        return part.as_posix()
    if hasattr(part, "isoformat"):
        return part.isoformat()
    raise TypeError(f"{type(part).__name__} has no place in a file")


@lru_cache(maxsize=128)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # A list of them, as pydantic takes a configuration for what has none itself only; it holds inside all the same.
    return TypeAdapter(list[kind], config=ConfigDict(arbitrary_types_allowed=True))
