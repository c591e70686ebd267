"""What a class named in the configuration must offer, may offer, and seems to have meant: told before it is used."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import typing
from collections.abc import Iterable, Mapping

from typing_extensions import get_protocol_members

from harness.errors import ConfigError
from harness.errors.limits import traits_of as traits_of
from harness.evaluation.metrics import Metric, MetricTraits
from harness.samples.interfaces import EXTENSIONS
from harness.samples.interfaces import TRAITS as _TRAITS

# Protocol → what an object of it may say of itself beyond it.
TRAITS: Mapping[type, type] = {**_TRAITS, Metric: MetricTraits}
# How alike two names are, from 0 to 1, when one is taken for a misspelling of the other.
_NEAR = 0.85
# What earlier versions called a member.
_FORMER = {"batches": "waves", "leaky_variants": "leaky_twins", "fit_records": "artefacts"}


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
    required, optional = members_of(protocol), _optional(protocol)
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


def _optional(protocol: type) -> list[str]:
    traits = [f.name for f in dataclasses.fields(TRAITS[protocol])] if protocol in TRAITS else []
    return traits + sorted({name for more in EXTENSIONS.get(protocol, ()) for name in members_of(more)})


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
