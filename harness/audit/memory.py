"""What code keeps between fits: data in globals, class attributes, closures, where no poisoned panel reaches it."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.audit.verdict import Finding
from harness.data.panel import Panel
from harness.samples import AsOfView, SampleTable

__all__ = ["kept_data"]

_LARGE = 256  # numbers; a table of constants in the source is smaller
_DEPTH = 4


def kept_data(part: object) -> tuple[Finding, ...]:
    """Return one finding per variable of `part`, or that its methods refer to, and that holds data.

    Data are arrays and frames of more than 256 numbers, panels, tables, views, and containers of them. Followed are the
    functions and classes of the same module that its methods mention, their closures and defaults.
    """
    seen: set[int] = set()
    found: dict[str, Finding] = {}
    own = ((f"self.{name}", value) for name, value in vars(part).items())
    for where, value in itertools.chain(own, _reachable(type(part), type(part).__module__, seen)):
        what = _data(value, _DEPTH)
        if what:
            found.setdefault(
                where,
                Finding(
                    "Data outlive a fit, where no other panel reaches them.",
                    f"{type(part).__module__}: {where}",
                    what,
                    "everything that is learned is in what `fit` returns",
                ),
            )
    return tuple(found.values())


def _reachable(owner: Any, module: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Yield every variable that a class or function of `module` can reach, by name."""
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, type):
        for name, value in list(vars(owner).items()):
            yield from _follow(f"{owner.__qualname__}.{name}", value, module, seen)
        for base in owner.__bases__:
            if base.__module__ == module:
                yield from _reachable(base, module, seen)
        return
    names = vars(sys.modules[module])
    cells = [cell.cell_contents for cell in owner.__closure__ or () if _is_filled(cell)]
    for name, value in zip(owner.__code__.co_freevars, cells, strict=False):
        yield from _follow(f"{owner.__qualname__} (closure) {name}", value, module, seen)
    for value in owner.__defaults__ or ():
        yield from _follow(f"{owner.__qualname__} (default)", value, module, seen)
    for name in _mentioned(owner.__code__):
        if name in names:
            yield from _follow(name, names[name], module, seen)


def _follow(name: str, value: Any, module: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__wrapped__", value)
    if isinstance(value, types.FunctionType | type):
        if value.__module__ == module:
            yield from _reachable(value, module, seen)
        return
    yield name, value


def _mentioned(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _mentioned(constant)
    return names


def _data(value: object, depth: int) -> str:
    """Return what data a value holds, in words; nothing when it holds none."""
    if isinstance(value, np.ndarray):
        return f"{value.size} numbers" if value.size > _LARGE else ""
    if isinstance(value, Panel | SampleTable | AsOfView):
        return f"a {type(value).__name__}"
    if type(value).__module__.partition(".")[0] in ("pandas", "pyarrow", "torch") and hasattr(value, "shape"):
        return f"a {type(value).__name__}" if int(np.prod(value.shape)) > _LARGE else ""
    if depth == 0:
        return ""
    items: list[object] = []
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        items = list(value)
    elif type(value).__module__ not in ("builtins", "typing") and hasattr(value, "__dict__"):
        items = list(vars(value).values()) if not isinstance(value, types.ModuleType) else []
    if len(items) > _LARGE and all(isinstance(item, int | float) for item in items):
        return f"{len(items)} numbers"
    return next((what for item in items if (what := _data(item, depth - 1))), "")


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
