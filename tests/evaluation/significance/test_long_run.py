"""The cosine estimator: its formula, its number of cosines, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from harness.evaluation.significance.hac import (
    MOST,
    cosine_basis,
    cosine_degrees,
    long_run_variance,
    spectral_curvature,
)
from tests.evaluation.significance.series import LOOK_AHEAD, Doubles, autoregressive, overlapping


def test_the_cosines_are_orthonormal_and_blind_to_the_level() -> None:
    basis = cosine_basis(101, 12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=0), 0.0, atol=1e-12)


def test_the_variance_is_the_mean_square_of_the_projections() -> None:
    series = np.random.default_rng(1).standard_normal(90).cumsum()
    projections = [
        np.sqrt(2 / 90) * sum(x * np.cos(np.pi * j * (t + 0.5) / 90) for t, x in enumerate(series)) for j in (1, 2, 3)
    ]
    assert long_run_variance(series, 3) == pytest.approx(np.mean(np.square(projections)), rel=1e-12)


def flat_top_by_hand(series: Doubles) -> float:
    count = len(series)
    deviations = [x - sum(series) / count for x in series]
    gamma = [sum(deviations[t] * deviations[t - k] for t in range(k, count)) for k in range(int(3 * count**0.5) + 1)]
    rho = [g / gamma[0] for g in gamma]
    border = 2 * (np.log10(count) / count) ** 0.5
    last = next(k for k in range(len(rho)) if all(abs(r) < border for r in rho[k + 1 : k + 6]))
    span = min(2 * max(last, 1), len(rho) - 1)
    window = [1.0 if k <= span / 2 else 2 * (1 - k / span) for k in range(span + 1)]
    level = 1 + 2 * sum(window[k] * rho[k] for k in range(1, span + 1))
    return sum(window[k] * k**2 * rho[k] for k in range(1, span + 1)) / level


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.8])
def test_the_curvature_is_that_of_a_flat_top_window(persistence: float) -> None:
    series = autoregressive(np.random.default_rng(2), (1, 250), persistence)[0]
    assert spectral_curvature(series) == pytest.approx(flat_top_by_hand(series), rel=1e-10)


def test_the_curvature_approaches_the_truth() -> None:
    generator = np.random.default_rng(3)
    assert spectral_curvature(autoregressive(generator, (1, 100_000), 0.8)[0]) == pytest.approx(0.8 / 0.04, rel=0.2)
    assert spectral_curvature(overlapping(generator, (1, 100_000))[0]) == pytest.approx((20**2 - 1) / 12, rel=0.2)


def test_persistence_leaves_fewer_cosines() -> None:
    generator = np.random.default_rng(4)
    white, persistent = (autoregressive(generator, (50, 860), rho) for rho in (0.0, 0.9))
    assert {cosine_degrees(series, 1) for series in white} == {int(0.4 * 860 ** (2 / 3))}
    assert 5 <= np.median([cosine_degrees(series, 1) for series in persistent]) <= 25


def test_the_overlap_caps_the_cosines_whatever_the_data_say() -> None:
    white = np.random.default_rng(5).standard_normal(860)
    assert cosine_degrees(white, LOOK_AHEAD) == int(860 / np.pi * np.sqrt(3 * 0.05 / ((LOOK_AHEAD**2 - 1) / 12)))
    assert cosine_degrees(np.random.default_rng(6).standard_normal(5000), 1) == MOST


@pytest.mark.parametrize("persistence", [0.0, 0.9])
def test_the_variance_is_nearly_unbiased(persistence: float) -> None:
    many = autoregressive(np.random.default_rng(7), (400, 860), persistence)
    estimates = [long_run_variance(series, cosine_degrees(series, 1)) for series in many]
    assert 0.85 <= np.mean(estimates) * (1 - persistence) ** 2 <= 1.1
