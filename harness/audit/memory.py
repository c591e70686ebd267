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
_EXPECTED = "everything that is learned is in what `fit` returns"


def kept_data(part: object) -> tuple[Finding, ...]:
    """Return one finding per variable that holds data, of `part` or that its methods refer to.

    Data are arrays and frames of more than 256 numbers, panels, tables, views, and containers of them. Followed are the
    functions and classes of the same module that its methods mention, their closures and defaults.
    """
    found: dict[str, str] = {}
    for where, value in _variables(part):
        if what := _data(value, _DEPTH):
            found.setdefault(where, what)
    said = "Data outlive a fit, where no other panel reaches them."
    return tuple(Finding(said, where, what, _EXPECTED) for where, what in found.items())


def numbers_of(part: object) -> dict[str, str]:
    """Return variable → digest of its content, for each that `part` or its methods refer to and that holds numbers.

    However few they are: what code has learned elsewhere may be one number per window.
    """
    contents = ((where, _content(value, _DEPTH)) for where, value in _variables(part))
    return {where: hashlib.sha256(repr(held).encode()).hexdigest() for where, held in contents if _holds_floats(held)}


def changed_numbers(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return one finding per variable whose numbers are others than before the first fit."""
    said = "Numbers that a fit leaves behind outlive it, where no other panel reaches them."
    changed = [where for where, digest in after.items() if before.get(where) != digest]
    return tuple(Finding(said, where, "changed while it was fitted and predicted", _EXPECTED) for where in changed)


def _variables(part: object) -> Iterator[tuple[str, object]]:
    """Yield (module: variable, value) of everything that an object and the code of its class can reach."""
    module = type(part).__module__
    for name, value in attributes_of(part).items():
        yield f"{module}: self.{name}", value
    for name, value in _reachable(type(part).__qualname__, type(part), module, set()):
        yield f"{module}: {name}", value


def _reachable(name: str, value: Any, module: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Yield a variable, or for a function or class of `module` every variable that it can reach, by name."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__wrapped__", value)
    if not isinstance(value, types.FunctionType | type):
        yield name, value
    elif value.__module__ == module and id(value) not in seen:
        seen.add(id(value))
        for mentioned, held in _mentioned_by(value, module):
            yield from _reachable(mentioned, held, module, seen)


def _mentioned_by(owner: Any, module: str) -> Iterator[tuple[str, object]]:
    if isinstance(owner, type):
        yield from [(f"{owner.__qualname__}.{name}", value) for name, value in vars(owner).items()]
        yield from [(base.__qualname__, base) for base in owner.__bases__]
        return
    for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
        try:
            yield f"{owner.__qualname__} (closure) {name}", cell.cell_contents
        except ValueError:
            continue  # not filled yet
    for value in owner.__defaults__ or ():
        yield f"{owner.__qualname__} (default)", value
    names = vars(sys.modules[module])
    yield from [(name, names[name]) for name in _names_in(owner.__code__) if name in names]


def _names_in(code: types.CodeType) -> set[str]:
    inner = [_names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def _items(value: object) -> list[tuple[object, object]]:
    """Return (key or name, item) of what a container or an object holds."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return list(enumerate(value))
    if isinstance(value, types.ModuleType | type) or type(value).__module__ in ("builtins", "typing"):
        return []
    return sorted(getattr(value, "__dict__", {}).items())


def _content(value: object, depth: int) -> object:
    """Return what a value holds as text, numbers and tuples of them; nothing of what is no data."""
    if isinstance(value, np.ndarray):
        return ("array", value.shape, float(value.size), hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest())
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if depth == 0 or callable(value):
        return ()
    return tuple((_content(key, 1), _content(item, depth - 1)) for key, item in _items(value))


def _holds_floats(content: object) -> bool:
    return any(map(_holds_floats, content)) if isinstance(content, tuple) else isinstance(content, float | complex)


def _data(value: object, depth: int) -> str:
    """Return what data a value holds, in words; nothing when it holds none."""
    if isinstance(value, Panel | SampleTable | AsOfView):
        return f"a {type(value).__name__}"
    if isinstance(value, np.ndarray):
        return f"{value.size} numbers" if value.size > _LARGE else ""
    if type(value).__module__.partition(".")[0] in ("pandas", "pyarrow", "torch") and hasattr(value, "shape"):
        return f"a {type(value).__name__}" if int(np.prod(value.shape)) > _LARGE else ""
    items = [item for _, item in _items(value)] if depth else []
    if len(items) > _LARGE and all(isinstance(item, int | float) for item in items):
        return f"{len(items)} numbers"
    return next((what for item in items if (what := _data(item, depth - 1))), "")
