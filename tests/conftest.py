"""What all tests share: how OpenMP waits, and that Hydra composes a tree once for all tests that ask for the same."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig

from harness.config.compose import _compose

# As the command says it before OpenMP is loaded: threads that spin while they wait take the cores of other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session", autouse=True)
def _composed_once(pytestconfig: pytest.Config) -> Iterator[None]:
    """Give copies of what was composed from this project's own files before, which no test changes.

    Hydra takes a tenth of a second or more for a tree, and a tenth of all trees differ. Where time is measured, it
    composes every time, as for a user.
    """
    if not pytestconfig.getoption("benchmark_disable"):
        yield
        return
    composed: dict[tuple[str, ...], DictConfig] = {}

    def remembered(overrides: list[str], search_path: Sequence[Path]) -> DictConfig:
        if search_path or any("searchpath" in override for override in overrides):
            return _compose(overrides, search_path)
        key = tuple(overrides)
        if key not in composed:
            composed[key] = _compose(overrides, search_path)
        return copy.deepcopy(composed[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.config.compose._compose", remembered)
        yield
