"""Objects from plain data: a mapping whose ``_target_`` names a class becomes an instance, every field checked.

The class's own signature is the schema: an unknown key, a wrong type or a missing field is an error that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import re
import traceback
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Never

import pydantic

from harness.config.contracts import check_object, is_protocol, lacking_methods, members_of
from harness.errors import ConfigError, HarnessError, UnknownKeyError, closest, no_exit
from harness.errors.limits import limits_of, out_of_range
from harness.store.code_digest import note_code
from harness.store.records import TARGET, module_of

# Every float is finite, in anybody's class.
_CONFIG = pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
# What pydantic calls a number outside its limits.
_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")
_PLAIN = (bool, int, float, str, type(None))
_OURS = ("harness", "baselines")


def build(node: object, path: str = "", hint: Any = Any, owner: type | None = None) -> object:
    """Return `node` with every mapping that has a ``_target_`` replaced by an instance of the class it names.

    A class is imported, held to what its place takes, and only then made: `hint` is the type of that place, `owner` the
    class whose field it is; without an owner any class will do.

    Raises:
        ConfigError: Names the full key, the value, and what would be accepted.
    """
    if isinstance(node, Mapping):
        if TARGET in node:
            rest = {str(k): v for k, v in node.items() if k != TARGET}
            cls = locate(node[TARGET], join_key(path, TARGET))
            _admit(cls, hint, owner, join_key(path, TARGET))
            return build_record(cls, rest, path)
        record = record_of(hint)
        if record is not None:
            return build_record(record, {str(k): v for k, v in node.items()}, path)
        inner = _value_hint(hint)
        return {str(k): build(v, join_key(path, str(k)), inner, owner) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return tuple(build(v, f"{path}[{i}]", _item_hint(hint, i), owner) for i, v in enumerate(node))
    return node


def build_record(cls: type, given: Mapping[str, Any], path: str) -> object:
    """Return `cls(**given)` after checking every field against the class's signature and type hints.

    Raises:
        ConfigError: Names the full key (`path` and the field), the value, and what would be accepted.
    """
    parameters = {n: p for n, p in inspect.signature(cls).parameters.items() if p.kind not in (p.VAR_POSITIONAL,)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in given:
        if name not in parameters and not open_ended:
            raise UnknownKeyError(
                f"There is no configuration key `{join_key(path, name)}`.",
                where=join_key(path, name),
                got=given[name],
                expected=", ".join(parameters) or "no key at all",
                hint=closest(name, parameters),
            )
    missing = [
        n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and n not in given
    ]
    if missing:
        raise ConfigError(
            f"The configuration lacks `{join_key(path, missing[0])}`.",
            where=join_key(path, missing[0]),
            expected=", ".join(missing),
        )
    hints = hints_of(cls)
    values = {n: _typed(hints.get(n, Any), v, join_key(path, n), cls) for n, v in given.items()}
    try:
        with no_exit():
            made = cls(**values)
        return made
    except ConfigError as error:
        inner = "" if error.where is None else str(error.where)
        error.where = inner if path and inner.startswith(path) else join_key(path, inner.rpartition(".")[2])
        raise
    except HarnessError:
        raise
    except Exception as error:
        # Somebody's own class may refuse its values in any way; a bug in one of ours keeps its traceback.
        if _package(cls) in _OURS:
            raise
        raise ConfigError(
            f"`{cls.__module__}.{cls.__qualname__}` cannot be made of these values.",
            where=path or None,
            got=f"{type(error).__name__}: {error}",
            expected=", ".join(f"{n}: {_name_of(hints.get(n, Any))}" for n in parameters) or "no key at all",
        ) from error


def hints_of(cls: type) -> dict[str, Any]:
    """Return the types of a class's keys, with their limits."""
    owner: Any = cls if dataclasses.is_dataclass(cls) else inspect.getattr_static(cls, "__init__")
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError(
            f"The types of `{cls.__qualname__}` cannot be read.",
            where=f"{cls.__module__}.{cls.__qualname__}",
            got=str(error),
            expected="annotations whose names the module knows when it runs",
        ) from error


def _typed(hint: Any, value: object, path: str, owner: type) -> object:
    built = build(value, path, hint, owner)
    if _holds_objects(built):
        for protocol in (h for h in alternatives(hint) if is_protocol(h)):
            check_object(built, protocol, path)
        return built
    accepts_bool = bool in alternatives(hint) or hint in (Any, object)
    if isinstance(built, bool) and not accepts_bool:
        raise _wrong_type(path, built, _name_of(hint))
    try:
        return _adapter(hint).validate_python(built)
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        inner = "".join(f"[{p}]" if isinstance(p, int) else "" for p in detail["loc"])
        if detail["type"] in _RANGE:
            raise out_of_range(path + inner, detail["input"], hint) from error
        raise _wrong_type(path + inner, detail["input"], f"{_name_of(hint)} ({detail['msg']})") from error


def _adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(hint, config=_CONFIG)


def _admit(cls: type, hint: Any, owner: type | None, where: str) -> None:
    """Refuse a class that cannot be what its place takes, before anything of it is called.

    Where the place's type says nothing, records and classes of the owner's own package are taken: nobody else's
    constructor is called because a file names it.
    """
    kinds = alternatives(hint)
    got = f"{cls.__module__}.{cls.__qualname__}"
    if any(kind in (Any, object) for kind in kinds):
        if owner is None or dataclasses.is_dataclass(cls) or _package(cls) in (_package(owner), *_OURS):
            return
        raise ConfigError(
            f"`{got}` cannot stand here: the type of the key does not say that it takes one.",
            where=where,
            got=got,
            expected=f"a dataclass, or a class of the package `{_package(owner)}`",
            hint=f"give the key its type in {owner.__module__}.{owner.__qualname__}; docs/explanation/security.md",
        )
    protocols = [kind for kind in kinds if is_protocol(kind)]
    classes = [kind for kind in kinds if isinstance(kind, type) and not is_protocol(kind) and kind not in _PLAIN]
    lacking = [lacking_methods(cls, protocol) for protocol in protocols]
    if any(issubclass(cls, kind) for kind in classes) or any(not names for names in lacking):
        return
    names = [kind.__name__ for kind in (*protocols, *classes)]
    raise ConfigError(
        f"`{got}` is not a {' or '.join(names)}" + (f": it lacks {', '.join(lacking[0])}." if lacking else ".")
        if names
        else f"No object can stand here: `{got}` is not made.",
        where=where,
        got=got,
        expected=f"a class with {', '.join(members_of(protocols[0]))}" if protocols else _name_of(hint),
        hint=_near_member(cls, lacking[0]) if lacking else None,
    )


def _near_member(cls: type, lacking: list[str]) -> str | None:
    own = [name for name in dir(cls) if not name.startswith("_")]
    near = [(name, difflib.get_close_matches(name, own, n=1, cutoff=0.8)) for name in lacking]
    return next((f"`{found[0]}` is there: did you mean `{name}`?" for name, found in near if found), None)


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _wrong_type(path: str, value: object, expected: str) -> ConfigError:
    quoted = re.search(r"\bstr\b", expected) and isinstance(value, bool | int | float)
    return ConfigError(
        f"`{path}` has a value of the wrong kind.",
        where=path,
        got=repr(value),
        expected=expected,
        hint=f"if it is text, quote what YAML reads as a number or a truth value: {path}=\"'1e5'\"" if quoted else None,
    )


def _holds_objects(value: object) -> bool:
    if isinstance(value, tuple):
        return any(_holds_objects(v) for v in value)
    if isinstance(value, Mapping):
        return any(_holds_objects(v) for v in value.values())
    return not (value is None or isinstance(value, bool | int | float | str))


def record_of(hint: Any) -> type | None:
    """Return the dataclass that a mapping without a ``_target_`` makes for a type; None where there is not just one."""
    records = [h for h in alternatives(hint) if isinstance(h, type) and dataclasses.is_dataclass(h)]
    return records[0] if len(records) == 1 else None


def _value_hint(hint: Any) -> Any:
    """Return the type of a mapping's values."""
    return _inner(hint, Mapping, -1, 0)


def _item_hint(hint: Any, at: int) -> Any:
    """Return the type of a list's item."""
    return _inner(hint, Sequence, 0, at)


def _inner(hint: Any, kind: type, position: int, at: int) -> Any:
    if any(part in (Any, object) for part in alternatives(hint)):
        return Any
    for part in alternatives(hint):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if isinstance(origin, type) and issubclass(origin, kind) and arguments:
            is_row = origin is tuple and Ellipsis not in arguments
            return arguments[min(at, len(arguments) - 1)] if is_row else arguments[0 if origin is tuple else position]
        if isinstance(part, type) and issubclass(part, kind) and part is not str:
            return Any
    return Never


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, any other type alone; without limits, which `Annotated` adds."""
    if typing.get_origin(hint) is Annotated:
        return alternatives(typing.get_args(hint)[0])
    is_union = typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"
    return tuple(part for member in typing.get_args(hint) for part in alternatives(member)) if is_union else (hint,)


def _name_of(hint: Any) -> str:
    if typing.get_origin(hint) is Annotated:
        return " ".join(filter(None, (_name_of(typing.get_args(hint)[0]), limits_of(hint))))
    if typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType":
        return " | ".join(_name_of(member) for member in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(str(member) for member in hint)
    if typing.get_origin(hint) is Literal:
        return " | ".join(str(a) for a in typing.get_args(hint))
    if hint is type(None):
        return "null"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def join_key(path: str, name: str) -> str:
    """Return the dotted key of `name` inside `path`."""
    return f"{path}.{name}" if path and name else path or name


def locate(target: object, where: str) -> type:
    """Return the class that a ``_target_`` names; a mistake is an error that names `where` it stands."""
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(
            "A `_target_` must be the dotted name of a class.",
            where=where,
            got=target,
            expected="module.Class, such as baselines.models.linear.Linear",
        )
    module_name, name = module_of(target), target.rpartition(".")[2]
    note_code(module_name)  # before it is loaded, so that an edit in between is noticed
    try:
        with no_exit():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise ConfigError(
                f"`{module_name}` needs the library `{error.name}`, which is not installed.",
                where=where,
                got=target,
                hint=f"pip install {error.name}",
            ) from error
        raise ConfigError(
            "The module of a `_target_` cannot be found.",
            where=where,
            got=target,
            expected="a module that Python can import",
            hint="your own file must be importable: PYTHONPATH=FOLDER bench …",
        ) from error
    except Exception as error:
        # Somebody's own file may raise anything while it is read; where it did so is what its author needs.
        line = traceback.extract_tb(error.__traceback__)[-1]
        at = getattr(error, "lineno", None) or line.lineno
        raise ConfigError(
            f"The module `{module_name}` cannot be imported.",
            where=where,
            got=f"{type(error).__name__}: {error} ({getattr(error, 'filename', None) or line.filename}, line {at})",
            expected="a file that Python can import",
            hint=f"python -c 'import {module_name}' shows the whole traceback",
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and not n.startswith("_")]
        raise ConfigError(
            f"`{module_name}` has no class `{name}`.",
            where=where,
            got=target,
            expected=", ".join(names) or None,
            hint=closest(name, names),
        )
    return found
