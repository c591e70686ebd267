"""Hydra's and OmegaConf's errors, said so that they name the key, the value and what would be accepted."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.instantiate import hints_of, join_key, locate, record_of
from harness.config.overrides import group_options, known_keys, parse_overrides, unreadable
from harness.config.records import ExperimentConfig
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.store.records import TARGET


@dataclass(frozen=True)
class Place:
    """What stands at a key of a tree.

    Attributes:
        cls: The class whose fields are the keys; None for a mapping that takes any name.
        written: The keys that the tree holds there.
    """

    cls: type | None
    written: tuple[str, ...]

    @property
    def fields(self) -> dict[str, inspect.Parameter]:
        """The keys of the class; empty where there is none."""
        parameters = {} if self.cls is None else dict(inspect.signature(self.cls).parameters)
        return {n: p for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

    @property
    def names(self) -> list[str]:
        """Every key that may be written here."""
        return list(dict.fromkeys([*self.fields, *(key for key in self.written if key != TARGET)]))


def place_of(tree: DictConfig, path: str) -> Place | None:
    """Return what stands at the dotted `path`; None where the tree holds no mapping, or its class cannot be found."""
    cls: type | None = ExperimentConfig
    node: Any = tree
    for part in path.split(".") if path else ():
        node = _child(node, part)
        if not isinstance(node, DictConfig):
            return None
        try:
            cls = _class_of(cls, part, node)
        except ConfigError:
            return None  # construction says what is wrong with it
    return Place(cls, tuple(str(key) for key in node))


def _child(node: Any, part: str) -> Any:
    try:
        return OmegaConf.select(node, part)
    except OmegaConfBaseException:
        return None


def _class_of(owner: type | None, part: str, node: DictConfig) -> type | None:
    target = OmegaConf.select(node, TARGET)
    if target is not None:
        return locate(target, TARGET)
    hints: Mapping[str, Any] = {} if owner is None else hints_of(owner)
    return record_of(hints.get(part, Any))


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
