"""What a step of 1 costs beside one of 20, on 924,000 rows × 158 features; run with `--benchmark-enable`.

The target: 880 windows of a ridge, refitted every time, cost at most 4 times the 44 windows of step 20.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from baselines.models.linear import Linear
from harness.execution.progress import Silent
from harness.run.rolling import Recipe, WalkForward
from harness.samples.interfaces import History
from harness.samples.table import SampleTable
from harness.samples.windows import Schedule, Segment, walk_forward
from tests.adaptation.configured import configured
from tests.benchmarks.test_linear import LINEAR, LOOK_AHEAD, TIMES
from tests.benchmarks.test_linear import table as table

pytestmark = pytest.mark.nightly


def run(table: SampleTable, name: str, step: int) -> int:
    """Return how many windows were fitted, from raw features to predictions."""
    schedule = Schedule(Segment(0, 1700), Segment(1700, 2200), Segment(2200, TIMES), step, LOOK_AHEAD)
    windows = walk_forward(schedule)
    segment = Segment(windows[0].train.start, windows[-1].learn_stop)
    adaptation = configured(name).fit(History(table.as_of, windows, segment, step, 0, Silent()))
    return WalkForward(table, windows, Recipe(LINEAR, adaptation, Linear(), step)).run().fitted


def seconds(task: Callable[[], int]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


@pytest.mark.parametrize("name", ["rolling_retrain", "forgetting_mixture", "incremental"])
def test_880_windows_cost_at_most_four_times_44(benchmark: Any, table: SampleTable, name: str) -> None:
    run(table, name, 440)  # compiles and imports
    few = min(seconds(lambda: run(table, name, 20)) for _ in range(2))
    assert benchmark.pedantic(lambda: run(table, name, 1), rounds=1) == 880
    if benchmark.stats is not None:  # nothing is measured with --benchmark-disable
        benchmark.extra_info["times_of_step_20"] = benchmark.stats.stats.min / few
        assert benchmark.stats.stats.min < 4 * few
