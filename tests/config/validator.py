"""The part of JSON Schema that the harness writes, so that a test can hold a document to a schema."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["mistakes"]

_TYPES: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
_KNOWN = {"$schema", "$defs", "$ref", "title", "description", "default", "examples", "type", "enum", "const", "pattern"}
_KNOWN |= {"anyOf", "allOf", "if", "then", "properties", "required", "additionalProperties"}
_BOUNDS: Mapping[str, Callable[[Any, Any], Any]] = {
    "minimum": operator.ge,
    "exclusiveMinimum": operator.gt,
    "maximum": operator.le,
    "exclusiveMaximum": operator.lt,
}
_KNOWN |= set(_BOUNDS)
_KNOWN |= {"items", "prefixItems", "minItems", "maxItems"}


def mistakes(document: object, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Yield where a document breaks a schema; a keyword that this does not know is a mistake of the schema."""
    assert set(schema) <= _KNOWN, f"{at}: {sorted(set(schema) - _KNOWN)}"
    assert all(schema.get(name) != [] for name in ("anyOf", "allOf", "enum")), f"{at}: an empty list is no schema"
    if "$ref" in schema:
        yield from mistakes(document, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "type" in schema and not _is(document, schema["type"]):
        yield f"{at}: not {schema['type']}"
        return
    for name in _BOUNDS.keys() & schema.keys():
        if not _BOUNDS[name](document, schema[name]):
            yield f"{at}: {document} breaks {name} {schema[name]}"
    if "enum" in schema and document not in schema["enum"]:
        yield f"{at}: none of {schema['enum']}"
    if "const" in schema and document != schema["const"]:
        yield f"{at}: not {schema['const']}"
    if "pattern" in schema and isinstance(document, str) and not re.search(schema["pattern"], document):
        yield f"{at}: not like {schema['pattern']}"
    if "anyOf" in schema and all(list(mistakes(document, s, root, at)) for s in schema["anyOf"]):
        yield f"{at}: nothing that is accepted"
    for case in schema.get("allOf", ()):
        if not list(mistakes(document, case["if"], root, at)):
            yield from mistakes(document, case["then"], root, at)
    if isinstance(document, dict):
        yield from _of_mapping(document, schema, root, at)
    if isinstance(document, list):
        yield from _of_list(document, schema, root, at)


def _is(document: object, name: str) -> bool:
    return isinstance(document, _TYPES[name]) and (name == "boolean" or not isinstance(document, bool))


def _of_mapping(document: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
    yield from (f"{at}: lacks {name}" for name in schema.get("required", ()) if name not in document)
    for name, value in document.items():
        if name in known:
            yield from mistakes(value, known[name], root, f"{at}.{name}")
        elif other is False:
            yield f"{at}: unknown key {name}"
        else:
            yield from mistakes(value, other, root, f"{at}.{name}")


def _of_list(document: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(document) <= schema.get("maxItems", len(document)):
        yield f"{at}: {len(document)} items"
    for number, value in enumerate(document):
        first = schema.get("prefixItems", ())
        own = first[number] if number < len(first) else schema.get("items", {})
        yield from mistakes(value, own, root, f"{at}[{number}]")
