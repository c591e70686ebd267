"""Types of configuration values: their limits, which pydantic checks wherever an object is made, and their words.

``Annotated[int, Ge(1), Le(16)]`` is a type; the names below are those that occur often. Every float is finite.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

import pydantic
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

# What pydantic calls a number outside its limits.
_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")
_SIGNS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
_WORDS: Mapping[Any, str] = {
    **{int: "whole number", float: "number", str: "text", bool: "true | false", type(None): "null"},
    **{Any: "anything", object: "anything"},
}
_ROOM = 60  # characters for which the keys of a mapping are listed


def check_limits(record: Any, where: str) -> None:
    """Raise a ConfigError for a number outside the limits of its field's type, or one that is not finite.

    Called in the ``__post_init__`` of a dataclass, whose key is `where`.
    """
    for name, hint in _hints(type(record)).items():  # type: ignore[arg-type]
        value = getattr(record, name)
        if _is_numbers(value):
            try:
                adapter(hint).validate_python(value)
            except pydantic.ValidationError as error:
                if error.errors()[0]["type"] in _RANGE:
                    raise refusal(error, hint, f"{where}.{name}") from error


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def _is_numbers(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


@cache
def adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    """Return what checks a value against a type; floats must be finite, in anybody's class."""
    return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))


def refusal(error: pydantic.ValidationError, hint: Any, where: str) -> ConfigError:
    """Return what pydantic says of the value at the key `where` as an error of ours."""
    detail = error.errors()[0]
    key = where + "".join(f"[{part}]" for part in detail["loc"] if isinstance(part, int))
    value, expected = detail["input"], f"{accepts(hint)} ({detail['msg']})"
    if detail["type"] in _RANGE:
        name = key.rpartition(".")[2]
        return ConfigError(f"`{name}` is out of range.", where=key, got=value, expected=expected)
    return wrong_kind(key, value, expected)


def wrong_kind(where: str, value: object, expected: str) -> ConfigError:
    """Return the error for a value of another type than the key `where` takes."""
    may_be_text = "text" in expected and isinstance(value, bool | int | float)
    hint = f"if it is text, quote what YAML reads as a number or a truth value: {where}=\"'1e5'\""
    what, hint_or_none = f"`{where}` has a value of the wrong kind.", hint if may_be_text else None
    return ConfigError(what, where=where, got=repr(value), expected=expected, hint=hint_or_none)


def accepts(hint: Any) -> str:
    """Return a type in words of YAML, such as ``number ≥ 0, or null`` or ``ols | ridge``."""
    return ", or ".join(dict.fromkeys(map(_one, alternatives(hint))))


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, with their limits; any other type alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def kinds(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or any other type alone, without their limits."""
    if typing.get_origin(hint) is Annotated:
        return kinds(typing.get_args(hint)[0])
    members = alternatives(hint)
    return tuple(kind for member in members for kind in kinds(member)) if len(members) > 1 else members


def is_record(hint: Any) -> bool:
    """Return whether a mapping without a ``_target_`` makes an object of this type."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and not issubclass(hint, Enum)


def _one(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        signs = ((*_SIGNS[type(bound)], bound) for bound in arguments[1:] if type(bound) in _SIGNS)
        limits = " and ".join(f"{sign} {getattr(bound, name)}" for name, sign, bound in signs)
        return f"{_one(arguments[0])} {limits}".rstrip()
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return f"list of {accepts(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(accepts, arguments))}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of name: {accepts(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(map(str, hint))
    if is_record(hint):
        keys = ", ".join(f.name for f in dataclasses.fields(hint) if f.init)
        return f"{{{keys}}}" if len(keys) <= _ROOM else "mapping"
    return f"object ({getattr(hint, '__name__', hint)})"


Traits = TypeVar("Traits")


def traits_of(value: object, kind: type[Traits], where: str = "model") -> Traits:
    """Return what an object says of itself beyond its protocol, with the defaults of `kind` for what it leaves out."""
    found: dict[str, Any] = {}
    for name, hint in _hints(typing.cast("Any", kind)).items():
        if not hasattr(value, name):
            continue
        said = getattr(value, name)
        strict = typing.get_origin(hint) is not tuple  # a list does for a tuple, a word does not do for a number
        try:
            found[name] = adapter(hint).validate_python(said, strict=strict)
        except pydantic.ValidationError as error:
            owner, expected = type(value), f"{accepts(hint)} ({error.errors()[0]['msg']})"
            what = f"`{name}` of {owner.__module__}.{owner.__qualname__} has a value of the wrong kind."
            raise ConfigError(what, where=f"{where}.{name}", got=repr(said), expected=expected) from error
    return kind(**found)
