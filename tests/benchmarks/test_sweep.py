"""What sharing is worth: a sweep of 24 linear cells beside its first DDG-DA cell, run again, and the cost of a task.

Budgets: the sweep at most 4 times its first DDG-DA cell (``ratio``), again unchanged under 5 s, a result in the store
under 5 ms, a task on Dask under 20 ms.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.config import ExperimentConfig
from harness.execution.dask import Dask
from harness.execution.local import Local
from harness.execution.progress import Silent
from harness.execution.task import Executor, Task
from harness.run.experiment import ExperimentResult, run
from harness.run.stages import Cache
from harness.run.sweep import Outcome, plan_sweep, run_sweep
from harness.store.artifacts import ArtifactStore, MemoryCache, key_of
from tests.execution import tasks

pytestmark = [pytest.mark.nightly, pytest.mark.benchmark(group="sweep")]

CELLS = 24
SWEEP = ["model.alpha=0.01,0.05,0.5,1", "adaptation=rolling_retrain,ddgda", "adaptation.alpha=0.001,0.01,0.1,1,10"]
TASKS = 200


def sweep(folder: Path, *overrides: str) -> int:
    """Run the cells on a store of their own, sharing what they can; return how many were done."""
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    memory = MemoryCache()

    def run_cell(config: ExperimentConfig) -> ExperimentResult:
        return run(config, Silent(), Cache.of(config, memory))

    ended = run_sweep(plan_sweep([*(overrides or SWEEP), *where]), run_cell, lambda _: None)
    return sum(one.outcome is Outcome.DONE for one in ended)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert sweep(folder) == CELLS
    return folder


def test_24_linear_cells_beside_their_first_ddgda_cell(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    first = ["model.alpha=0.05", "adaptation=ddgda", "adaptation.alpha=0.01"]
    assert sweep(tmp_path / "warm", *first) == 1  # compiled
    began = time.perf_counter()
    assert sweep(tmp_path / "one", *first) == 1
    one = time.perf_counter() - began
    assert benchmark.pedantic(sweep, args=(tmp_path / "all",), rounds=1) == CELLS
    if benchmark.stats is not None:  # nothing is measured with --benchmark-disable
        benchmark.extra_info.update({"first_cell": one, "ratio": benchmark.stats.stats.max / one})


def test_the_same_24_cells_again(benchmark: BenchmarkFixture, finished: Path) -> None:
    assert benchmark.pedantic(sweep, args=(finished,), rounds=1) == CELLS


@pytest.mark.benchmark(group="task")
def test_a_result_in_the_store(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    store, numbers = ArtifactStore(tmp_path), iter(range(10**6))

    def write(folder: Path) -> None:
        (folder / "x").write_text("1", encoding="utf-8")

    def make() -> Path:
        return store.get_or_make(key_of("stage", number=next(numbers)), write)

    assert benchmark(make).is_dir()


@pytest.mark.benchmark(group="task")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("executor", [Local(), Dask()], ids=["local", "dask"])
def test_two_hundred_tasks_that_do_nothing(benchmark: BenchmarkFixture, tmp_path: Path, executor: Executor) -> None:
    """The row is what all of them take together; ``per_task`` is the share of one."""
    with executor.start(tasks.idle) as pool:  # type: ignore[union-attr]
        names: Iterator[int] = iter(range(10**6))

        def run_all() -> int:
            for _ in range(TASKS):
                pool.submit(Task(f"task-{next(names)}", json.dumps({"idle": True})))
            ended = 0
            while ended < TASKS:
                ended += len(pool.wait())
            return ended

        run_all()
        assert benchmark.pedantic(run_all, rounds=3) == TASKS
    if benchmark.stats is not None:
        benchmark.extra_info["per_task"] = benchmark.stats.stats.median / TASKS
