"""Nested plain data as dotted paths and leaves: how two records are laid beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.snapshots.compare.verdicts import ABSENT, IdentityDifference

_KEYS = ("window", "year", "name")
_SHOWN = 5
_IRRELEVANT = ("cpus",)


def metric_leaves(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return path → value of every leaf of a snapshot's metrics.

    A record in a list is addressed by its ``window``, ``year`` or ``name`` where these tell all of them apart, so that
    one window more does not shift the others; by its position otherwise. That key itself is no leaf. Notes are text for
    people, about numbers that are leaves themselves.
    """
    return dict(_walk({name: value for name, value in metrics.items() if name != "notes"}, ""))


def differences(baseline: object, candidate: object, path: str = "") -> tuple[IdentityDifference, ...]:
    """Return every key in which two pieces of plain data differ, as dotted paths, in order.

    Lists of equal length are compared entry by entry. Of two lists of scalars only what the other lacks is kept; of
    other lists of different length the lengths.
    """
    return tuple(_differences(baseline, candidate, path))


def environment(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a provenance decides the bits of a result: code, Python, libraries, machine.

    How many processors and threads there are is left out: no number may depend on them. A part that is not recorded is
    absent, and so is a platform whose processor is unknown, so that a provenance without any of them is like no other.
    """
    found: dict[str, Any] = {}
    code = provenance.get("code")
    if isinstance(code, Mapping) and code.get("digest") is not None:
        found["code"] = {"digest": code["digest"]}
    for name in ("python", "packages"):
        if name in provenance:
            found[name] = provenance[name]
    machine = provenance.get("platform")
    if isinstance(machine, Mapping) and machine.get("processor") is not None:
        found["platform"] = {k: v for k, v in machine.items() if k not in _IRRELEVANT}
    return found


def _walk(node: object, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key in sorted(node):
            yield from _walk(node[key], _join(path, str(key)))
    elif isinstance(node, list | tuple):
        key = _own_key(node)
        for index, entry in enumerate(node):
            rest = entry if key is None else {k: v for k, v in entry.items() if k != key}
            yield from _walk(rest, _join(path, str(index if key is None else entry[key])))
    else:
        yield path, node


def _own_key(entries: Sequence[object]) -> str | None:
    """Return the key that tells the records of a list apart, if there is one."""
    records = [entry for entry in entries if isinstance(entry, Mapping)]
    for key in _KEYS:
        names = {str(record[key]) for record in records if key in record}
        if records and len(names) == len(entries):
            return key
    return None


def _differences(a: object, b: object, path: str) -> Iterator[IdentityDifference]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(a.keys() | b.keys(), key=str):
            yield from _differences(a.get(key, ABSENT), b.get(key, ABSENT), _join(path, str(key)))
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        yield from _list_differences(a, b, path)
    elif type(a) is not type(b) or a != b:
        yield IdentityDifference(path, a, b)


def _list_differences(a: Sequence[object], b: Sequence[object], path: str) -> Iterator[IdentityDifference]:
    if len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, _join(path, str(index)))
    elif any(isinstance(x, Mapping | list | tuple) for x in (*a, *b)):
        yield IdentityDifference(path, f"{len(a)} entries", f"{len(b)} entries")
    else:
        yield IdentityDifference(path, _only(a, b), _only(b, a))


def _only(own: Sequence[object], other: Sequence[object]) -> str:
    extra = [str(x) for x in own if x not in other]
    shown = ", ".join(extra[:_SHOWN]) + (f" … ({len(extra)})" if len(extra) > _SHOWN else "")
    return f"{len(own)} entries" + (f", only here: {shown}" if extra else "")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
