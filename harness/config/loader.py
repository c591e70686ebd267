"""Hydra's loader of configurations, as `bench run` uses it: what it composes, and what it says of a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.config.compose import (
    MAIN,
    Composer,
    composing,
    is_change,
    read_overrides,
    refuse_default,
    refuse_sweep,
    with_choices,
)
from harness.config.records import ExperimentConfig, parse
from harness.errors import ConfigError, HarnessError, UnknownKeyError
from harness.errors.redaction import redacted
from harness.store.files import config_folder, search_folder

CONFIG_DIR = "--config-dir "  # and the folder as it was given: who provides it on the search path
# What Hydra writes itself, whatever is given; and what has no place here. Each with what there is instead.
_REFUSED = {
    "hydra.overrides": "Hydra writes down there what was given",
    "hydra.runtime": "Hydra writes down there how it runs",
    "hydra.job.id": "the launcher gives it",
    "hydra.job.num": "the sweeper counts the jobs",
    "hydra.job.config_name": "--config-name NAME takes another main file",
    "hydra.job.override_dirname": "it is made of the overrides by hydra.job.config.override_dirname",
    "hydra.help": "`bench run --help` is the help of the command, and no template",
    "choices": "choices are made with GROUP=CHOICE",
}
_CHDIR = "hydra.job.chdir"


def search_path_of(config_path: str | None, folders: Sequence[str | Path]) -> ConfigSearchPath:
    """Return where Hydra finds files: its own, the main folder, what plugins add, then folders in their order."""
    main = config_folder() if config_path is None else search_folder(Path(config_path), option="--config-path")
    path = create_config_search_path(str(main))
    for folder in folders:
        anchor = SearchPathQuery(provider="schema")
        path.prepend(f"{CONFIG_DIR}{folder}", f"file://{search_folder(Path(folder))}", anchor)
    return path


class Loader(ConfigLoaderImpl):
    """Composes as Hydra does, and says what is wrong as the harness does.

    A key that a class has and its file leaves out needs no ``+``; a plain value needs no quotes; a key of Hydra's own
    is honoured or refused.
    """

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Return the composed tree with Hydra's own settings; raises `ConfigError`, see `Composer`."""
        read = read_overrides(overrides)
        for override in read:
            _refuse(override)
            if run_mode is RunMode.RUN and validate_sweep_overrides:
                refuse_sweep(override)
        lines = [str(o.input_line) for o in read]
        composed = partial(self._composed, config_name, run_mode=run_mode)
        try:
            tree = composed(lines)
        except HarnessError:
            # Keys that no file writes down: of one job their class decides, of a sweep each of its jobs.
            if not any(map(is_change, read)):
                raise
            if run_mode is RunMode.RUN:
                own = [line for o, line in zip(read, lines, strict=True) if o.is_hydra_override()]
                task = [line for o, line in zip(read, lines, strict=True) if not o.is_hydra_override()]
                Composer(opened=partial(self.opened, config_name, own)).tree(task)
            tree = composed([f"++{line}" if is_change(o) else line for o, line in zip(read, lines, strict=True)])
            with open_dict(tree):
                given = zip(read, lines, strict=True)
                tree.hydra.overrides.task = [line for o, line in given if not o.is_hydra_override()]
        if run_mode is RunMode.RUN:
            for override in read:
                refuse_default(tree, override)
        if tree.hydra.job.chdir:
            what, expected = (
                "A job does not change the current folder: paths in the configuration start there.",
                "false",
            )
            hint = "hydra.run.dir=FOLDER and hydra.sweep.dir=FOLDER say where files go"
            raise ConfigError(what, where=_CHDIR, got="true", expected=expected, hint=hint)
        return tree

    def opened(self, config_name: str | None, own: Sequence[str], overrides: Sequence[str]) -> DictConfig:
        """Return what `Composer` composes from: the tree of one job; `own` are overrides of Hydra's settings."""
        tree = self._composed(config_name, [*own, *overrides], run_mode=RunMode.RUN)
        return with_choices(tree, tree.hydra.runtime.choices)

    def _composed(self, config_name: str | None, overrides: list[str], *, run_mode: RunMode) -> DictConfig:
        with composing(overrides, self.get_group_options):
            return super().load_configuration(config_name, overrides, run_mode, validate_sweep_overrides=False)


class JobComposer(Composer):
    """Composes the jobs of a sweep, whose own configuration is `master`."""

    def __init__(self, loader: Loader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._own = given_overrides(master, "hydra")
        super().__init__(config_dirs(master), partial(loader.opened, master.hydra.job.config_name, self._own))

    def options(self, group: str) -> list[str]:
        return self._loader.get_group_options(group, overrides=self._own)

    def job(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Return the configuration that Hydra runs a job with: what its loader composes, in a tenth of the time."""
        tree, read = self.tree(overrides), read_overrides(overrides)
        del tree["choices"]
        tree["hydra"] = self.hydra_of(overrides)
        hydra, dirname = tree.hydra, tree.hydra.job.config.override_dirname
        hydra.overrides.task = list(overrides)
        hydra.job.num, hydra.job.id = number, str(number)
        hydra.job.override_dirname = get_overrides_dirname(read, dirname.exclude_keys, dirname.item_sep, dirname.kv_sep)
        OmegaConf.copy_cache(from_config=self._master, to_config=tree)
        return tree


def given_overrides(tree: DictConfig, kind: Literal["task", "hydra"] = "task") -> list[str]:
    """Return the overrides of a composed configuration as they were given, references and all."""
    found = OmegaConf.to_container(tree.hydra.overrides[kind], resolve=False)
    return [str(text) for text in found] if isinstance(found, list) else []


def config_dirs(tree: DictConfig) -> list[str]:
    """Return the folders of the search path that the command line gave."""
    given = [source.provider for source in tree.hydra.runtime.config_sources]
    return [provider.removeprefix(CONFIG_DIR) for provider in given if provider.startswith(CONFIG_DIR)]


def job_config(tree: DictConfig, hydra: DictConfig) -> ExperimentConfig:
    """Return the configuration of a job as objects: with its choices, and the command that it is of."""
    folders = [argument for folder in config_dirs(hydra) for argument in ("--config-dir", folder)]
    name = hydra.hydra.job.config_name
    command = [*folders, *([] if name == MAIN else ["--config-name", str(name)]), *given_overrides(hydra)]
    tree = with_choices(tree.copy(), hydra.hydra.runtime.choices)
    tree.pop("hydra", None)
    tree["command"] = [redacted(text) for text in command]
    return parse(tree)


def _refuse(override: Override) -> None:
    """Refuse a key that Hydra would take and nobody would read."""
    key = override.key_or_group
    for refused, hint in _REFUSED.items():
        if key == refused or key.startswith(f"{refused}.") or (refused == "hydra.help" and key == "hydra/help"):
            what = f"`{key}` changes nothing here."
            raise UnknownKeyError(what, where=key, got=override.input_line, hint=hint)
