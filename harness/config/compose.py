"""Hydra composes the configuration tree with a command's overrides."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.explanations import (
    endless,
    inside_null,
    no_mapping,
    no_yaml,
    not_composed,
    not_ours,
    place_of,
    unknown_key,
)
from harness.config.overrides import group_options, main_groups, parse_overrides, refuse_sweeps, search_folders
from harness.config.records import ExperimentConfig, parse
from harness.errors import ConfigError
from harness.errors.redaction import redacted
from harness.store.files import config_folder
from harness.store.records import TARGET


class Composer:
    """Composes many configurations: Hydra does the work once for all that differ in values of existing keys only.

    Args:
        search_path: Folders outside this project that hold further configuration groups.
    """

    def __init__(self, search_path: Sequence[str | Path] = ()) -> None:
        self._given = tuple(search_path)
        self._folders = search_folders(self._given)
        self._trees: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Return the configuration of Hydra override texts, typed and checked.

        Raises:
            ConfigError: Names the key, the value and what would be accepted.
        """
        composed = self.tree(overrides)
        folders = [argument for folder in self._given for argument in ("--config-dir", str(folder))]
        composed["command"] = [redacted(text) for text in (*folders, *overrides)]
        return parse(composed)

    def options(self, group: str) -> list[str]:
        """Return the choices of a group, those of the search path too; empty for what is no group."""
        return group_options(group, self._folders)

    def tree(self, overrides: Sequence[str]) -> DictConfig:
        """Return the composed tree, references not yet resolved."""
        read = [self._plain(override) for override in parse_overrides(overrides)]
        _refuse_not_ours(read)
        refuse_sweeps(read)
        lines = [str(o.input_line) for o in read]
        shared = [o for o in read if not _is_change(o)]
        if any(isinstance(o.value(), Mapping) for o in shared):
            tree = self._open(lines)  # a whole subtree: what is changed in it before and after differs
        else:
            tree = self._open([str(o.input_line) for o in shared])
            # Which other keys exist depends on the class.
            changes = sorted(filter(_is_change, read), key=lambda o: not o.key_or_group.endswith(f".{TARGET}"))
            for change in changes:
                if not _changed(tree, change):
                    tree = self._open(lines)  # Hydra says what is wrong
                    break
        for deleted in read:
            _refuse_default(tree, deleted)
        return tree

    def _plain(self, override: Override) -> Override:
        """Return ``+GROUP=CHOICE`` as ``GROUP=CHOICE`` where the group is in the main file's defaults already."""
        is_group = override.is_add() and override.package is None and override.key_or_group in main_groups()
        return parse_overrides([str(override.input_line).lstrip("+")])[0] if is_group else override

    def _open(self, overrides: Sequence[str]) -> DictConfig:
        key = tuple(overrides)
        if key not in self._trees:
            self._trees[key] = _compose(list(key), self._folders)
        return copy.deepcopy(self._trees[key])


def _refuse_not_ours(overrides: Sequence[Override]) -> None:
    """Refuse settings of Hydra's own, which nothing here reads, and what is recorded of a configuration."""
    for override in overrides:
        first = re.split(r"[./@]", override.key_or_group, maxsplit=1)[0]
        if first in ("hydra", "choices"):
            raise not_ours(override.key_or_group, str(override.input_line))


def _is_change(override: Override) -> bool:
    """Return whether it gives a key that exists another value, so that it does not decide what else is composed."""
    key = override.key_or_group
    is_plain = not (override.is_add() or override.is_delete() or override.is_sweep_override())
    return is_plain and override.package is None and "." in key and "/" not in key


def _changed(tree: DictConfig, change: Override) -> bool:
    """Give a key another value, also one that its file leaves out; False where Hydra has to look at it."""
    key = change.key_or_group
    parent, _, name = key.rpartition(".")
    place = place_of(tree, parent)
    if place is not None and name not in (*place.written, *place.fields):
        raise unknown_key(key, str(change.input_line), place)
    if place is None and _is_null(tree, parent):
        raise inside_null(key, str(change.input_line), group_options(key.partition(".")[0]))
    try:
        OmegaConf.set_struct(tree, True)
        OmegaConf.update(tree, key, change.value(), merge=True, force_add=place is not None)
    except OmegaConfBaseException:
        return False
    finally:
        OmegaConf.set_struct(tree, False)
    return True


def _is_null(tree: DictConfig, path: str) -> bool:
    above, _, name = path.rpartition(".")
    place = place_of(tree, above)
    return place is not None and name in place.written and OmegaConf.select(tree, path) is None


def _refuse_default(tree: DictConfig, override: Override) -> None:
    """Refuse to delete the key of a class that would then silently have its default."""
    parent, _, name = override.key_or_group.rpartition(".")
    if not override.is_delete() or not parent:
        return
    place = place_of(tree, parent)
    if place is None or name not in place.fields:
        return
    default = place.fields[name].default
    value = "its default" if default is inspect.Parameter.empty else f"its default, {default!r}"
    raise ConfigError(
        f"`{override.key_or_group}` cannot be deleted: it belongs to its class, and would silently have {value}.",
        where=override.key_or_group,
        got=override.input_line,
        expected="the value that is meant",
        hint=f"{override.key_or_group}=VALUE; a name in a mapping, such as '~data.columns.factor', can be deleted",
    )


def compose_config(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> ExperimentConfig:
    """Compose the configuration tree with Hydra overrides and return it typed and checked.

    Args:
        overrides: Hydra override texts, such as ``windows.step=40`` or ``model=lightgbm``.
        search_path: Folders outside this project that hold further configuration groups.

    Raises:
        ConfigError: Names the key, the value and what would be accepted.
    """
    return Composer(search_path)(overrides)


def composed_yaml(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> str:
    """Return the composed configuration as YAML, references resolved; what `compose_config` would read."""
    composed = Composer(search_path).tree(overrides)
    del composed["choices"]
    return OmegaConf.to_yaml(composed, resolve=True)


def _quoted(text: str) -> str:
    """Return a text as a value of Hydra's grammar that means just this text."""
    return QuotedString(text, Quote.double).with_quotes()


def _compose(overrides: list[str], search_path: Sequence[Path]) -> DictConfig:
    extra = [f"hydra.searchpath=[{','.join(_quoted(f'file://{p}') for p in search_path)}]"] if search_path else []
    try:
        with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
            composed = compose("config", overrides=[*extra, *overrides], return_hydra_config=True)
            choices = {k: str(v) for k, v in composed.hydra.runtime.choices.items() if "/" not in k}
    except (HydraException, OmegaConfBaseException) as error:
        raise not_composed(error, overrides, search_path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise no_yaml(error) from error
    except RecursionError as error:
        raise endless() from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise no_mapping(error) from error  # OmegaConf's word for a file that is a number
    except ValueError as error:  # of a number in a file that has thousands of digits
        raise not_composed(error, overrides, search_path) from error
    OmegaConf.set_readonly(composed, False)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    composed["choices"] = choices
    return composed
