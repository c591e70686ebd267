"""The way of an account, its falls and its months, each against pandas or by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.evaluation.portfolio.performance import (
    Fall,
    accumulated,
    by_month,
    drawdown,
    falls,
    rolling_beta,
    rolling_ratio,
)

TIMES = pd.bdate_range("2019-11-20", periods=300)
RETURNS, BENCHMARK = np.random.default_rng(0).normal(0.0005, 0.01, (2, 300))


def test_compounded_returns_multiply_and_their_drawdown_is_relative() -> None:
    value = accumulated(np.array([0.1, np.nan, -0.5]), compounds=True)
    np.testing.assert_allclose(value, [0.1, 0.1, -0.45])
    np.testing.assert_allclose(drawdown(value, compounds=True), [0.0, 0.0, -0.5])


def test_summed_returns_add_and_a_loss_from_the_start_is_a_drawdown() -> None:
    value = accumulated(np.array([-0.1, 0.3, -0.2]), compounds=False)
    np.testing.assert_allclose(value, [-0.1, 0.2, 0.0], atol=1e-15)
    np.testing.assert_allclose(drawdown(value, compounds=False), [-0.1, 0.0, -0.2])


def test_falls_are_the_stretches_below_a_peak_deepest_first_and_the_last_may_not_be_over() -> None:
    below = np.array([0.0, -0.1, -0.3, 0.0, 0.0, -0.2, 0.0, -0.5, -0.4])
    assert falls(below, 9) == [Fall(7, 7, None, -0.5), Fall(1, 2, 3, -0.3), Fall(5, 5, 6, -0.2)]
    assert falls(below, 1) == [Fall(7, 7, None, -0.5)]
    assert falls(np.zeros(3), 5) == []


@pytest.mark.parametrize("compounds", [False, True])
def test_the_deepest_fall_is_the_largest_drawdown(compounds: bool) -> None:
    below = drawdown(accumulated(RETURNS, compounds=compounds), compounds=compounds)
    assert falls(below, 1)[0].depth == below.min()


@pytest.mark.parametrize(
    ("how", "reduce"),
    [("mean", lambda s: s.mean()), ("sum", lambda s: s.sum(min_count=1)), ("product", lambda s: (1 + s).prod() - 1)],
)
def test_months_and_years_are_those_of_pandas(how, reduce) -> None:
    series = pd.Series(RETURNS.copy(), TIMES)
    series[:4] = np.nan
    years, months, whole = by_month(TIMES.to_numpy(), series.to_numpy(), how)
    assert years == [2019, 2020, 2021]
    keys = {(int(day.year), int(day.month)) for day in TIMES}
    in_month = {key: (TIMES.year == key[0]) & (TIMES.month == key[1]) for key in keys}
    expected = {key: reduce(series[days].dropna()) for key, days in in_month.items()}
    assert np.isfinite(months).sum() == len(expected)
    for (year, month), value in expected.items():
        assert months[years.index(year), month - 1] == pytest.approx(value)
    np.testing.assert_allclose(whole, [reduce(series[str(year)].dropna()) for year in years])


def test_a_month_without_a_value_stays_empty() -> None:
    times = np.array(["2019-11-05", "2019-11-06", "2020-01-02"], dtype="datetime64[ns]")
    years, means, whole = by_month(times, np.array([0.1, 0.3, np.nan]), "mean")
    assert years == [2019, 2020]
    assert means[0, 10] == pytest.approx(0.2)
    assert np.isnan(np.delete(means.ravel(), 10)).all()
    np.testing.assert_allclose(whole, [0.2, np.nan])


def test_a_rolling_ratio_is_mean_over_deviation_of_the_last_returns_annualised() -> None:
    found = rolling_ratio(RETURNS, 60, 252)
    assert np.isnan(found[:59]).all()
    for at in (59, 200, 299):
        last = RETURNS[at - 59 : at + 1]
        assert found[at] == pytest.approx(last.mean() / last.std(ddof=1) * 252**0.5)
    assert np.isnan(rolling_ratio(np.zeros(80), 60, 252)).all()


def test_a_rolling_beta_is_the_slope_of_a_line_through_the_last_returns() -> None:
    own = 0.5 * BENCHMARK + RETURNS
    own[-1] = np.nan
    found = rolling_beta(own, BENCHMARK, 60)
    for at in (59, 200, 298):
        last = slice(at - 59, at + 1)
        assert found[at] == pytest.approx(np.polyfit(BENCHMARK[last], own[last], 1)[0])
    assert np.isnan(found[[*range(59), 299]]).all()
    assert np.isnan(rolling_beta(own, np.zeros(300), 60)).all()
