"""Limits of numbers as part of their types: checked where an object is made, shown by schema and reference.

``Annotated[int, Ge(1), Le(16)]`` is a type; the names below are those that occur often. Every float is finite.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import typing
from collections.abc import Hashable
from functools import lru_cache
from typing import Annotated, Any, cast

from annotated_types import Ge, Gt, Le, Lt

from harness.errors import ConfigError

# Upper limits are beyond what anybody needs and below what a library or the memory takes.
Count = Annotated[int, Ge(1), Le(1_000_000)]
Natural = Annotated[int, Ge(0), Le(1_000_000)]
Seed = Annotated[int, Ge(0), Lt(2**31)]
Threads = Annotated[int, Ge(1), Le(1024)]
Share = Annotated[float, Gt(0), Le(1)]
Fraction = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0), Le(1e12)]
NonNegative = Annotated[float, Ge(0), Le(1e12)]

_SIGNS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
_HOLDS = {Ge: operator.ge, Gt: operator.gt, Le: operator.le, Lt: operator.lt}


def check_limits(record: Any, where: str) -> None:
    """Refuse a number outside the limits of its field's type, or one that is not finite.

    Args:
        record: A dataclass instance, in its ``__post_init__``.
        where: The key of the record.

    Raises:
        ConfigError: Names the field, the value and the range.
    """
    for name, hint in _hints(cast(Hashable, type(record))).items():
        value = getattr(record, name)
        if not _fits(hint, value):
            raise out_of_range(f"{where}.{name}", value, hint)


def out_of_range(where: str, value: object, hint: Any) -> ConfigError:
    """Return the error for a number outside the range of its type."""
    name = where.rpartition(".")[2]
    return ConfigError(f"`{name}` is out of range.", where=where, got=value, expected=_words(hint))


def limits_of(hint: Any) -> str:
    """Return the limits of a type in words, such as ``≥ 1 and ≤ 16``; an empty text where it has none."""
    signs = ((*_SIGNS[type(bound)], bound) for bound in bounds_of(hint))
    return " and ".join(f"{sign} {getattr(bound, name)}" for name, sign, bound in signs)


def bounds_of(hint: Any) -> tuple[Any, ...]:
    """Return the bounds that `Annotated` adds to a type."""
    arguments = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    return tuple(bound for bound in arguments if type(bound) in _SIGNS)


@lru_cache(maxsize=256)
def _hints(cls: Hashable) -> dict[str, Any]:
    hints = typing.get_type_hints(cast(Any, cls), include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cast(Any, cls)) if f.init}


def _fits(hint: Any, value: object) -> bool:
    if isinstance(value, tuple):
        arguments = typing.get_args(hint)
        inner = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        return all(map(_fits, inner, value))
    members = _members(hint)
    if isinstance(value, bool) or not isinstance(value, int | float) or not members:
        return True
    is_finite = isinstance(value, int) or math.isfinite(value)
    return is_finite and any(_holds(member, value) for member in members)


def _holds(hint: Any, value: float) -> bool:
    return all(_HOLDS[type(b)](value, getattr(b, _SIGNS[type(b)][0])) for b in bounds_of(hint))


def _members(hint: Any) -> list[Any]:
    """Return what of a type takes numbers."""
    if typing.get_origin(hint) is Annotated:
        return [hint] if typing.get_args(hint)[0] in (int, float) else []
    if hint in (int, float):
        return [hint]
    is_union = typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"
    return [part for member in typing.get_args(hint) for part in _members(member)] if is_union else []


def _words(hint: Any) -> str:
    """Return what a type takes, in words."""
    if typing.get_origin(hint) is tuple:
        return f"a list of: {_words(typing.get_args(hint)[0])}"
    found = []
    for member in _members(hint):
        plain = typing.get_args(member)[0] if typing.get_origin(member) is Annotated else member
        kind = "a whole number" if plain is int else "a finite number"
        found.append(f"{kind} {limits_of(member)}".rstrip())
    takes_null = type(None) in typing.get_args(hint)
    return ", or ".join([*found, *(["null"] if takes_null else [])])
