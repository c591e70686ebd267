"""What certainty costs beside a run."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.evaluation.significance.bootstrap import (
    Bootstrap,
    Question,
    bootstrap_interval,
    bootstrap_intervals,
    paired_difference,
)
from harness.evaluation.significance.hac import hac_mean
from harness.evaluation.significance.selection import model_confidence_set, probability_of_backtest_overfitting
from tests.evaluation.significance.series import LOOK_AHEAD, autoregressive, overlapping

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def metrics() -> np.ndarray:
    return autoregressive(np.random.default_rng(0), (12, 900), 0.9) * 0.03 + 0.05


def test_intervals_beside_twelve_metrics(benchmark: BenchmarkFixture, metrics: np.ndarray) -> None:
    hac_mean(metrics[0])
    intervals = benchmark(lambda: [bootstrap_interval(series, "ir", look_ahead=LOOK_AHEAD) for series in metrics])
    assert all(i.low < i.estimate < i.high for i in intervals)


@pytest.mark.parametrize("count", [860, 40_000])
def test_all_intervals_of_one_run(benchmark: BenchmarkFixture, count: int) -> None:
    """As many as a run with a portfolio has, of days or of hours."""
    generator = np.random.default_rng(3)
    labelled = overlapping(generator, (7, count)) * 0.01 + 0.02
    returns = generator.standard_normal((6, count)) * 0.01
    questions = [
        *(Question(series, "mean", LOOK_AHEAD) for series in labelled),
        *(Question(series, "ir", LOOK_AHEAD) for series in labelled[:2]),
        *(Question(series, "mean", 1) for series in returns),
        *(Question(series, "ir", 1) for series in returns[:2]),
        *(Question(series, "drawdown", 1) for series in returns[:2]),
    ]
    hac_mean(labelled[0])
    found = benchmark.pedantic(lambda: bootstrap_intervals(questions, Bootstrap()), rounds=5, warmup_rounds=1)
    assert all(interval.low < interval.high for interval in found)


def test_a_paired_difference(benchmark: BenchmarkFixture, metrics: np.ndarray) -> None:
    result = benchmark(lambda: paired_difference(metrics[0], metrics[1], look_ahead=LOOK_AHEAD))
    assert result.bootstrap.count == 900


def test_a_confidence_set_of_fifty_cells(benchmark: BenchmarkFixture) -> None:
    losses = autoregressive(np.random.default_rng(1), (50, 900), 0.5).T
    names = tuple(str(m) for m in range(50))
    result = benchmark(lambda: model_confidence_set(losses, names, look_ahead=LOOK_AHEAD))
    assert len(result.names) == 50


def test_overfitting_of_fifty_cells(benchmark: BenchmarkFixture) -> None:
    returns = np.random.default_rng(2).standard_normal((900, 50)) * 0.01
    result = benchmark(lambda: probability_of_backtest_overfitting(returns))
    assert 0.0 < result.probability < 1.0
