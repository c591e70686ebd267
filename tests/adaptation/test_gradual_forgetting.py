from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.adaptation.gradual_forgetting import GradualForgetting
from harness.errors import ConfigError
from harness.samples.interfaces import TimeWeights
from harness.samples.windows import Segment, Window
from tests.adaptation.streams import Stream, history_of, schedule

LINEAR: dict[str, Any] = {"kind": "linear", "fade": 0.8}
EXPONENTIAL: dict[str, Any] = {"kind": "exponential", "half_life": 40.0}


def weights(step: int = 10, train: int = 203, **keys: Any) -> TimeWeights:
    table = Stream("none", times=400).table(0)
    windows = schedule(table, train=train, step=step)
    return GradualForgetting(**keys).fit(history_of(table, windows, step)).time_weights(windows[0])


def test_linear_weights_fall_evenly_from_one_plus_fade_to_one_minus_fade() -> None:
    found = weights(**LINEAR)
    np.testing.assert_allclose(found.values[[0, -1]], [0.2, 1.8])
    np.testing.assert_allclose(np.diff(found.values, 2), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.values.mean(), 1.0)


def test_a_fade_of_one_leaves_the_oldest_block_nothing() -> None:
    assert weights(kind="linear", fade=1.0).values[0] == 0.0


def test_exponential_weights_halve_over_the_half_life() -> None:
    found = weights(step=10, **EXPONENTIAL)
    assert found.values[-1] == 1.0
    np.testing.assert_allclose(found.values[-5], 0.5)
    np.testing.assert_allclose(found.values[1:] / found.values[:-1], 2 ** (10 / 40))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    step=st.integers(1, 30),
    start=st.integers(0, 50),
    learn=st.integers(1, 200),
    keys=st.sampled_from([LINEAR, EXPONENTIAL]),
)
def test_weights_never_fall_towards_the_present_and_cover_the_learning_period(
    step: int, start: int, learn: int, keys: dict[str, Any]
) -> None:
    table = Stream("none", times=400, instruments=3).table(0)
    window = Window(0, Segment(start, start + learn), None, Segment(start + learn + 6, start + learn + 7))
    found = GradualForgetting(**keys).fit(history_of(table, (window,), step)).time_weights(window)
    per_time = found.at(start, start + learn)
    assert (np.diff(per_time) >= 0).all()
    assert (per_time > 0).all()
    assert found.starts[0] == start


def test_a_sliding_window_gives_its_own_oldest_block_the_lowest_weight() -> None:
    table = Stream("none", times=400).table(0)
    window = Window(1, Segment(120, 200), None, Segment(210, 220))
    first = Window(0, Segment(100, 180), None, Segment(190, 200))
    found = GradualForgetting("linear", fade=0.8).fit(history_of(table, (first, window), 10)).time_weights(window)
    assert found.starts[0] == 120
    np.testing.assert_allclose(found.values[0], 0.2)


def test_one_block_weighs_one() -> None:
    assert weights(step=300, **LINEAR).values.tolist() == [1.0]


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"kind": "linear"}, "fade"),
        ({"kind": "linear", "fade": 1.5}, "fade"),
        ({"kind": "linear", "fade": 0.5, "half_life": 20.0}, "half_life"),
        ({"kind": "exponential"}, "half_life"),
        ({"kind": "exponential", "half_life": 0.0}, "half_life"),
        ({"kind": "exponential", "half_life": float("inf")}, "half_life"),
        ({"kind": "exponential", "half_life": 10.0, "fade": 0.5}, "fade"),
    ],
)
def test_a_number_that_is_missing_impossible_or_unused_is_refused_by_name(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GradualForgetting(**keys)
    assert caught.value.where == f"adaptation.{key}"
