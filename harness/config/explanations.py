"""Hydra's and OmegaConf's errors, said so that they name the key, the value and what would be accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from harness.config.instantiate import join_key
from harness.config.keys import Place
from harness.config.overrides import parse_overrides, unreadable
from harness.config.tree import group_options, known_keys
from harness.errors import ConfigError, UnknownKeyError, closest


def no_yaml(error: yaml.YAMLError | UnicodeDecodeError) -> ConfigError:
    """Return the error for a file that is not YAML."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    name = getattr(error, "name", None)
    place = f"{mark.name}, line {mark.line + 1}" if mark is not None else name
    reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else getattr(error, "reason", None)
    return ConfigError(
        "A configuration file is not YAML.",
        where=place or "a configuration file",
        got=reason or _first_line(error),
        expected="KEY: VALUE lines in UTF-8, nested by spaces",
    )


def no_mapping(error: Exception) -> ConfigError:
    """Return the error for a file that holds one value."""
    return ConfigError(
        "A configuration file is no mapping.",
        where="a configuration file",
        got=_first_line(error),
        expected="KEY: VALUE lines",
    )


def endless() -> ConfigError:
    """Return the error for a file that holds itself: by its defaults, by an alias of YAML, or by its depth."""
    return ConfigError(
        "A configuration file contains itself, or is nested without end.",
        where="a configuration file",
        expected="defaults and aliases (*name) that do not lead back to their own file or value",
    )


def not_ours(key: str, given: str) -> UnknownKeyError:
    """Return the error for a setting of Hydra's own, or for what is only recorded."""
    near = {
        "hydra.run": "output.runs=FOLDER says where runs go",
        "hydra.sweep": "output.runs=FOLDER says where sweeps go",
        "hydra.sweeper": "`bench search --help` lists its options",
        "hydra/sweeper": "`bench search` tries values of an interval",
        "hydra.launcher": "executor=local or executor=dask computes in parallel",
        "hydra/launcher": "executor=local or executor=dask computes in parallel",
        "hydra.searchpath": "--config-dir FOLDER adds a folder",
        "hydra.verbose": "-v tells more",
    }
    hint = next((text for name, text in near.items() if key == name or key.startswith(f"{name}.")), None)
    return UnknownKeyError(
        f"`{key}` changes nothing here.",
        where=key,
        got=given,
        expected="a key that `bench config` prints",
        hint=hint or "the configuration is composed with Hydra's grammar, but Hydra does not run it",
    )


def not_composed(error: Exception, overrides: Sequence[str], search_path: Sequence[Path] = ()) -> ConfigError:
    """Return the error for overrides that Hydra cannot compose: a choice, a file or a key that does not exist."""
    text = str(error)
    cause = str(error.__cause__ or "")
    group = re.search(r"Could not find '([^']+)/([^'/]*)'", text)
    if group:
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE) or group_options(group[1], search_path)
        return ConfigError(
            f"There is no `{group[2]}` in the group `{group[1]}`.",
            where=group[1],
            got=group[2],
            expected=", ".join(options),
            hint=closest(group[2], options),
        )
    odd = _odd_choice(text, overrides, search_path)
    if odd is not None:
        return odd
    if text.startswith("In '"):
        return ConfigError(
            "A configuration file cannot be composed.",
            where=text.split("'")[1],
            got=_first_line(error),
            expected="a defaults list of groups and choices that exist",
            hint="`# @package _global_` must be the first line of such a file" if "@experiment" in text else None,
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


def _odd_choice(text: str, overrides: Sequence[str], search_path: Sequence[Path]) -> ConfigError | None:
    """Return the error for a group that is given a number, a truth value or null; None where it is none of these."""
    if not text.startswith("Config group override must be"):
        return None
    for override in parse_overrides(overrides):
        key, value = override.key_or_group, str(override.input_line).partition("=")[2]
        options = group_options(key, search_path)
        if options and not isinstance(override.value(), str | list | Mapping):
            hint = "`none` is the choice for nothing" if "none" in options else None
            return ConfigError(
                f"There is no `{value}` in the group `{key}`: it is no text.",
                where=key,
                got=value,
                expected=", ".join(options),
                hint=f"{key}=\"'{value}'\" makes it text" if value in options else hint,
            )
    return None


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
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
