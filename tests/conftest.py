"""What all tests share: how OpenMP waits, and that Hydra does the same work once for all tests that ask for it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra.core.default_element import InputDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from harness.config import config_folder

# As the command says it before OpenMP is loaded: threads that spin while they wait take the cores of other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session", autouse=True)
def _composed_once(pytestconfig: pytest.Config) -> Iterator[None]:
    """Let Hydra read each text once, and find and merge this project's own files once for the same choices.

    It takes two tenths of a second for a tree, and the tests ask for hundreds. What overrides change is
    changed every time, and a mistake is found every time. Where time is measured, nothing is kept, as for a user.
    """
    if not pytestconfig.getoption("benchmark_disable"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(_reading_once(OmegaConf.load)))
        patch.setattr(config_loader_impl, "create_defaults_list", _finding_once(create_defaults_list))
        merge = ConfigLoaderImpl._compose_config_from_defaults_list
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _merging_once(merge))
        patch.setattr(defaults_list, "_create_interpolation_map", _choices_for(defaults_list._create_interpolation_map))
        # Each composition copies the list of its folders, and with it every schema that Hydra has of its own.
        patch.setattr(ConfigRepository, "__deepcopy__", lambda repo, memo: copy.copy(repo), raising=False)
        yield


class _Kept:
    """What was made before, by what it was made of."""

    def __init__(self) -> None:
        self._made: dict[object, Any] = {}

    def get(self, key: object, make: Callable[[], Any]) -> Any:
        """Return a copy that nobody else has."""
        if key not in self._made:
            self._made[key] = make()
        return copy.deepcopy(self._made[key])


def _reading_once(read: Callable[..., Any]) -> Callable[..., Any]:
    kept = _Kept()

    @functools.wraps(read)
    def load(file_: str | Path | IO[Any]) -> Any:
        if isinstance(file_, str | Path):
            text: object = Path(file_).read_bytes()
        else:
            text = file_.read()
            file_.seek(0)
        return kept.get(text, lambda: read(file_))

    return load


def _only_ours(repo: IConfigRepository) -> bool:
    """Return whether Hydra looks into no folder but the project's: its files are the same in all tests."""
    folders = [source.path for source in repo.get_sources() if source.scheme() == "file"]
    return folders == [_OURS]


_OURS = str(config_folder())


def _finding_once(find: Callable[..., DefaultsList]) -> Callable[..., DefaultsList]:
    """Which files are chosen does not depend on overrides that change values only."""
    found: dict[tuple[object, ...], DefaultsList] = {}

    def found_once(
        repo: IConfigRepository, config_name: str | None, overrides_list: list[Override], **how: bool
    ) -> DefaultsList:
        make = functools.partial(find, repo=repo, config_name=config_name, overrides_list=overrides_list, **how)
        if not _only_ours(repo):
            return make()
        values = Overrides(repo, overrides_list).config_overrides
        choosing = [str(o.input_line) for o in overrides_list if not (o.is_sweep_override() or o in values)]
        key = (config_name, *choosing, *how.items())
        if key not in found:
            found[key] = make()
        return dataclasses.replace(found[key], config_overrides=values)

    return found_once


def _choices_for(choices: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """What has been chosen so far is read by references in a list of defaults only, and is built for each list."""

    def known(overrides: Overrides, found: list[InputDefault], self_added: bool) -> DictConfig:
        is_read = any(default.is_interpolation() for default in found)
        return choices(overrides, found, self_added) if is_read else OmegaConf.create()

    return known


def _merging_once(merge: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    kept = _Kept()

    def compose(self: ConfigLoaderImpl, defaults: list[Any], repo: IConfigRepository) -> DictConfig:
        make = functools.partial(merge, self, defaults=defaults, repo=repo)
        key = tuple(str(dataclasses.astuple(default)) for default in defaults)
        return kept.get(key, make) if _only_ours(repo) else make()

    return compose
