"""The model confidence set keeps the best and loses the rest."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from arch.bootstrap import MCS

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.bootstrap import Bootstrap, paired_difference
from harness.evaluation.significance.selection import Method, model_confidence_set
from tests.evaluation.significance.series import LOOK_AHEAD, Doubles, autoregressive, overlapping, plausible

NAMES = ("a", "b", "c", "d", "e")
QUICK = Bootstrap(repetitions=200)


def some_losses(seed: int, count: int = 300, spread: float = 0.0, persistence: float = 0.5) -> Doubles:
    """(S, 5) losses with a common movement; the first model is the best by `spread`."""
    noise = autoregressive(np.random.default_rng(seed), (6, count), persistence)
    return (noise[:5] + 2 * noise[5]).T + spread * (np.arange(5) > 0)


@pytest.mark.parametrize("method", ["R", "max"])
def test_the_published_set_is_that_of_arch(method: Literal["R", "max"]) -> None:
    losses = some_losses(1, spread=0.2)
    ours = model_confidence_set(losses, NAMES, bootstrap=Bootstrap(repetitions=500, block_length=9), method=method)
    peer = MCS(losses, 0.10, reps=500, block_size=9, method=method, seed=0)
    peer.compute()
    assert ours.names == tuple(NAMES[i] for i in peer.pvalues.index)
    assert ours.p_values == tuple(peer.pvalues["Pvalue"])
    assert set(ours.included) == {name for i, name in enumerate(NAMES) if i in peer.included}
    assert ours.block_length == 9


@pytest.mark.parametrize("method", ["studentised", "R", "max"])
def test_models_are_sorted_by_elimination(method: Method) -> None:
    losses = some_losses(2) + 0.4 * np.arange(5)
    result = model_confidence_set(losses, NAMES, bootstrap=QUICK, method=method)
    assert result.names == ("e", "d", "c", "b", "a")
    assert list(result.p_values) == sorted(result.p_values)
    assert result.p_values[-1] == 1.0
    assert result.included[-1] == "a"
    assert "e" not in result.included


def test_seeds_reproduce_bits_and_undefined_days_are_dropped() -> None:
    losses = some_losses(3)
    holes = np.insert(losses, [5, 100], np.nan, axis=0)
    holes[5, 1:] = 0.0
    result = model_confidence_set(holes, NAMES, bootstrap=QUICK)
    full = model_confidence_set(losses, NAMES, bootstrap=QUICK)
    assert (result.count, result.dropped) == (300, 2)
    assert (result.names, result.p_values) == (full.names, full.p_values)


def test_equal_models_share_their_fate() -> None:
    losses = some_losses(4, spread=0.1)
    twins = np.column_stack((losses, losses[:, 0], losses[:, 3], losses[:, 1] + 0.5))
    result = model_confidence_set(twins, (*NAMES, "a2", "d2", "b+"), bootstrap=QUICK)
    p_of = dict(zip(result.names, result.p_values, strict=True))
    assert p_of["a2"] == p_of["a"]
    assert p_of["d2"] == p_of["d"]
    assert p_of["b+"] == 0.0
    assert result.names[0] == "b+"
    alone = model_confidence_set(losses, NAMES, bootstrap=QUICK)
    assert {n: p_of[n] for n in NAMES} == dict(zip(alone.names, alone.p_values, strict=True))


def test_one_model_is_the_best() -> None:
    result = model_confidence_set(some_losses(5)[:, :1], ("only",))
    assert result.included == ("only",)
    everything = model_confidence_set(np.ones((50, 2)), ("x", "y"))
    assert set(everything.included) == {"x", "y"}


def test_a_series_too_short_for_its_overlap_excludes_nobody() -> None:
    result = model_confidence_set(some_losses(6, 62), NAMES, look_ahead=21)
    assert result.included == NAMES
    assert all(math.isnan(p) for p in result.p_values)


def kept(repetitions: int, seed: int, spread: float) -> float:
    sets = (
        model_confidence_set(some_losses(seed + r, 400, spread), NAMES, bootstrap=QUICK) for r in range(repetitions)
    )
    return sum("a" in s.included for s in sets) / repetitions


def test_the_best_model_is_kept_as_often_as_promised() -> None:
    assert kept(60, 1000, spread=0.05) >= plausible(0.9, 0.9, 60)[0]


@pytest.mark.nightly
def test_among_equals_each_is_kept_as_often_as_promised() -> None:
    assert kept(400, 5000, spread=0.0) >= 0.9


def all_kept(repetitions: int, method: Method) -> float:
    """Share of sweeps over five equal models, with labels that overlap, which lose none of them."""
    whole = 0
    for seed in range(repetitions):
        noise = overlapping(np.random.default_rng(seed), (6, 860))
        losses = (noise[:5] + noise[5]).T
        result = model_confidence_set(losses, NAMES, bootstrap=QUICK, look_ahead=LOOK_AHEAD, method=method)
        whole += len(result.included) == 5
    return whole / repetitions


def test_overlapping_labels_do_not_eliminate_equals() -> None:
    low = plausible(0.85, 0.9, 60)[0]
    assert all_kept(60, "studentised") >= low
    assert all_kept(60, "R") < 0.85  # what the published bootstrap does to them


@pytest.mark.nightly
def test_equals_are_kept_nearly_as_often_as_promised() -> None:
    assert 0.82 <= all_kept(400, "studentised") <= 0.95


def test_the_studentised_set_follows_its_formula() -> None:
    losses = some_losses(8, 120, spread=0.3)[:, :2]
    result = model_confidence_set(losses, ("a", "b"), bootstrap=Bootstrap(repetitions=300, block_length=6))
    difference = paired_difference(losses[:, 1], losses[:, 0], bootstrap=Bootstrap(repetitions=300, block_length=6))
    assert result.names == ("b", "a")
    # one pair, larger of both signs: the two-sided test of their difference
    assert result.p_values[0] == pytest.approx(difference.bootstrap.p_value, abs=1e-12)


def test_impossible_sets_are_refused() -> None:
    losses = some_losses(7)
    with pytest.raises(ConfigError, match="probability"):
        model_confidence_set(losses, NAMES, size=1.0)
    with pytest.raises(ConfigError, match="Unknown method"):
        model_confidence_set(losses, NAMES, method="SQ")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="own name"):
        model_confidence_set(losses, NAMES[:-1])
    with pytest.raises(DataError, match="own name"):
        model_confidence_set(losses, ("a", "a", "b", "c", "d"))
    with pytest.raises(DataError, match="infinite"):
        model_confidence_set(np.where(losses > 2, np.inf, losses), NAMES)
