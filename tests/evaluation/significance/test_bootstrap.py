"""Bootstrap intervals: the law of the resamples, what they promise, and what they refuse."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from harness.errors import ConfigError, DataError
from harness.evaluation import formulas as metrics
from harness.evaluation.formulas import risk_analysis
from harness.evaluation.significance.bootstrap import (
    Bootstrap,
    Question,
    bootstrap_interval,
    bootstrap_intervals,
    chosen_block_length,
    smooth_statistic,
)
from harness.evaluation.significance.hac import cosine_basis, hac_mean
from harness.evaluation.significance.resampling import Falls, Moments, projector, resample
from tests.evaluation.significance.series import LOOK_AHEAD, Doubles, autoregressive, overlapping, plausible

QUICK = Bootstrap(repetitions=199)
STATISTICS: tuple[str, ...] = ("mean", "ir")


def a_series(seed: int = 0, count: int = 300, persistence: float = 0.6) -> Doubles:
    return autoregressive(np.random.default_rng(seed), (1, count), persistence)[0] * 0.1 + 0.02


def resamples_by_hand(count: int, block_length: float, repetitions: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    starts = generator.integers(count, size=(repetitions, count), dtype=np.int32)
    leaves = generator.random((repetitions, count), dtype=np.float32) < np.float32(1 / block_length)
    rows = np.empty((repetitions, count), dtype=np.int64)
    for r in range(repetitions):
        for t in range(count):
            rows[r, t] = starts[r, t] if t == 0 or leaves[r, t] else (rows[r, t - 1] + 1) % count
    return rows


def resampled_moments(
    moments: Doubles, degrees: int, *, block_length: float, repetitions: int, seed: int
) -> tuple[Doubles, Doubles]:
    kept = Moments(moments, degrees, block_length, repetitions)
    resample([kept], repetitions=repetitions, seed=seed)
    return kept.means, kept.projections


def resampled_drawdowns(returns: Doubles, *, block_length: float, repetitions: int, seed: int) -> Doubles:
    kept = Falls(returns, block_length, repetitions)
    resample([kept], repetitions=repetitions, seed=seed)
    return kept.falls


def test_a_resample_is_made_of_wrapped_blocks() -> None:
    series = a_series(1, 60)
    moments, basis = np.stack((series, series**2), axis=1), cosine_basis(60, 4)
    rows = resamples_by_hand(60, 7.5, 20, seed=3)
    means, projections = resampled_moments(moments, 4, block_length=7.5, repetitions=20, seed=3)
    np.testing.assert_allclose(means, moments[rows].mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(projections, np.einsum("rtk,tj->rkj", moments[rows], basis), atol=1e-12)
    paths = np.cumsum(series[rows], axis=1)
    falls = (paths - np.maximum.accumulate(paths, axis=1)).min(axis=1)
    np.testing.assert_allclose(resampled_drawdowns(series, block_length=7.5, repetitions=20, seed=3), falls, rtol=1e-12)


@pytest.mark.parametrize(("count", "degrees"), [(3001, 48), (5000, 30), (4001, 47)])
def test_projecting_through_nodes_changes_nothing_but_rounding(count: int, degrees: int) -> None:
    assert projector(count, degrees)[0].shape[1] < degrees
    series = a_series(4, count) + 5.0
    rows = resamples_by_hand(count, 7.5, 3, seed=3)
    means, projections = resampled_moments(series[:, None], degrees, block_length=7.5, repetitions=3, seed=3)
    exact = series[rows] @ cosine_basis(count, degrees)
    np.testing.assert_allclose(projections[:, 0], exact, atol=1e-12 * np.abs(series).max() * math.sqrt(count))
    np.testing.assert_allclose(means[:, 0], series[rows].mean(axis=1), rtol=1e-13)


def test_no_bit_depends_on_threads_or_on_what_else_is_resampled() -> None:
    series, other = a_series(5, 3000), a_series(6, 3000)
    alone = Moments(series[:, None], 48, 7.5, 20)
    resample([alone], repetitions=20, seed=1)
    again = Moments(series[:, None], 48, 7.5, 20)
    with threadpool_limits(2):
        resample([Moments(other[:, None], 12, 3.0, 20), again, Falls(other, 2.0, 20)], repetitions=20, seed=1)
    assert (alone.means == again.means).all()
    assert (alone.projections == again.projections).all()


def test_resampled_means_vary_as_politis_and_romano_derive() -> None:
    series, length = a_series(2, 200), 12.0
    deviations = series - series.mean()
    circular = [float(deviations @ np.roll(deviations, -k)) / 200 for k in range(200)]
    stay = 1 - 1 / length
    # two draws k apart lie in one block with probability (1 − p)^k, and are independent otherwise
    exact = (circular[0] + sum(2 * (1 - k / 200) * stay**k * circular[k] for k in range(1, 200))) / 200
    means, _ = resampled_moments(series[:, None], 1, block_length=length, repetitions=40_000, seed=0)
    assert means.mean() == pytest.approx(series.mean(), abs=4 * math.sqrt(exact / 40_000))
    assert means.var() == pytest.approx(exact, rel=0.03)


def test_resampled_means_have_the_law_of_arch() -> None:
    series = a_series(3, 200)
    ours, _ = resampled_moments(series[:, None], 1, block_length=15.0, repetitions=8000, seed=1)
    peer = StationaryBootstrap(15, series, seed=1).apply(np.mean, 8000)[:, 0]
    shares = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
    np.testing.assert_allclose(np.quantile(ours[:, 0], shares), np.quantile(peer, shares), atol=0.06 * peer.std())


def test_long_series_are_drawn_in_pieces() -> None:
    series = np.random.default_rng(4).standard_normal(400_000)
    means, _ = resampled_moments(series[:, None], 1, block_length=5.0, repetitions=5, seed=0)
    assert np.unique(means).size == 5
    np.testing.assert_allclose(means, series.mean(), atol=0.02)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("n", [10, 11, 25, 59, 240, 1001])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of arch, where a series is too short
def test_the_block_length_has_the_bits_of_that_of_arch(n: int, rounded: bool) -> None:
    drawn = np.random.default_rng(n).standard_normal((n, 3))
    for at in range(1, n):
        drawn[at] += np.array([0.0, 0.5, 0.95]) * drawn[at - 1]
    series = np.round(drawn) if rounded else drawn
    with threadpool_limits(1, "blas"):
        theirs = optimal_block_length(series)["stationary"].to_numpy()
        ours = np.array([chosen_block_length(column) for column in series.T])
    np.testing.assert_array_equal(ours, theirs)


def test_the_block_length_lies_between_the_overlap_and_a_third() -> None:
    series = a_series(5)
    automatic = float(optimal_block_length(series)["stationary"].iloc[0])
    assert 1 < automatic < 100
    assert bootstrap_interval(series, bootstrap=QUICK).block_length == automatic
    assert Bootstrap().block_length_of(series, 40) == 40
    assert Bootstrap().block_length_of(series, 200) == 100
    assert bootstrap_interval(series, bootstrap=Bootstrap(block_length=17.5)).block_length == 17.5
    both = np.stack((series, np.random.default_rng(0).standard_normal(300)), axis=1)
    assert Bootstrap().block_length_of(both, 1) == automatic


def test_statistics_and_gradients_agree_with_plain_formulas() -> None:
    series, other = a_series(6), a_series(7) * 2
    assert smooth_statistic(series, "mean").estimate() == pytest.approx(metrics.mean(series), rel=1e-12)
    assert smooth_statistic(series, "ir").estimate() == pytest.approx(metrics.ir(series), rel=1e-12)
    difference = smooth_statistic(series, "ir", other)
    assert difference.estimate() == pytest.approx(metrics.ir(series) - metrics.ir(other), rel=1e-12)
    centre, step = difference.moments.mean(axis=0), 1e-6
    numeric = [
        (difference.value(centre + step * e) - difference.value(centre - step * e)) / (2 * step) for e in np.eye(4)
    ]
    np.testing.assert_allclose(difference.gradient(centre), numeric, rtol=1e-6)
    linear = (difference.moments - centre) @ difference.gradient(centre)
    np.testing.assert_allclose(difference.influence, linear, atol=1e-10)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(30, 200),
    persistence=st.floats(0.0, 0.9),
    statistic=st.sampled_from(STATISTICS),
    level=st.sampled_from([0.5, 0.9, 0.95]),
)
def test_an_interval_contains_its_estimate_and_agrees_with_its_p_value(
    seed: int, count: int, persistence: float, statistic: str, level: float
) -> None:
    interval = bootstrap_interval(
        a_series(seed, count, persistence), statistic, bootstrap=Bootstrap(repetitions=199, level=level)
    )
    assert interval.low < interval.estimate < interval.high
    assert (interval.low > 0 or interval.high < 0) == (interval.p_value <= 1 - level + 1e-12)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100), shift=st.floats(-5, 5), sign=st.sampled_from([-1, 1]))
def test_an_interval_moves_with_shift_and_scale(seed: int, factor: float, shift: float, sign: int) -> None:
    series = a_series(seed)
    plain = bootstrap_interval(series, bootstrap=QUICK)
    moved = bootstrap_interval(sign * factor * series + shift, bootstrap=QUICK)
    expected = plain.scaled(sign * factor)
    assert moved.low == pytest.approx(expected.low + shift, abs=1e-9 * (1 + factor))
    assert moved.high == pytest.approx(expected.high + shift, abs=1e-9 * (1 + factor))
    ratio = bootstrap_interval(series, "ir", bootstrap=QUICK)
    rescaled = bootstrap_interval(sign * factor * series, "ir", bootstrap=QUICK).scaled(sign)
    assert (rescaled.low, rescaled.high) == pytest.approx((ratio.low, ratio.high), rel=1e-9)


def test_seeds_reproduce_bits() -> None:
    series = a_series(8)
    assert bootstrap_interval(series, "ir") == bootstrap_interval(series.copy(), "ir", bootstrap=Bootstrap(seed=0))
    assert bootstrap_interval(series).low != bootstrap_interval(series, bootstrap=Bootstrap(seed=1)).low
    once, again = bootstrap_interval(series, "drawdown"), bootstrap_interval(series, "drawdown")
    assert (once.low, once.high) == (again.low, again.high)


def test_more_repetitions_settle_the_bounds() -> None:
    series = a_series(9)
    bounds = [
        [bootstrap_interval(series, bootstrap=Bootstrap(seed, repetitions)).high for seed in range(10)]
        for repetitions in (199, 3999)
    ]
    assert np.std(bounds[1]) < 0.5 * np.std(bounds[0])


@pytest.mark.parametrize("statistic", STATISTICS)
def test_undefined_values_are_dropped_and_counted(statistic: str) -> None:
    series = a_series(10)
    holes = np.insert(series, [0, 50, 300], np.nan)
    interval, full = (bootstrap_interval(s, statistic, bootstrap=QUICK) for s in (holes, series))
    assert (interval.count, interval.dropped) == (300, 3)
    assert (interval.low, interval.high, interval.p_value) == (full.low, full.high, full.p_value)


def test_the_standard_error_is_that_of_the_hac_test() -> None:
    series = a_series(11)
    interval, test = bootstrap_interval(series, look_ahead=5, bootstrap=QUICK), hac_mean(series, look_ahead=5)
    assert interval.standard_error == pytest.approx(test.standard_error, rel=1e-12)
    assert interval.degrees == test.degrees


def test_a_constant_is_sure_of_its_mean_and_has_no_ratio() -> None:
    interval = bootstrap_interval(np.full(80, 0.1))
    assert interval.low == interval.estimate == interval.high == pytest.approx(0.1)
    assert interval.standard_error == 0.0
    assert math.isnan(interval.p_value)
    assert math.isnan(bootstrap_interval(np.full(80, 0.1), "ir").estimate)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("count", [0, 1, 7, 104])
def test_a_series_too_short_for_its_overlap_has_no_interval(statistic: str, count: int) -> None:
    interval = bootstrap_interval(a_series(12)[:count], statistic, look_ahead=LOOK_AHEAD)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.count == count
    assert math.isfinite(bootstrap_interval(a_series(12)[:105], statistic, look_ahead=LOOK_AHEAD).low)


def test_a_scaled_interval_is_that_of_the_multiple() -> None:
    interval = bootstrap_interval(a_series(13), bootstrap=QUICK)
    negative = interval.scaled(-2.0)
    assert (negative.low, negative.high) == (-2 * interval.high, -2 * interval.low)
    assert negative.standard_error == 2 * interval.standard_error
    assert negative.p_value == interval.p_value


def test_a_drawdown_interval_surrounds_what_reordered_days_bring() -> None:
    returns = np.random.default_rng(14).standard_normal(500) * 0.01
    interval = bootstrap_interval(returns, "drawdown")
    assert interval.estimate == pytest.approx(risk_analysis(returns, 252).max_drawdown, rel=1e-12)
    assert interval.low < interval.high <= 0.0
    assert interval.low < interval.estimate < interval.high
    assert math.isnan(bootstrap_interval(returns[:5], "drawdown").low)
    assert math.isnan(bootstrap_interval(np.array([]), "drawdown").estimate)


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"seed": -1}, {"repetitions": 0}, {"level": 1.0}, {"block_length": 0.5}):
        with pytest.raises(ConfigError, match=r"out of range|more repetitions"):
            Bootstrap(**wrong)
    with pytest.raises(ConfigError, match=r"out of range|more repetitions") as few:
        Bootstrap(repetitions=50, level=0.99)
    assert few.value.where == "bootstrap.repetitions"
    assert Bootstrap(repetitions=19).rank == 19
    with pytest.raises(ConfigError, match="Unknown statistic"):
        bootstrap_interval(a_series(), "median")
    with pytest.raises(DataError, match="infinite"):
        bootstrap_interval(np.append(a_series(), -np.inf))


def test_the_statistics_libraries_are_imported_when_first_needed() -> None:
    slow = "{'arch', 'statsmodels', 'scipy.special', 'pandas'}"
    code = f"import harness.evaluation.significance, sys; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def coverage(statistic: str, repetitions: int, truth: float, series: Doubles) -> float:
    inside = 0
    for row in series[:repetitions]:
        interval = bootstrap_interval(row, statistic, bootstrap=QUICK, look_ahead=LOOK_AHEAD)
        inside += interval.low <= truth <= interval.high
    return inside / repetitions


@pytest.mark.parametrize("statistic", STATISTICS)
def test_intervals_of_overlapping_labels_cover_the_truth(statistic: str) -> None:
    truth = 0.3 * (np.sqrt(20) if statistic == "mean" else 1.0)
    series = overlapping(np.random.default_rng(15), (100, 860)) + 0.3 * np.sqrt(20)
    low, high = plausible(0.93, 0.97, 100)
    assert low <= coverage(statistic, 100, truth, series) <= high


@pytest.mark.nightly
@pytest.mark.parametrize("statistic", STATISTICS)
def test_intervals_cover_the_truth_within_two_points(statistic: str) -> None:
    truth = 0.3 * (np.sqrt(20) if statistic == "mean" else 1.0)
    series = overlapping(np.random.default_rng(16), (1000, 860)) + 0.3 * np.sqrt(20)
    assert abs(coverage(statistic, 1000, truth, series) - 0.95) <= 0.02


@pytest.mark.parametrize("statistic", ["mean", "ir", "root", "skill", "drawdown"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_series_without_values_has_no_interval_and_warns_of_nothing(statistic: str, count: int) -> None:
    nothing = np.full(count, np.nan)
    base = nothing if statistic == "skill" else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = bootstrap_intervals([Question(nothing, statistic, 2, base=base)], Bootstrap())
    assert np.isnan([found.estimate, found.low, found.high]).all()
