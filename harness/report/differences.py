"""Which settings differ between cells, and which of them were swept as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.cells import Cell


def flatten(node: object, path: str = "") -> dict[str, object]:
    """Return dotted key → plain value of nested mappings and lists."""
    if isinstance(node, Mapping):
        children: list[tuple[str, Any]] = [(str(k), v) for k, v in node.items()]
    elif isinstance(node, list | tuple):
        children = [(str(k), v) for k, v in enumerate(node)]
    else:
        return {path: node}
    found: dict[str, object] = {}
    for key, value in children:
        found |= flatten(value, f"{path}.{key}" if path else key)
    return found


def differing_keys(cells: Sequence[Cell]) -> list[str]:
    """Return the configuration keys that tell cells apart, sorted.

    Where the classes of a group differ, its other keys count only if they differ between cells of one class.
    """
    flat = [flatten(cell.config) for cell in cells]
    kept = []
    for key in sorted(set().union(*flat)):
        values: dict[object, set[str]] = {}
        for settings in flat:
            if key in settings:
                values.setdefault(_class_of(key, settings), set()).add(repr(settings[key]))
        if any(len(found) > 1 for found in values.values()):
            kept.append(key)
    return kept


def curve_name(cell: Cell, keys: Sequence[str]) -> str:
    """Return the settings of a cell under these keys, as readers know them."""
    flat = flatten(cell.config)
    return ", ".join(_short(key, flat[key]) for key in keys if key in flat)


def swept_numbers(cells: Sequence[Cell]) -> dict[str, list[tuple[str, list[tuple[float, Cell]]]]]:
    """Return numeric key → its curves: (the other settings as text, [(value, cell), …] by value).

    A curve joins cells that differ in this key only; keys without a curve of two points are left out.
    """
    keys = differing_keys(cells)
    found: dict[str, list[tuple[str, list[tuple[float, Cell]]]]] = {}
    for key in keys:
        others = [k for k in keys if k != key]
        curves: dict[str, list[tuple[float, Cell]]] = {}
        for cell in cells:
            value = flatten(cell.config).get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                curves.setdefault(curve_name(cell, others), []).append((float(value), cell))
        long = [(name, sorted(curve, key=lambda point: point[0])) for name, curve in curves.items()]
        kept = [(name, curve) for name, curve in long if len({value for value, _ in curve}) > 1]
        if kept:
            found[key] = kept
    return found


def _class_of(key: str, settings: Mapping[str, object]) -> object:
    group = key.partition(".")[0]
    target = f"{group}._target_"
    return None if key == target else settings.get(target)


def _short(key: str, value: object) -> str:
    """Return the class without its module, another setting with its whole key."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')} {str(value).rpartition('.')[2]}"
    return f"{key}={value}"
