"""What code keeps between fits: data in globals, class attributes, closures, where no poisoned panel reaches it."""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.audit.verdict import Finding
from harness.data.panel import Panel
from harness.samples.table import AsOfView, SampleTable
from harness.store.records import attributes_of

_LARGE = 256  # numbers; a table of constants in the source is smaller
_DEPTH = 4


def kept_data(part: object) -> tuple[Finding, ...]:
    """Return one finding per variable of `part`, or that its methods refer to, and that holds data.

    Data are arrays and frames of more than 256 numbers, panels, tables, views, and containers of them. Followed are the
    functions and classes of the same module that its methods mention, their closures and defaults.
    """
    found: dict[str, Finding] = {}
    for where, value in _variables(part):
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


def numbers_of(part: object) -> dict[str, str]:
    """Return variable → digest of its content, for each that `part` or its methods refer to and that holds numbers.

    However few they are: what code has learned elsewhere may be one number per window.
    """
    return {
        f"{type(part).__module__}: {where}": hashlib.sha256(repr(content).encode()).hexdigest()
        for where, value in _variables(part)
        if _holds_floats(content := _content(value, _DEPTH))
    }


def changed_numbers(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return one finding per variable whose numbers are others than before the first fit."""
    return tuple(
        Finding(
            "Numbers that a fit leaves behind outlive it, where no other panel reaches them.",
            where,
            "changed while it was fitted and predicted",
            "everything that is learned is in what `fit` returns",
        )
        for where, digest in after.items()
        if before.get(where) != digest
    )


def _variables(part: object) -> Iterator[tuple[str, object]]:
    yield from ((f"self.{name}", value) for name, value in attributes_of(part).items())
    yield from _reachable(type(part), type(part).__module__, set())


def _content(value: object, depth: int) -> object:
    """Return what a value holds as text, numbers and tuples of them; nothing of what is no data."""
    if isinstance(value, np.ndarray):
        return ("array", value.shape, float(value.size), hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest())
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if depth == 0:
        return ()
    if isinstance(value, Mapping):
        return tuple((_content(key, 1), _content(item, depth - 1)) for key, item in list(value.items()))
    if isinstance(value, list | tuple):
        return tuple(_content(item, depth - 1) for item in value)
    if isinstance(value, types.ModuleType | type) or callable(value):
        return ()
    return tuple((name, _content(item, depth - 1)) for name, item in sorted(getattr(value, "__dict__", {}).items()))


def _holds_floats(content: object) -> bool:
    if isinstance(content, tuple):
        return any(_holds_floats(item) for item in content)
    return isinstance(content, float | complex)


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
