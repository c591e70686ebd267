"""A model's `threads` hold OpenMP and BLAS while it is fitted and predicts, whoever calls them, and nothing after."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn.ensemble  # noqa: F401 - loads OpenMP, so that there is something to hold
from threadpoolctl import threadpool_info

from harness.config import compose_config
from harness.execution.progress import Silent
from harness.execution.threads import THREAD_VARIABLES, one_blas_thread, thread_limit, thread_limits
from harness.run.experiment import run

SEEN: list[tuple[str, int, str | None]] = []


def look(where: str) -> None:
    SEEN.append((where, max(lib["num_threads"] for lib in threadpool_info()), os.environ.get("OMP_NUM_THREADS")))


@dataclass(frozen=True)
class Watcher:
    threads: int = 1
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True

    def fit(self, train: Any, valid: Any) -> Fitted:
        look("fit")
        return Fitted()

    def load(self, folder: Path) -> Fitted:
        return Fitted()


class Fitted:
    def predict(self, features: Any) -> Any:
        look("predict")
        return np.nan_to_num(features[:, 0])

    def save(self, folder: Path) -> None: ...


@pytest.mark.parametrize("threads", [1, 2])
def test_fit_and_predict_run_with_the_models_threads(threads: int, tmp_path: Path) -> None:
    SEEN.clear()
    small = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=120"]
    config = compose_config([*small, f"output.runs={tmp_path}", f"output.store={tmp_path / 'store'}"])
    config = replace(config, model=Watcher(threads=threads), evaluation=replace(config.evaluation, significance=None))
    before = {lib["filepath"]: lib["num_threads"] for lib in threadpool_info()}
    with thread_limit(4):  # whatever the caller has
        run(config, Silent())
    assert {where for where, _, _ in SEEN} == {"fit", "predict"}
    assert {(most, said) for _, most, said in SEEN} == {(threads, str(threads))}
    after = {lib["filepath"]: lib["num_threads"] for lib in threadpool_info()}
    assert {path: after[path] for path in before} == before


def test_a_limit_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with thread_limit(2):
        assert {os.environ[name] for name in THREAD_VARIABLES} == {"2"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_one_thread_of_blas_inside_a_limit_ends_with_the_limit() -> None:
    def blas() -> set[int]:
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    with thread_limit(2):
        with one_blas_thread():
            assert blas() == {1}
        assert blas() == {2}


def test_workers_start_with_their_threads_and_nest_none() -> None:
    limits = thread_limits(3)
    assert all(limits[name] == "3" for name in THREAD_VARIABLES)
    assert limits["OMP_MAX_ACTIVE_LEVELS"] == "1"
