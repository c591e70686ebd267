"""HAC t-values: against statsmodels, against formulas, and under every odd input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.hac import HacTest, Method, cosine_basis, cumulative_difference, hac_mean
from tests.evaluation.significance.series import Doubles, autoregressive

METHODS: tuple[Method, ...] = ("cosine", "newey_west", "harvey")


def a_series(seed: int = 0, count: int = 300, persistence: float = 0.6) -> Doubles:
    return autoregressive(np.random.default_rng(seed), (1, count), persistence)[0] * 0.1 + 0.02


def test_the_cosine_t_value_follows_student() -> None:
    series = a_series()
    test = hac_mean(series)
    error = np.sqrt(np.mean((cosine_basis(300, test.degrees).T @ series) ** 2) / 300)
    assert test.standard_error == pytest.approx(error, rel=1e-10)
    assert test.t_value == pytest.approx(series.mean() / error, rel=1e-10)
    assert test.p_value == pytest.approx(2 * stats.t.sf(abs(test.t_value), test.degrees), rel=1e-10)


@pytest.mark.parametrize("lags", [0, 5, 21])
def test_newey_west_is_that_of_statsmodels(lags: int) -> None:
    series = a_series(1)
    fit = OLS(series, np.ones_like(series)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )
    test = hac_mean(series, method="newey_west", lags=lags)
    assert test.standard_error == pytest.approx(fit.bse[0], rel=1e-10)
    assert test.p_value == pytest.approx(fit.pvalues[0], rel=1e-8)
    assert test.degrees == 299


def test_newey_west_takes_its_lags_from_the_overlap_or_the_length() -> None:
    series = a_series(2)
    assert hac_mean(series, method="newey_west") == hac_mean(series, method="newey_west", lags=5)
    by_overlap = hac_mean(series, look_ahead=21, method="newey_west")
    assert by_overlap == hac_mean(series, look_ahead=21, method="newey_west", lags=20)


def test_harvey_scales_newey_west_for_small_samples() -> None:
    series, h = a_series(3, 100), 5
    scale = math.sqrt((100 + 1 - 2 * h + h * (h - 1) / 100) / 100)
    plain = hac_mean(series, look_ahead=h, method="newey_west", lags=h - 1)
    assert hac_mean(series, look_ahead=h, method="harvey").t_value == pytest.approx(plain.t_value * scale, rel=1e-12)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 50), factor=st.floats(0.01, 100.0), sign=st.sampled_from([-1, 1]))
def test_scaling_a_series_moves_no_t_value(seed: int, factor: float, sign: int) -> None:
    series = a_series(seed)
    for method in METHODS:
        plain, scaled = hac_mean(series, method=method), hac_mean(series * factor * sign, method=method)
        assert scaled.t_value == pytest.approx(plain.t_value * sign, rel=1e-9)
        assert scaled.standard_error == pytest.approx(plain.standard_error * factor, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_shifting_a_series_moves_no_standard_error(method: Method) -> None:
    series = a_series(4)
    plain, shifted = hac_mean(series, method=method), hac_mean(series + 3.0, method=method)
    assert shifted.standard_error == pytest.approx(plain.standard_error, rel=1e-9)
    assert shifted.estimate == pytest.approx(plain.estimate + 3.0, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_undefined_values_are_dropped_and_counted(method: Method) -> None:
    series = a_series(5)
    holes = np.insert(series, [0, 10, 10, 200, 300], np.nan)
    test, full = hac_mean(holes, method=method), hac_mean(series, method=method)
    assert (test.count, test.dropped) == (300, 5)
    assert (test.estimate, test.t_value, test.p_value) == (full.estimate, full.t_value, full.p_value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_a_constant_has_no_t_value(method: Method, value: float) -> None:
    test = hac_mean(np.full(50, value), method=method)
    assert test.estimate == pytest.approx(value)
    assert test.standard_error == 0.0
    assert math.isnan(test.t_value)
    assert math.isnan(test.p_value)


@pytest.mark.parametrize(("count", "look_ahead"), [(0, 1), (7, 1), (104, 21)])
def test_a_series_too_short_for_its_overlap_is_not_tested(count: int, look_ahead: int) -> None:
    series = a_series(6)[:count]
    test = hac_mean(series, look_ahead=look_ahead)
    assert math.isnan(test.p_value)
    assert test.count == count
    assert math.isnan(test.estimate) == (count == 0)
    assert math.isfinite(hac_mean(a_series(6)[:105], look_ahead=21).p_value)


def test_only_what_can_be_tested_is_accepted() -> None:
    series = a_series(7)
    with pytest.raises(ConfigError, match="Unknown method") as unknown:
        hac_mean(series, method="newey-west")  # type: ignore[arg-type]
    assert unknown.value.hint == "did you mean `newey_west`?"
    with pytest.raises(ConfigError, match="Lags belong to Newey–West"):
        hac_mean(series, lags=3)
    with pytest.raises(ConfigError, match="look-ahead"):
        hac_mean(series, look_ahead=0)
    with pytest.raises(DataError, match="infinite"):
        hac_mean(np.append(series, np.inf))


def test_records_with_equal_content_are_equal() -> None:
    assert hac_mean(a_series(8)) == hac_mean(a_series(8))
    assert isinstance(hac_mean(a_series(8)), HacTest)


def test_a_summed_difference_ends_at_the_sum_with_a_band_that_agrees_with_the_test() -> None:
    ours, base = a_series(1), a_series(2)
    ours[[3, 40]] = np.nan
    value, half = cumulative_difference(ours, base, look_ahead=5)
    test = hac_mean(ours - base, look_ahead=5)
    np.testing.assert_allclose(value, np.cumsum(np.nan_to_num(ours - base)))
    assert half[-1] == pytest.approx(stats.t.ppf(0.975, test.degrees) * test.standard_error * test.count)
    assert half[99] / half[-1] == pytest.approx(np.sqrt(98 / 298))  # of the pairs up to there, two are undefined


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.2])
def test_a_band_leaves_zero_out_exactly_when_the_test_rejects(shift: float) -> None:
    ours, base = a_series(1) + shift, a_series(2)
    value, half = cumulative_difference(ours, base)
    assert (abs(value[-1]) > half[-1]) == (hac_mean(ours - base).p_value < 0.05)


def test_a_difference_that_cannot_be_tested_has_no_band() -> None:
    value, half = cumulative_difference(a_series(1)[:20], a_series(2)[:20], look_ahead=21)
    assert np.isfinite(value).all()
    assert np.isnan(half).all()
