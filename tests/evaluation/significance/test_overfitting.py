"""The probability of backtest overfitting: by hand, for noise, and for a strategy that works."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import linregress, rankdata

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.selection import BacktestOverfitting, probability_of_backtest_overfitting
from tests.evaluation.significance.series import Doubles


def by_hand(returns: Doubles, blocks: int) -> BacktestOverfitting:
    pieces = np.array_split(np.arange(len(returns)), blocks)
    logits, inside, outside = [], [], []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        sample = np.concatenate([pieces[b] for b in chosen])
        rest = np.concatenate([pieces[b] for b in range(blocks) if b not in chosen])
        ratios = [returns[rows].mean(axis=0) / returns[rows].std(axis=0, ddof=1) for rows in (sample, rest)]
        best = ratios[0].argmax()
        omega = rankdata(ratios[1])[best] / (returns.shape[1] + 1)
        logits.append(math.log(omega / (1 - omega)))
        inside.append(ratios[0][best])
        outside.append(ratios[1][best])
    return BacktestOverfitting(
        probability=float(np.mean(np.array(logits) <= 1e-12)),
        loss_probability=float(np.mean(np.array(outside) < 0)),
        degradation=linregress(inside, outside).slope,
        splits=math.comb(blocks, blocks // 2),
        strategies=returns.shape[1],
        count=len(returns),
        dropped=0,
    )


@pytest.mark.parametrize(("count", "strategies", "blocks"), [(40, 3, 4), (67, 6, 6), (101, 5, 8)])
def test_the_splits_are_those_of_the_paper(count: int, strategies: int, blocks: int) -> None:
    returns = np.random.default_rng(count).standard_normal((count, strategies)) * 0.01 + 0.002
    ours, expected = probability_of_backtest_overfitting(returns, blocks), by_hand(returns, blocks)
    assert ours.probability == pytest.approx(expected.probability)
    assert ours.loss_probability == pytest.approx(expected.loss_probability)
    assert ours.degradation == pytest.approx(expected.degradation, rel=1e-8)
    assert (ours.splits, ours.strategies, ours.count) == (expected.splits, expected.strategies, expected.count)


def test_the_choice_among_noise_is_worth_a_coin() -> None:
    generator = np.random.default_rng(1)
    found = [
        probability_of_backtest_overfitting(generator.standard_normal((240, 20)), blocks=8).probability
        for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * float(np.std(found)) / math.sqrt(60))
    assert np.std(found) / math.sqrt(60) < 0.05


def test_a_strategy_that_works_survives() -> None:
    returns = np.random.default_rng(2).standard_normal((800, 20))
    returns[:, 7] += 0.5
    result = probability_of_backtest_overfitting(returns)
    assert result.probability == 0.0
    assert result.loss_probability == 0.0
    assert result.splits == 12_870


def test_a_strategy_tuned_to_every_sample_fails_outside() -> None:
    # what one half of the blocks earns the other half loses: the best inside is the worst outside
    blocks, length = 8, 10
    signs = np.array(list(itertools.product([-1, 1], repeat=blocks)))
    signs = signs[signs.sum(axis=1) == 0]
    noise = np.random.default_rng(3).standard_normal((blocks * length, 1)) * 0.01
    returns = np.repeat(signs.T, length, axis=0) * 0.1 + noise
    result = probability_of_backtest_overfitting(returns, blocks)
    assert result.probability == 1.0
    assert result.loss_probability == 1.0


def test_scale_and_order_of_strategies_play_no_part() -> None:
    returns = np.random.default_rng(4).standard_normal((160, 6)) + 0.05
    plain = probability_of_backtest_overfitting(returns, 8)
    moved = probability_of_backtest_overfitting(returns[:, ::-1] * np.array([1, 1e-6, 3, 1e5, 2, 7]), 8)
    assert moved.probability == plain.probability
    assert moved.degradation == pytest.approx(plain.degradation, rel=1e-8)


def test_undefined_days_are_dropped_and_idle_strategies_rank_last() -> None:
    returns = np.random.default_rng(5).standard_normal((160, 4)) + 0.3
    holes = np.insert(returns, [3, 90], np.nan, axis=0)
    result = probability_of_backtest_overfitting(holes, 8)
    assert (result.count, result.dropped) == (160, 2)
    assert result.probability == probability_of_backtest_overfitting(returns, 8).probability
    idle = np.column_stack((returns[:, :1], np.zeros(160), np.full(160, 0.01)))
    assert probability_of_backtest_overfitting(idle, 8).probability == 0.0


def test_impossible_splits_are_refused() -> None:
    returns = np.random.default_rng(6).standard_normal((100, 3))
    for blocks in (0, 7, 22):
        with pytest.raises(ConfigError, match="cut this way"):
            probability_of_backtest_overfitting(returns, blocks)
    with pytest.raises(ConfigError, match="cut this way"):
        probability_of_backtest_overfitting(returns[:30])
    with pytest.raises(DataError, match="two strategies"):
        probability_of_backtest_overfitting(returns[:, :1])
