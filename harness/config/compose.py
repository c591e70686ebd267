"""Hydra composes the configuration tree with a command's overrides."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.explanations import no_yaml, not_composed
from harness.config.overrides import parse_overrides
from harness.config.records import ExperimentConfig, parse
from harness.config.tree import config_folder
from harness.errors import ConfigError

__all__ = ["Composer", "compose_config", "composed_yaml"]


class Composer:
    """Composes many configurations: Hydra does the work once for all that differ in values of existing keys only.

    Parameters
    ----------
    search_path
        Folders outside this project that hold further configuration groups.
    """

    def __init__(self, search_path: Sequence[str | Path] = ()) -> None:
        self._given = tuple(search_path)
        self._trees: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Return the configuration of Hydra override texts, typed and checked.

        Raises
        ------
        ConfigError
            Names the key, the value and what would be accepted.
        """
        composed = self.tree(overrides)
        folders = [argument for folder in self._given for argument in ("--config-dir", str(folder))]
        composed["command"] = [*folders, *overrides]
        return parse(composed)

    def tree(self, overrides: Sequence[str]) -> DictConfig:
        """Return the composed tree, references not yet resolved."""
        read = parse_overrides(overrides)
        shared = [o for o in read if not _is_change(o)]
        if any(isinstance(o.value(), Mapping) for o in shared):
            return self._open(overrides)  # a whole subtree: what is changed in it before and after differs
        tree = self._open([str(o.input_line) for o in shared])
        OmegaConf.set_struct(tree, True)
        try:
            for change in read:
                if _is_change(change):
                    OmegaConf.update(tree, change.key_or_group, change.value(), merge=True)
        except OmegaConfBaseException:
            return self._open(overrides)  # Hydra says what is wrong
        OmegaConf.set_struct(tree, False)
        return tree

    def _open(self, overrides: Sequence[str]) -> DictConfig:
        key = tuple(overrides)
        if key not in self._trees:
            self._trees[key] = _compose(list(key), [Path(p).resolve() for p in self._given])
        return copy.deepcopy(self._trees[key])


def _is_change(override: Override) -> bool:
    """Return whether it gives a key that exists another value, so that it does not decide what else is composed."""
    key = override.key_or_group
    is_plain = not (override.is_add() or override.is_delete() or override.is_sweep_override())
    return is_plain and override.package is None and "." in key and "/" not in key and not key.startswith("hydra.")


def compose_config(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> ExperimentConfig:
    """Compose the configuration tree with Hydra overrides and return it typed and checked.

    Parameters
    ----------
    overrides
        Hydra override texts, such as ``windows.step=40`` or ``model=lightgbm``.
    search_path
        Folders outside this project that hold further configuration groups.

    Raises
    ------
    ConfigError
        Names the key, the value and what would be accepted.
    """
    return Composer(search_path)(overrides)


def composed_yaml(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> str:
    """Return the composed configuration as YAML, references resolved; what `compose_config` would read."""
    composed = Composer(search_path).tree(overrides)
    del composed["choices"]
    return OmegaConf.to_yaml(composed, resolve=True)


def _compose(overrides: list[str], search_path: list[Path]) -> DictConfig:
    for folder in search_path:
        if not folder.is_dir():
            raise ConfigError(
                "The configuration folder does not exist.",
                where="--config-dir",
                got=str(folder),
                expected="a folder with groups like conf/, such as FOLDER/model/mine.yaml",
                hint="`bench new model mine` writes one",
            )
    extra = [f"hydra.searchpath=[{','.join(f'file://{p}' for p in search_path)}]"] if search_path else []
    try:
        with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
            composed = compose("config", overrides=[*extra, *overrides], return_hydra_config=True)
            choices = {k: str(v) for k, v in composed.hydra.runtime.choices.items() if "/" not in k}
    except (HydraException, OmegaConfBaseException) as error:
        raise not_composed(error, overrides) from error
    except yaml.MarkedYAMLError as error:
        raise no_yaml(error) from error
    OmegaConf.set_readonly(composed, False)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    composed["choices"] = choices
    return composed
