"""Objects from plain data: a mapping whose ``_target_`` names a class becomes an instance, every field checked.

The class's own signature is the schema: an unknown key, a wrong type or a missing field is an error that names the key.
What it must offer, may offer, and seems to have meant is told before it is used.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import traceback
import typing
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Never

import pydantic
from typing_extensions import get_protocol_members

from harness.errors import ConfigError, HarnessError, UnknownKeyError, closest, no_exit
from harness.errors.limits import accepts, adapter, is_record, kinds, refusal, traits_of, wrong_kind
from harness.evaluation.metrics import Metric, MetricTraits
from harness.samples.interfaces import EXTENSIONS
from harness.samples.interfaces import TRAITS as _TRAITS
from harness.store.code_digest import note_code
from harness.store.records import OURS, TARGET, join_key, module_of, public_siblings, targets_in

# Protocol → what an object of it may say of itself beyond it.
TRAITS: Mapping[type, type] = {**_TRAITS, Metric: MetricTraits}
# How alike two names are, from 0 to 1, when one is taken for a misspelling of the other.
_NEAR = 0.85
# What earlier versions called a member.
_FORMER = {"batches": "waves", "leaky_variants": "leaky_twins", "fit_records": "artefacts"}
_PLAIN = (bool, int, float, str, type(None))


def build(node: object, path: str = "", hint: Any = Any, owner: type | None = None) -> object:
    """Return plain data as the type `hint` has it, a mapping with a ``_target_`` as an object of that class.

    A class is imported, held to what its place takes, and only then made: `owner` is the class whose field it is;
    without one any class will do.
    """
    if isinstance(node, Mapping):
        given = {str(k): v for k, v in node.items() if k != TARGET}
        cls = record_of(hint, given)
        if TARGET in node:
            cls = locate(node[TARGET], join_key(path, TARGET))
            _admit(cls, hint, owner, join_key(path, TARGET))
        if cls is not None:
            made = build_record(cls, given, path)
            for protocol in filter(is_protocol, kinds(hint)):
                check_object(made, protocol, path)
            return made
        inner = _inner(hint, Mapping)
        if _takes_objects(inner) or _names_objects(node):
            return {k: build(v, join_key(path, k), inner, owner) for k, v in given.items()}
    elif isinstance(node, list | tuple):
        places = [(f"{path}[{i}]", _inner(hint, Sequence, i)) for i in range(len(node))]
        if _names_objects(node) or any(_takes_objects(inner) for _, inner in places):
            return tuple(build(v, key, inner, owner) for v, (key, inner) in zip(node, places, strict=True))
    is_misplaced = isinstance(node, bool) and bool not in kinds(hint) and hint not in (Any, object)
    if is_misplaced or all(map(_is_object, kinds(hint))):
        raise wrong_kind(path, node, accepts(hint))
    try:
        return adapter(hint).validate_python(_plain(node))
    except pydantic.ValidationError as error:
        raise refusal(error, hint, path) from error


def build_record(cls: type, given: Mapping[str, Any], path: str) -> object:
    """Return `cls(**given)` after checking every field against the class's signature and type hints."""
    parameters = keys_of(cls)
    is_open = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
    for name in () if is_open else given:
        if name not in parameters:
            key, known = join_key(path, name), ", ".join(parameters) or "no key at all"
            what, hint = f"There is no configuration key `{key}`.", closest(name, parameters)
            raise UnknownKeyError(what, where=key, got=given[name], expected=known, hint=hint)
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in given]
    if missing:
        key = join_key(path, missing[0])
        raise ConfigError(f"The configuration lacks `{key}`.", where=key, expected=", ".join(missing))
    hints = hints_of(cls)
    values = {n: build(value, join_key(path, n), hints.get(n, Any), cls) for n, value in given.items()}
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
        if _package(cls) in OURS:
            raise
        what = f"`{cls.__module__}.{cls.__qualname__}` cannot be made of these values."
        got = f"{type(error).__name__}: {error}"
        expected = ", ".join(f"{n}: {accepts(hints.get(n, Any))}" for n in parameters) or "no key at all"
        raise ConfigError(what, where=path or None, got=got, expected=expected) from error


def keys_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the keys that a class names in its signature."""
    parameters = inspect.signature(cls).parameters
    return {n: p for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


@cache
def hints_of(cls: type) -> Mapping[str, Any]:
    """Return the types of a class's keys, with their limits."""
    owner: Any = cls if dataclasses.is_dataclass(cls) else inspect.getattr_static(cls, "__init__")
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except (NameError, TypeError) as error:
        what, where = f"The types of `{cls.__qualname__}` cannot be read.", f"{cls.__module__}.{cls.__qualname__}"
        expected = "annotations whose names the module knows when it runs"
        raise ConfigError(what, where=where, got=str(error), expected=expected) from error


def _admit(cls: type, hint: Any, owner: type | None, where: str) -> None:
    """Refuse a class that cannot be what its place takes, before anything of it is called.

    Where the place's type says nothing, records and classes of the owner's own package are taken: nobody else's
    constructor is called because a file names it.
    """
    got = f"{cls.__module__}.{cls.__qualname__}"
    if any(kind in (Any, object) for kind in kinds(hint)):
        if owner is None or dataclasses.is_dataclass(cls) or _package(cls) in (_package(owner), *OURS):
            return
        what = f"`{got}` cannot stand here: the type of the key does not say that it takes one."
        expected = f"a dataclass, or a class of the package `{_package(owner)}`"
        hint = f"give the key its type in {owner.__module__}.{owner.__qualname__}; docs/explanation/security.md"
        raise ConfigError(what, where=where, got=got, expected=expected, hint=hint)
    protocols = [kind for kind in kinds(hint) if is_protocol(kind)]
    classes = [kind for kind in kinds(hint) if isinstance(kind, type) and not is_protocol(kind) and kind not in _PLAIN]
    lacking = [lacking_methods(cls, protocol) for protocol in protocols]
    if any(issubclass(cls, kind) for kind in classes) or any(not names for names in lacking):
        return
    names = " or ".join(kind.__name__ for kind in (*protocols, *classes))
    what = f"`{got}` is not a {names}" if names else f"No object can stand here: `{got}` is not made"
    what += f": it lacks {', '.join(lacking[0])}." if lacking else "."
    expected = f"a class with {', '.join(members_of(protocols[0]))}" if protocols else accepts(hint)
    meant = meant_hint(cls, lacking[0]) if lacking else None
    raise ConfigError(what, where=where, got=got, expected=expected, hint=meant)


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _takes_objects(hint: Any) -> bool:
    return any(_is_object(kind) or any(map(_takes_objects, typing.get_args(kind))) for kind in kinds(hint))


def _is_object(kind: Any) -> bool:
    return is_record(kind) or is_protocol(kind)


def _names_objects(node: object) -> bool:
    return any(True for _ in targets_in(node))


def _plain(node: object) -> object:
    """Return plain data with lists as tuples, and texts as the names in mappings."""
    if isinstance(node, Mapping):
        return {str(k): _plain(v) for k, v in node.items()}
    return tuple(map(_plain, node)) if isinstance(node, list | tuple) else node


def record_of(hint: Any, keys: Container[str] = ()) -> type | None:
    """Return the dataclass that a mapping without a ``_target_`` makes: the only one, or one with some of `keys`."""
    records = [kind for kind in kinds(hint) if is_record(kind)]
    fitting = [kind for kind in records if len(records) == 1 or any(f.name in keys for f in dataclasses.fields(kind))]
    return fitting[0] if fitting else None


def _inner(hint: Any, kind: type, at: int = 0) -> Any:
    """Return the type of a mapping's values, or of a list's item at a position."""
    for part in kinds(hint):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if isinstance(origin, type) and issubclass(origin, kind) and arguments:
            is_row = origin is tuple and Ellipsis not in arguments
            return arguments[min(at, len(arguments) - 1)] if is_row else arguments[-1 if kind is Mapping else 0]
        if part in (Any, object) or (isinstance(part, type) and issubclass(part, kind) and part is not str):
            return Any
    return Never


def locate(target: object, where: str) -> type:
    """Return the class that a ``_target_`` names; a mistake is an error that names `where` it stands."""
    if not isinstance(target, str) or "." not in target:
        what = "A `_target_` must be the dotted name of a class."
        expected = "module.Class, such as baselines.models.linear.Linear"
        raise ConfigError(what, where=where, got=target, expected=expected)
    module_name, name = module_of(target), target.rpartition(".")[2]
    note_code(module_name)  # before it is loaded, so that an edit in between is noticed
    try:
        with no_exit():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            what = f"`{module_name}` needs the library `{error.name}`, which is not installed."
            raise ConfigError(what, where=where, got=target, hint=f"pip install {error.name}") from error
        if siblings := public_siblings(target):
            raise _no_class(target, siblings, where) from error
        what, known = "The module of a `_target_` cannot be found.", "a module that Python can import"
        hint = "your own file must be importable: PYTHONPATH=FOLDER bench …, or `modules` of a bench.toml"
        raise ConfigError(what, where=where, got=target, expected=known, hint=hint) from error
    except Exception as error:
        # Somebody's own file may raise anything while it is read; where it did so is what its author needs.
        line = traceback.extract_tb(error.__traceback__)[-1]
        at = getattr(error, "lineno", None) or line.lineno
        place = f"{getattr(error, 'filename', None) or line.filename}, line {at}"
        what, got = f"The module `{module_name}` cannot be imported.", f"{type(error).__name__}: {error} ({place})"
        hint = f"python -c 'import {module_name}' shows the whole traceback"
        raise ConfigError(what, where=where, got=got, expected="a file that Python can import", hint=hint) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and not n.startswith("_")]
        raise _no_class(target, names or public_siblings(target), where)
    return found


def _no_class(target: str, names: list[str], where: str) -> ConfigError:
    module, _, name = target.rpartition(".")
    what, known = f"`{module}` has no class `{name}`.", ", ".join(names) or None
    return ConfigError(what, where=where, got=target, expected=known, hint=closest(name, names))


def is_protocol(hint: object) -> bool:
    """Return whether a type hint is a protocol."""
    return isinstance(hint, type) and bool(getattr(hint, "_is_protocol", False))


def members_of(protocol: type) -> list[str]:
    """Return the names that an object must have, sorted."""
    return sorted(get_protocol_members(protocol))


def lacking_methods(cls: type, protocol: type) -> list[str]:
    """Return the methods of a protocol that a class does not define; what is no method may be set when it is made."""
    methods = [name for name in members_of(protocol) if inspect.isfunction(inspect.getattr_static(protocol, name))]
    return [name for name in methods if not callable(getattr(cls, name, None))]


def check_object(value: object, protocol: type, where: str) -> None:
    """Refuse an object that is not what a protocol asks for, or has a name that is nearly one that would be read."""
    required, extensions = members_of(protocol), EXTENSIONS.get(protocol, ())
    optional = [f.name for f in dataclasses.fields(TRAITS[protocol])] if protocol in TRAITS else []
    optional += sorted({name for more in extensions for name in members_of(more)})
    names = (*required, *optional)
    lacking = [name for name in required if not hasattr(value, name)]
    if lacking:
        what, hint = f"`{where}` is not a {protocol.__name__}: it lacks {', '.join(lacking)}.", meant_hint(value, names)
        expected = f"an object with {', '.join(required)}"
        raise ConfigError(what, where=where, got=_name(value), expected=expected, hint=hint)
    for name, given in _misspelt(value, names).items():
        what, hint = f"`{given}` of {_name(value)} is read by nobody.", f"did you mean `{name}`?"
        expected = f"{', '.join(required)}; may also have {', '.join(optional)}"
        raise ConfigError(what, where=f"{where}.{given}", got=given, expected=expected, hint=hint)
    traits: object = traits_of(value, TRAITS[protocol], where) if protocol in TRAITS else None
    has_needs = isinstance(traits, MetricTraits) and bool(traits.needs)  # such a metric is given them too
    for name in required:
        _check_member(value, inspect.getattr_static(protocol, name), name, f"{where}.{name}", not has_needs)


def _check_member(value: object, declared: object, name: str, where: str, has_arguments: bool) -> None:
    found, expected = getattr(value, name), None
    if isinstance(declared, property) and typing.get_type_hints(declared.fget).get("return") is bool:
        expected = None if isinstance(found, bool) else "true or false: a field, a class attribute or a property"
    elif inspect.isfunction(declared):
        expected = None if callable(found) else "a method"
    if expected is not None:
        what, got = f"`{name}` of {_name(value)} has a value of the wrong kind.", repr(found)
        raise ConfigError(what, where=where, got="a method" if callable(found) else got, expected=expected)
    if not (inspect.isfunction(declared) and has_arguments):
        return
    given = list(inspect.signature(declared).parameters)[1:]
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return  # compiled, and silent about its arguments
    try:
        signature.bind(*given)
    except TypeError as error:
        what, got = f"`{name}` of {_name(value)} takes other arguments.", f"{name}{signature}: {error}"
        raise ConfigError(what, where=where, got=got, expected=f"{name}({', '.join(given)})") from error


def meant_hint(owner: object, names: Iterable[str]) -> str | None:
    """Return a "did you mean" hint where an object or class lacks a name and has one that is nearly it."""
    return next((f"`{own}` is there: did you mean `{name}`?" for name, own in _misspelt(owner, names).items()), None)


def _misspelt(owner: object, names: Iterable[str]) -> dict[str, str]:
    """Return name that would be read → the owner's name that is nearly it, where it has only the latter."""
    known = set(names)
    own = [name for name in dir(owner) if not name.startswith("_") and name not in known]
    lacking = [name for name in names if not hasattr(owner, name)]
    near = {name: difflib.get_close_matches(name, own, n=1, cutoff=_NEAR) for name in lacking}
    former = {name: [_FORMER[name]] for name in lacking if _FORMER.get(name) in own}
    return {name: found[0] for name, found in {**near, **former}.items() if found}


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
