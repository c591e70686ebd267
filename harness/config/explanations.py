"""Hydra's and OmegaConf's errors, said so that they name the key, the value and what would be accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from harness.config.keys import Place
from harness.config.overrides import unreadable
from harness.config.tree import group_options, known_keys
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.instantiate import join_key

__all__ = ["inside_null", "no_yaml", "not_composed", "unknown_key"]


def no_yaml(error: yaml.MarkedYAMLError) -> ConfigError:
    """Return the error for a file that is not YAML."""
    mark = error.problem_mark
    return ConfigError(
        "A configuration file is not YAML.",
        where="a configuration file" if mark is None else f"{mark.name}, line {mark.line + 1}",
        got=error.problem,
        expected="KEY: VALUE lines, nested by spaces",
    )


def not_composed(error: Exception, overrides: Sequence[str], search_path: Sequence[Path] = ()) -> ConfigError:
    """Return the error for overrides that Hydra cannot compose: a choice, a file or a key that does not exist."""
    text = str(error)
    cause = str(error.__cause__ or "")
    group = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if group:
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE) or group_options(group[1], search_path)
        return ConfigError(
            f"There is no `{group[2]}` in the group `{group[1]}`.",
            where=group[1],
            got=group[2],
            expected=", ".join(options),
            hint=closest(group[2], options),
        )
    if text.startswith("In '"):
        return ConfigError(
            "A configuration file cannot be composed.",
            where=text.split("'")[1],
            got=_first_line(error),
            expected="a defaults list of groups and choices that exist",
        )
    there = re.search(r"An item is already at '([^']+)'", text) or re.search(r"'([^']+)' is already", text)
    if there:
        given = next((o for o in overrides if o.startswith(f"+{there[1]}")), there[1])
        return ConfigError(
            f"`{there[1]}` is there already, so it cannot be added.",
            where=there[1],
            got=given,
            expected=given.lstrip("+"),
            hint=f"{given.lstrip('+')} changes it",
        )
    key = re.search(r"Key '([^']+)' is not in struct", cause) or re.search(r"Could not override '([^']+)'", text)
    if key or "Could not" in text:
        full = re.search(r"full_key: (\S+)", cause)
        name = full[1] if full else (re.search(r"'([^']+)'", text) or ["", ""])[1]
        known = known_keys()
        siblings = [k for k in known if k.rpartition(".")[0] == name.rpartition(".")[0]]
        near = closest(name, siblings) or closest(name, known)
        given = next((o for o in overrides if o.lstrip("+~").startswith(name)), name)
        return _unknown(name, given, siblings, near)
    return unreadable(overrides, error)


def unknown_key(name: str, given: str, place: Place) -> UnknownKeyError:
    """Return the error for a key that does not exist at its place; `given` is the override."""
    own = name.rpartition(".")[2]
    siblings = [join_key(name.rpartition(".")[0], key) for key in place.names]
    near = closest(own, place.names)
    if place.cls is None:
        adds = f"+{given.lstrip('+')} adds it, as names are free here"
        return _unknown(name, given, siblings, f"{near} {adds}" if near else adds)
    return _unknown(name, given, siblings, closest(name, siblings) or near)


def inside_null(name: str, given: str, options: Sequence[str]) -> UnknownKeyError:
    """Return the error for a key inside one that is null; `options` are the choices of its group."""
    parent, _, own = name.rpartition(".")
    group = name.partition(".")[0]
    value = given.partition("=")[2]
    return UnknownKeyError(
        f"There is no configuration key `{name}`: `{parent}` is null.",
        where=name,
        got=given,
        expected=f"{parent}={{{own}: {value}}}, or another choice of {group}: {', '.join(options)}",
        hint="`bench config --describe` prints every key",
    )


def _unknown(name: str, given: str, siblings: Sequence[str], hint: str | None) -> UnknownKeyError:
    return UnknownKeyError(
        f"There is no configuration key `{name}`.",
        where=name,
        got=given,
        expected=", ".join(siblings) or "a key that exists, or +KEY=VALUE for a new one",
        hint=hint or "`bench config --describe` prints every key",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
