"""The deflated Sharpe ratio: the paper's own numbers, and what selection does to honest ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import ConfigError
from harness.evaluation.significance.selection import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
)


def test_the_example_of_the_paper() -> None:
    # Bailey & López de Prado (2014), numerical example: five years of daily returns, annualised Sharpe ratio 2.5,
    # annualised variance over trials 1/2, skewness −3, kurtosis 10.
    sharpe, variance, days = 2.5 / math.sqrt(250), 0.5 / 250, 1250
    assert expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    deflated = {
        trials: probabilistic_sharpe_ratio(sharpe, expected_maximum_sharpe(trials, variance), days, -3.0, 10.0)
        for trials in (46, 100)
    }
    assert deflated[100] == pytest.approx(0.9004, abs=5e-5)
    assert deflated[46] == pytest.approx(0.9505, abs=5e-5)
    normal = probabilistic_sharpe_ratio(sharpe, expected_maximum_sharpe(88, variance), days)
    assert normal == pytest.approx(0.9505, abs=5e-5)


def test_the_record_follows_the_formula() -> None:
    returns = np.random.default_rng(1).standard_t(5, 400) * 0.01 + 0.001
    trial_sharpes = np.array([0.01, 0.05, -0.02, 0.1])
    result = deflated_sharpe_ratio(returns, trial_sharpes, trials=20)
    sharpe = returns.mean() / returns.std(ddof=1)
    skewness, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    high, higher = stats.norm.ppf([1 - 1 / 20, 1 - 1 / (20 * math.e)])
    threshold = trial_sharpes.std(ddof=1) * ((1 - np.euler_gamma) * high + np.euler_gamma * higher)
    z = (sharpe - threshold) * math.sqrt(399) / math.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    assert result.sharpe == pytest.approx(sharpe, rel=1e-12)
    assert result.threshold == pytest.approx(threshold, rel=1e-12)
    assert (result.skewness, result.kurtosis) == pytest.approx((skewness, kurtosis), rel=1e-10)
    assert result.probability == pytest.approx(stats.norm.cdf(z), rel=1e-10)


@pytest.mark.parametrize("trials", [10, 100, 1000])
def test_chance_alone_reaches_the_threshold_on_average(trials: int) -> None:
    best = np.random.default_rng(2).standard_normal((2000, trials)).max(axis=1).mean()
    assert expected_maximum_sharpe(trials, 1.0) == pytest.approx(best, rel=0.03)
    assert expected_maximum_sharpe(trials, 4.0) == pytest.approx(2 * expected_maximum_sharpe(trials, 1.0))


def test_more_trials_make_a_ratio_less_believable() -> None:
    returns = np.random.default_rng(3).standard_normal(500) * 0.01 + 0.001
    sharpes = np.array([0.0, 0.05, 0.1])
    probabilities = [deflated_sharpe_ratio(returns, sharpes, trials).probability for trials in (3, 10, 100, 1000)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert expected_maximum_sharpe(1, 1.0) == 0.0


def test_the_best_of_many_worthless_strategies_is_seen_through() -> None:
    generator = np.random.default_rng(4)
    believed = naive = 0
    for _ in range(100):
        returns = generator.standard_normal((500, 50))
        sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        best = deflated_sharpe_ratio(returns[:, sharpes.argmax()], sharpes)
        believed += best.probability > 0.95
        naive += probabilistic_sharpe_ratio(best.sharpe, 0.0, 500) > 0.95
    assert naive >= 80
    assert believed <= 10


def test_undefined_values_are_dropped_and_counted() -> None:
    returns = np.random.default_rng(5).standard_normal(100)
    sharpes = np.array([0.1, np.nan, 0.2])
    result = deflated_sharpe_ratio(np.insert(returns, 3, np.nan), sharpes)
    assert (result.count, result.dropped, result.trials) == (100, 1, 2)
    assert result.probability == deflated_sharpe_ratio(returns, sharpes[[0, 2]]).probability
    assert math.isnan(deflated_sharpe_ratio(np.full(100, 0.01), sharpes).probability)


def test_impossible_trials_are_refused() -> None:
    returns = np.random.default_rng(6).standard_normal(100)
    for sharpes, trials in ((np.array([0.1]), 5), (np.array([0.1, 0.2, 0.3]), 2)):
        with pytest.raises(ConfigError, match="spread over the trials"):
            deflated_sharpe_ratio(returns, sharpes, trials)
    with pytest.raises(ConfigError, match="Impossible trials"):
        expected_maximum_sharpe(0, 1.0)
    with pytest.raises(ConfigError, match="Impossible trials"):
        expected_maximum_sharpe(3, math.nan)
    assert math.isnan(probabilistic_sharpe_ratio(1.0, 0.0, 100, skewness=5.0, kurtosis=1.0))
