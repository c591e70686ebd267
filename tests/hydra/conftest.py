"""A store that holds what the commands of these tests compute, so that each of them takes a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli import main

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40", "evaluation.significance=null"]
SMALL += ["features=expressions"]


@dataclass(frozen=True)
class Shown:
    """What a command ended with, and what it printed."""

    code: int
    out: str
    err: str


Bench = Callable[..., Shown]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the runs of SMALL and two values of `model.alpha`."""
    folder = tmp_path_factory.mktemp("hydra")
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    assert main(["run", "-q", "-m", "model.alpha=0.1,1", *SMALL, *where]) == 0
    return folder / "store"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Run `bench run` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Shown:
        capsys.readouterr()
        try:
            code = main(["run", "-q", *arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        shown = capsys.readouterr()
        return Shown(code, shown.out, shown.err)

    return run


@pytest.fixture
def small(bench: Bench, store: Path) -> Bench:
    """Run `bench run` on a small market whose results the store holds."""
    return lambda *arguments: bench(*SMALL, f"output.store={store}", *arguments)
