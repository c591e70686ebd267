"""The strategy orders what it says, and its portfolio stands in the snapshot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from my_strategy import MyStrategy

from harness import Decision, run_experiment

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


def decision(score: list[float], close: np.ndarray) -> Decision:
    size = len(score)
    return Decision(
        time=np.datetime64("2020-01-31"),
        instruments=tuple(f"S{i}" for i in range(size)),
        score=np.array(score),
        shares=np.zeros(size),
        held_for=np.zeros(size, dtype=np.int64),
        price=close[-1],
        cash=1000.0,
        value=1000.0,
        refused=np.zeros(size, dtype=np.bool_),
        history=lambda field, periods: close[-periods:],
    )


def test_the_best_are_bought_and_the_calmer_one_weighs_more() -> None:
    steps = np.random.default_rng(0).normal(0.0, [0.01, 0.02, 0.01, 0.01], (21, 4))
    close = 10.0 * np.exp(np.cumsum(steps, axis=0))
    orders = MyStrategy(names=2).orders(decision([3.0, 2.0, 1.0, np.nan], close))
    assert sorted(orders.buy.tolist()) == [0, 1]
    assert orders.sell.size == 0
    assert orders.shares is not None
    worth = orders.shares * close[-1]
    assert worth[0] > worth[1] > 0
    np.testing.assert_allclose(worth.sum(), 950.0)


def test_its_portfolio_stands_in_the_snapshot(tmp_path: Path) -> None:
    output = [f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"]
    folder = Path(__file__).resolve().parent / "my_conf"
    result = run_experiment([*SMALL, *output, "evaluation=my_strategy"], search_path=[folder])
    assert result.metrics["portfolio_turnover"] > 0
    assert result.metrics["portfolio_cost"] > 0
