"""Series that hardly vary have no interval and no test: nothing is known of how often they change."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.evaluation.significance.bootstrap import Bootstrap, Interval, bootstrap_interval, paired_difference
from harness.evaluation.significance.hac import hac_mean
from harness.evaluation.significance.selection import (
    deflated_sharpe_ratio,
    model_confidence_set,
    probability_of_backtest_overfitting,
)
from tests.evaluation.significance.series import Doubles

STATISTICS: tuple[str, ...] = ("mean", "ir")
QUICK = Bootstrap(repetitions=199)


def nearly_constant(kind: str, count: int) -> Doubles:
    generator, series = np.random.default_rng(count), np.full(count, 0.5)
    if kind == "one odd value":
        series[count // 3] = 0.0
    elif kind == "three odd values":
        series[[0, count // 2, count - 1]] = (1.0, 0.4, 0.7)
    elif kind == "a handful in one block":
        series[:6] = np.linspace(0.0, 0.4, 6)
    elif kind == "rounding errors":
        series += 1e-15 * generator.standard_normal(count)
    elif kind == "rounding errors and one odd value":
        series += 1e-15 * generator.standard_normal(count)
        series[count // 4] = 0.0
    elif kind == "float32 noise and one odd value":
        series += 1e-9 * generator.standard_normal(count)
        series[count // 4] = 0.0
    elif kind == "a step":
        series[-1] = 1e9
    return series


KINDS = (
    "one odd value",
    "three odd values",
    "a handful in one block",
    "rounding errors",
    "rounding errors and one odd value",
    "float32 noise and one odd value",
    "a step",
)


def bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.high, interval.p_value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("count", [25, 40, 250])
def test_a_nearly_constant_series_has_no_interval(kind: str, statistic: str, count: int) -> None:
    series = nearly_constant(kind, count)
    interval = bootstrap_interval(series, statistic, look_ahead=2, bootstrap=QUICK)
    assert all(map(math.isnan, bounds(interval)))
    if statistic == "mean":
        assert interval.estimate == pytest.approx(series.mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statistic", STATISTICS)
def test_series_that_differ_hardly_ever_are_not_tested(kind: str, statistic: str) -> None:
    other = np.random.default_rng(1).standard_normal(250)
    pair = paired_difference(other + nearly_constant(kind, 250), other, statistic, look_ahead=2, bootstrap=QUICK)
    if statistic == "mean":
        assert all(map(math.isnan, bounds(pair.bootstrap)))
        assert math.isnan(pair.hac.p_value)
    else:  # the ratio of a shifted series differs at every time
        reach = pair.bootstrap.high - pair.bootstrap.low
        assert math.isnan(reach) or reach < 100


@pytest.mark.parametrize("kind", ["one odd value", "three odd values", "rounding errors"])
def test_a_nearly_constant_series_has_no_t_value(kind: str) -> None:
    series = nearly_constant(kind, 250)
    other = np.random.default_rng(1).standard_normal(250)
    for test in (hac_mean(series, look_ahead=2), paired_difference(other + series, other, look_ahead=2).hac):
        assert math.isnan(test.t_value)
        assert math.isnan(test.p_value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_drawdown_interval_comes_from_a_handful_of_losses(kind: str) -> None:
    interval = bootstrap_interval(nearly_constant(kind, 250) - (0.0 if kind == "rounding errors" else 0.5), "drawdown")
    if kind == "float32 noise and one odd value":  # every resample varies, by what the noise brings
        assert interval.low >= 2 * -0.5 * 5
    else:
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_enough_odd_values_have_an_interval_within_their_range() -> None:
    series = np.full(250, 0.5)
    series[::12] = 0.0
    interval = bootstrap_interval(series, bootstrap=QUICK)
    assert 0.0 < interval.low < interval.high < 0.6


@pytest.mark.parametrize("shift", [0.0, 1e-17])
def test_equal_cells_share_their_place_in_the_confidence_set(shift: float) -> None:
    losses = np.random.default_rng(2).standard_normal((300, 3)) * 0.02
    losses[:, 1] = losses[:, 0] + shift * np.random.default_rng(3).choice([-1.0, 1.0], 300)
    found = model_confidence_set(losses, ("a", "b", "c"), bootstrap=QUICK)
    p_of = dict(zip(found.names, found.p_values, strict=True))
    assert p_of["a"] == p_of["b"] > 0.0
    pair = model_confidence_set(losses[:, :2], ("a", "b"), bootstrap=QUICK)
    assert pair.p_values == (1.0, 1.0)


def test_cells_that_differ_on_one_day_both_stay_in_the_confidence_set() -> None:
    losses = np.random.default_rng(4).standard_normal((300, 2)) * 0.02
    losses[:, 1] = losses[:, 0]
    losses[100, 1] += 0.1
    found = model_confidence_set(losses, ("a", "b"), bootstrap=QUICK)
    assert set(found.included) == {"a", "b"}


def test_a_cell_half_way_between_two_others_is_no_obstacle() -> None:
    apart = np.random.default_rng(5).standard_normal(300)
    common = np.random.default_rng(6).standard_normal(300)
    losses = np.stack((common - apart, common, common + apart), axis=1)  # the middle one is the mean of all
    assert len(model_confidence_set(losses, ("a", "b", "c"), bootstrap=QUICK).included) == 3


def test_equal_strategies_deflate_nothing_and_flat_ones_have_no_sharpe_ratio() -> None:
    returns = np.random.default_rng(7).standard_normal(300) * 0.01 + 0.001
    sharpe = float(returns.mean() / returns.std(ddof=1))
    assert deflated_sharpe_ratio(returns, np.array([sharpe, sharpe])).threshold == pytest.approx(0.0, abs=1e-12)
    flat = 0.001 + 1e-18 * np.random.default_rng(8).standard_normal(300)
    assert math.isnan(deflated_sharpe_ratio(flat, np.array([sharpe, 0.1])).probability)
    assert math.isnan(deflated_sharpe_ratio(nearly_constant("one odd value", 300), np.array([sharpe, 0.1])).probability)
    found = probability_of_backtest_overfitting(np.stack((returns, np.full(300, 0.1) * (1 + 1e-15 * returns)), axis=1))
    assert found.loss_probability < 1.0


def test_series_of_nan_and_single_values_have_no_interval() -> None:
    for series in (np.full(100, np.nan), np.array([]), np.array([0.3])):
        for statistic in ("mean", "ir", "drawdown"):
            interval = bootstrap_interval(series, statistic)
            assert math.isnan(interval.low)
            assert math.isnan(interval.p_value)
    assert bootstrap_interval(np.full(100, np.nan)).dropped == 100


def test_extreme_levels_and_single_blocks_work() -> None:
    series = np.random.default_rng(9).standard_normal(100)
    wide = bootstrap_interval(series, bootstrap=Bootstrap(repetitions=999, level=0.999, block_length=1.0))
    narrow = bootstrap_interval(series, bootstrap=Bootstrap(repetitions=1, level=0.5, block_length=1.0))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.block_length == 1.0
