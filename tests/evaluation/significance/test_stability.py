"""Sub-periods: the mean of each, and regimes that were known at the time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.hac import calendar_years, hac_mean, subperiod_stability, volatility_regimes
from tests.evaluation.significance.series import autoregressive


def test_each_year_is_tested_on_its_own() -> None:
    times = np.arange("2017-06-01", "2020-01-10", dtype="datetime64[D]").astype("datetime64[ns]")
    series = autoregressive(np.random.default_rng(1), (1, times.size), 0.5)[0]
    series[5] = np.nan
    years = calendar_years(times)
    periods = subperiod_stability(series, years, look_ahead=5)
    assert [p.label for p in periods] == ["2017", "2018", "2019", "2020"]
    assert sum(p.test.count for p in periods) == times.size - 1
    assert periods[0].test.dropped == 1
    assert periods[1].test == hac_mean(series[years == 2018], look_ahead=5)
    assert math.isfinite(periods[3].test.estimate)
    assert math.isnan(periods[3].test.p_value)  # nine days hold no three labels of five


def test_an_effect_of_one_regime_is_found_there_only() -> None:
    generator = np.random.default_rng(2)
    market = generator.standard_normal(1500) * np.repeat([0.01, 0.03, 0.02, 0.05, 0.01], 300)
    regimes = volatility_regimes(market)
    series = generator.standard_normal(1500) + 0.8 * (regimes == "turbulent")
    of = {p.label: p.test for p in subperiod_stability(series, regimes)}
    assert set(of) == {"calm", "normal", "turbulent", "undetermined"}
    assert of["turbulent"].p_value < 0.001
    assert of["turbulent"].estimate == pytest.approx(0.8, abs=0.2)
    assert abs(of["calm"].estimate) < 0.3


def test_regimes_are_thirds_of_the_known_past() -> None:
    market = np.random.default_rng(3).standard_normal(400)
    regimes = volatility_regimes(market, window=10, minimum_history=50)
    volatility = np.array([market[t - 9 : t + 1].std(ddof=1) if t >= 9 else np.nan for t in range(400)])
    for t in range(400):
        past = volatility[9:t]
        if past.size < 50:
            assert regimes[t] == "undetermined"
            continue
        share = np.mean(past < volatility[t])
        assert regimes[t] == ("calm" if share < 1 / 3 else "normal" if share < 2 / 3 else "turbulent")
    shares = [np.mean(regimes == name) for name in ("calm", "normal", "turbulent")]
    assert min(shares) > 0.15


@settings(derandomize=True, deadline=None, max_examples=20)
@given(cut=st.integers(1, 399), seed=st.integers(0, 100))
def test_no_later_return_moves_a_regime(cut: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    market = generator.standard_normal(400)
    other = market.copy()
    other[cut:] = 10 * generator.standard_normal(400 - cut)
    before, after = (volatility_regimes(m, window=5, minimum_history=30) for m in (market, other))
    np.testing.assert_array_equal(before[:cut], after[:cut])


def test_a_window_with_an_undefined_return_is_undetermined() -> None:
    market = np.random.default_rng(4).standard_normal(100)
    market[80] = np.nan
    regimes = volatility_regimes(market, window=5, minimum_history=10)
    assert set(regimes[80:85]) == {"undetermined"}
    assert regimes[85] != "undetermined"
    assert set(volatility_regimes(market[:3], window=5)) == {"undetermined"}
    assert set(volatility_regimes(np.zeros(100), window=5, minimum_history=10)[20:]) == {"normal"}


def test_impossible_groups_are_refused() -> None:
    with pytest.raises(DataError, match="one label"):
        subperiod_stability(np.zeros(5), np.zeros(4))
    for window, history in ((1, 240), (20, 2)):
        with pytest.raises(ConfigError, match="needs a past"):
            volatility_regimes(np.zeros(50), window, history)
