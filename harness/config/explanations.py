"""Hydra's and OmegaConf's errors, said so that they name the key, the value and what would be accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml  # type: ignore[import-untyped]
from omegaconf.errors import OmegaConfBaseException

from harness.config.overrides import unreadable
from harness.config.tree import config_folder, known_keys
from harness.errors import ConfigError, UnknownKeyError, closest

__all__ = ["no_yaml", "not_composed", "unresolved"]


def no_yaml(error: yaml.MarkedYAMLError) -> ConfigError:
    """Return the error for a file that is not YAML."""
    mark = error.problem_mark
    return ConfigError(
        "A configuration file is not YAML.",
        where="a configuration file" if mark is None else f"{mark.name}, line {mark.line + 1}",
        got=error.problem,
        expected="KEY: VALUE lines, nested by spaces",
    )


def not_composed(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Return the error for overrides that Hydra cannot compose: a choice, a file or a key that does not exist."""
    text = str(error)
    cause = str(error.__cause__ or "")
    group = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if group:
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE) or _options(group[1])
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
    key = re.search(r"Key '([^']+)' is not in struct", cause) or re.search(r"Could not override '([^']+)'", text)
    if key or "Could not" in text:
        full = re.search(r"full_key: (\S+)", cause)
        name = full[1] if full else (re.search(r"'([^']+)'", text) or ["", ""])[1]
        known = known_keys()
        siblings = [k for k in known if k.rpartition(".")[0] == name.rpartition(".")[0]]
        near = closest(name, siblings) or closest(name, known)
        given = next((o for o in overrides if o.lstrip("+~").startswith(name)), name)
        return UnknownKeyError(
            f"There is no configuration key `{name}`.",
            where=name,
            got=given,
            expected=", ".join(siblings) or "a key that exists, or +KEY=VALUE for a new one",
            hint=_added(name, given) if _is_open(name) else near or "`bench config --describe` prints every key",
        )
    return unreadable(overrides, error)


def unresolved(error: OmegaConfBaseException) -> ConfigError:
    """Return the error for a reference that leads nowhere."""
    return ConfigError(
        "A reference in the configuration cannot be resolved.",
        where=error.full_key or None,
        got=_first_line(error),
        expected="${KEY} of a key that exists, or ${oc.env:NAME} of a variable that is set",
    )


def _is_open(name: str) -> bool:
    """Return whether a key would stand in a mapping that is empty, and so has no keys to choose from."""
    parent, _, _ = name.rpartition(".")
    known = known_keys()
    return parent in known and not any(key.startswith(f"{parent}.") for key in known)


def _added(name: str, given: str) -> str:
    value = given.partition("=")[2] or "VALUE"
    return f"+{name}={value} adds it, where `{name.rpartition('.')[0]}` takes names of one's own"


def _options(group: str) -> list[str]:
    return sorted(p.stem for p in (config_folder() / group).glob("*.yaml"))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
