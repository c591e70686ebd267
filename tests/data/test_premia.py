from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.data.sources.synthetic import autoregression, draw_premia

LONG, AHEAD = 60_000, 40


def _draw(drift, times=LONG, *, stable=0.25, scale=20.0, seed=3):
    paid, expected = draw_premia(drift, (times, AHEAD, 3), stable, scale, np.random.default_rng(seed))
    return SimpleNamespace(paid=paid, expected=expected)


@pytest.mark.parametrize("drift", ["none", "gradual", "recurring", "abrupt"])
def test_premia_have_the_promised_mean_square(drift):
    assert (_draw(drift).paid ** 2).sum(axis=1).mean() == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("drift", ["gradual", "abrupt"])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_expectation_is_unbiased_and_its_error_cannot_be_foreseen(drift, k):
    # Least squares of what was paid k steps later on what was expected must give slope 1 and intercept 0. With a time
    # scale of 20 steps, 60,000 steps and 3 factors hold some thousands of independent stretches: errors of about 0.03.
    premia = _draw(drift)
    expected = premia.expected[:-AHEAD, k - 1].ravel()
    paid = premia.paid[k : LONG - AHEAD + k].ravel()
    slope, intercept = np.polyfit(expected, paid, 1)
    assert slope == pytest.approx(1.0, abs=0.1)
    assert intercept == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("drift", ["none", "recurring"])
def test_a_deterministic_drift_is_expected_as_it_comes(drift):
    premia = _draw(drift, times=300)
    for k in (1, 7, AHEAD):
        np.testing.assert_array_equal(premia.expected[: 300 - k, k - 1], premia.paid[k:])


def test_premia_without_drift_never_change():
    assert (np.ptp(_draw("none").paid, axis=0) == 0).all()


def test_an_abrupt_drift_stands_still_between_rare_jumps():
    jumps = (np.diff(_draw("abrupt").paid, axis=0) != 0).any(axis=1)
    assert jumps.mean() == pytest.approx(1 / 20, abs=0.005)


def test_a_gradual_drift_keeps_half_of_itself_after_its_time_scale():
    moving = _draw("gradual", stable=0.0).paid
    lagged = (moving[20:] * moving[:-20]).mean() / (moving**2).mean()
    assert lagged == pytest.approx(0.5, abs=0.06)


def test_recurring_premia_have_periods_of_their_own():
    wave = _draw("recurring", stable=0.0, times=24_000).paid
    strongest = np.abs(np.fft.rfft(wave, axis=0)).argmax(axis=0)
    np.testing.assert_allclose(24_000 / strongest, 20 * np.geomspace(1.5, 4.0, 3), rtol=0.01)


def test_a_stable_share_of_one_removes_every_drift():
    assert (np.ptp(_draw("gradual", stable=1.0).paid, axis=0) == 0).all()


def test_an_autoregression_is_standard_normal_from_its_first_step_on():
    paths = autoregression(0.9, np.random.default_rng(0).standard_normal((30, 40_000)))
    np.testing.assert_allclose(paths.var(axis=1), 1.0, atol=0.04)
    step = (paths[1:] * paths[:-1]).mean()
    assert step == pytest.approx(0.9, abs=0.01)
