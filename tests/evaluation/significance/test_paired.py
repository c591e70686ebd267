"""Paired tests: nothing is found where there is nothing, and an effect as often as theory says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from harness.errors import DataError
from harness.evaluation import formulas as metrics
from harness.evaluation.significance.bootstrap import Bootstrap, paired_difference
from harness.evaluation.significance.hac import Method, hac_mean
from tests.evaluation.significance.series import (
    LOOK_AHEAD,
    Doubles,
    autoregressive,
    ics_of_nothing,
    overlapping,
    plausible,
)

DAYS = 860
QUICK = Bootstrap(repetitions=199)
Pairs = Callable[[int], Iterator[tuple[Doubles, Doubles]]]


def scores_of_nothing(repetitions: int) -> Iterator[tuple[Doubles, Doubles]]:
    generator = np.random.default_rng(2024)
    for _ in range(repetitions):
        yield ics_of_nothing(generator, DAYS)


def persistent_noise(repetitions: int) -> Iterator[tuple[Doubles, Doubles]]:
    generator = np.random.default_rng(2025)
    for _ in range(repetitions):
        first, second = autoregressive(generator, (2, DAYS), 0.9)
        yield first, second


def overlapping_noise(repetitions: int) -> Iterator[tuple[Doubles, Doubles]]:
    generator = np.random.default_rng(2026)
    for _ in range(repetitions):
        first, second = overlapping(generator, (2, DAYS)) / np.sqrt(20) + generator.standard_normal((2, DAYS))
        yield first, second


def rejections(pairs: Pairs, repetitions: int, statistic: str = "mean") -> tuple[float, float]:
    """Shares of A/A pairs that the HAC test and the paired bootstrap tell apart at 5 %."""
    hac = bootstrap = 0
    for first, second in pairs(repetitions):
        result = paired_difference(first, second, statistic, bootstrap=QUICK, look_ahead=LOOK_AHEAD)
        hac += result.hac.p_value <= 0.05
        bootstrap += result.bootstrap.p_value <= 0.05
    return hac / repetitions, bootstrap / repetitions


def test_two_signals_that_know_nothing_are_told_apart_as_rarely_as_promised() -> None:
    low, high = plausible(0.03, 0.07, 120)
    for rate in rejections(scores_of_nothing, 120):
        assert low <= rate <= high


@pytest.mark.parametrize("method", ["newey_west", "harvey"])
def test_the_usual_corrections_would_tell_them_apart_far_more_often(method: Method) -> None:
    # the experiment above can fail: this is what it would find without fixed-smoothing critical values
    def rejected(first: Doubles, second: Doubles, lags: int | None) -> bool:
        return hac_mean(first - second, look_ahead=LOOK_AHEAD, method=method, lags=lags).p_value <= 0.05

    pairs = list(scores_of_nothing(120))
    assert np.mean([rejected(*pair, None) for pair in pairs]) > 0.07
    assert np.mean([rejected(*pair, 6) for pair in pairs]) > plausible(0.03, 0.07, 120)[1]


@pytest.mark.nightly
@pytest.mark.parametrize("statistic", ["mean", "ir"])
@pytest.mark.parametrize(
    ("pairs", "repetitions"), [(scores_of_nothing, 500), (persistent_noise, 2000), (overlapping_noise, 2000)]
)
def test_nothing_is_found_in_nothing(pairs: Pairs, repetitions: int, statistic: str) -> None:
    for rate in rejections(pairs, repetitions, statistic):
        assert abs(rate - 0.05) <= 0.02


def planted(repetitions: int, noncentrality: float, seed: int) -> tuple[float, float, float]:
    """Shares found by the HAC test and the bootstrap, and the share that theory promises."""
    generator = np.random.default_rng(seed)
    effect = noncentrality * 20 / np.sqrt(DAYS)  # long-run standard deviation of the sums: 20
    hac = bootstrap = promised = 0.0
    for difference in overlapping(generator, (repetitions, DAYS)):
        reference = autoregressive(generator, (1, DAYS), 0.9)[0]
        result = paired_difference(reference + difference + effect, reference, bootstrap=QUICK, look_ahead=LOOK_AHEAD)
        degrees = result.hac.degrees
        critical = stats.t.ppf(0.975, degrees)
        promised += stats.nct.sf(critical, degrees, noncentrality) + stats.nct.cdf(-critical, degrees, noncentrality)
        hac += result.hac.p_value <= 0.05
        bootstrap += result.bootstrap.p_value <= 0.05
    return hac / repetitions, bootstrap / repetitions, promised / repetitions


def test_a_planted_effect_is_found_as_often_as_theory_says() -> None:
    hac, bootstrap, promised = planted(120, 3.0, seed=5)
    low, high = plausible(promised - 0.03, promised + 0.03, 120)
    assert 0.7 < promised < 0.9
    assert low <= hac <= high
    assert low <= bootstrap <= high


@pytest.mark.nightly
@pytest.mark.parametrize("noncentrality", [1.0, 2.0, 3.0, 4.0])
def test_power_follows_theory(noncentrality: float) -> None:
    hac, bootstrap, promised = planted(500, noncentrality, seed=6)
    assert hac == pytest.approx(promised, abs=0.06)
    assert bootstrap == pytest.approx(promised, abs=0.06)


def a_pair(seed: int) -> tuple[Doubles, Doubles]:
    generator = np.random.default_rng(seed)
    common, own = autoregressive(generator, (2, 300), 0.7)
    return 0.05 * common + 0.01 * own + 0.03, 0.05 * common + 0.02


def test_what_moves_both_alike_cancels() -> None:
    series, reference = a_pair(1)
    paired = paired_difference(series, reference, bootstrap=QUICK)
    alone = hac_mean(series)
    assert paired.hac.standard_error < 0.3 * alone.standard_error
    assert paired.estimate == pytest.approx(metrics.mean(series) - metrics.mean(reference), rel=1e-10)
    ratio = paired_difference(series, reference, "ir", bootstrap=QUICK)
    assert ratio.estimate == pytest.approx(metrics.ir(series) - metrics.ir(reference), rel=1e-10)
    assert ratio.bootstrap.low < ratio.estimate < ratio.bootstrap.high


def test_the_difference_is_tested_like_a_mean() -> None:
    series, reference = a_pair(2)
    expected = hac_mean(series - reference, look_ahead=5)
    paired = paired_difference(series, reference, look_ahead=5, bootstrap=QUICK)
    assert paired.hac.p_value == pytest.approx(expected.p_value, rel=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "ir"])
def test_changing_sides_changes_signs_only(statistic: str) -> None:
    series, reference = a_pair(3)
    there = paired_difference(series, reference, statistic, bootstrap=QUICK)
    back = paired_difference(reference, series, statistic, bootstrap=QUICK)
    assert back.estimate == pytest.approx(-there.estimate, rel=1e-9)
    assert back.bootstrap.low == pytest.approx(-there.bootstrap.high, rel=1e-9)
    assert back.hac.p_value == pytest.approx(there.hac.p_value, rel=1e-9)
    assert back.bootstrap.p_value == there.bootstrap.p_value


def test_a_day_that_either_lacks_is_dropped_from_both() -> None:
    series, reference = a_pair(4)
    keep = np.ones(300, dtype=bool)
    keep[[3, 70, 71, 299]] = False
    holed, holed_reference = series.copy(), reference.copy()
    holed[[3, 70]], holed_reference[[70, 71, 299]] = np.nan, np.nan
    result = paired_difference(holed, holed_reference, bootstrap=QUICK)
    expected = paired_difference(series[keep], reference[keep], bootstrap=QUICK)
    assert (result.bootstrap.count, result.bootstrap.dropped, result.hac.dropped) == (296, 4, 4)
    assert (result.bootstrap.low, result.hac.t_value) == (expected.bootstrap.low, expected.hac.t_value)


@pytest.mark.parametrize("statistic", ["mean", "ir"])
def test_equal_series_differ_by_nothing_for_sure(statistic: str) -> None:
    series, _ = a_pair(5)
    same = paired_difference(series, series.copy(), statistic)
    assert same.estimate == same.bootstrap.low == same.bootstrap.high == 0.0
    assert math.isnan(same.hac.p_value)
    assert math.isnan(same.bootstrap.p_value)


def test_rounding_errors_are_no_variation() -> None:
    series, _ = a_pair(6)
    shifted = paired_difference(series + 0.1, series)
    assert shifted.estimate == pytest.approx(0.1)
    assert shifted.hac.standard_error == 0.0
    assert math.isnan(shifted.bootstrap.p_value)
    assert math.isnan(shifted.hac.p_value)
    assert paired_difference(2 * series, series, "ir").hac.standard_error == 0.0


def test_series_of_other_times_are_refused() -> None:
    series, reference = a_pair(7)
    with pytest.raises(DataError, match="same times"):
        paired_difference(series, reference[1:])
    with pytest.raises(DataError, match="same times"):
        paired_difference(series[1:], reference)
