"""Drift-triggered retraining: when it refits, from what it decides, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.adaptation.triggered import AlarmWaiter, Triggered, errors
from baselines.models.linear import Linear
from harness.config import compose_config
from harness.errors import ConfigError
from harness.run.pipeline import Pipeline as Experiment
from harness.run.rolling import Recipe, WalkForward
from harness.samples.plan import Feedback
from harness.samples.preprocess import Pipeline
from tests.adaptation.streams import Stream, schedule
from tests.run.test_rolling import WINDOWS, recipe, roll
from tests.run.test_rolling import table as table

pytest.importorskip("river", reason="the extra driftbench[river] is not installed")

SETTINGS: dict[str, Any] = {"detector": "page_hinkley", "error": "mse", "warm_up": 10}
STREAMS: dict[str, dict[str, float]] = {"adwin": {}, "page_hinkley": {"threshold": 60}, "kswin": {}}


def waiter(**changes: Any) -> AlarmWaiter:
    return AlarmWaiter(Triggered(**{**SETTINGS, **changes}), seed=7)


@pytest.mark.parametrize("detector", STREAMS)
def test_it_rings_when_errors_grow_and_not_while_they_stay(detector: str) -> None:
    rng = np.random.default_rng(5)
    steady = rng.normal(1.0, 0.1, 250)
    grown = np.concatenate([steady, rng.normal(1.6, 0.1, 100)])
    waits = waiter(detector=detector, parameters=STREAMS[detector], warm_up=50)
    assert waits.rings(grown)
    assert not waits.rings(np.full(300, 1.0))
    if detector != "kswin":  # whose level is one of each single test
        assert not waits.rings(steady)


def test_the_unit_of_the_errors_does_not_matter() -> None:
    stream = np.random.default_rng(1).normal(1.0, 0.1, 200).cumsum()
    for at in range(20, 200, 30):
        assert waiter().rings(stream[:at]) == waiter().rings(1e-6 * stream[:at]) == waiter().rings(1e6 * stream[:at])


def test_the_warm_up_is_not_judged() -> None:
    stream = np.concatenate([np.zeros(5), np.full(5, 100.0), np.full(60, 50.0)])
    assert not waiter(parameters={"threshold": 20}).rings(stream[:10])
    assert not waiter(parameters={"threshold": 20}).rings(stream)


def feedback(score: Any, label: Any, counts: tuple[int, ...]) -> Feedback:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    score, label = np.array(score, np.float32), np.array(label, np.float32)
    return Feedback(10, offsets, np.zeros(score.size, np.int32), score, label)


def test_errors_are_those_of_each_time_from_the_models_first_forecast_on() -> None:
    given = feedback([0, 1, 2, 0, 4, 5], [1, 1, 4, np.nan, 4, 3], (2, 2, 2))
    np.testing.assert_allclose(errors(given, 10, "mse"), [0.5, 4.0, 2.0])
    np.testing.assert_allclose(errors(given, 12, "mse"), [2.0])
    np.testing.assert_allclose(errors(given, 10, "ic"), [2.0])  # the first label and the second time are constant


def test_without_an_alarm_the_first_model_is_kept_and_after_the_longest_wait_it_is_not(table: Any) -> None:
    kept = roll(table, WINDOWS, recipe(adaptation=waiter(parameters={"threshold": 1e9}), model=Linear()))
    assert [one.fitted_in for one in kept.reads] == [0, 0, 0]
    overdue = roll(table, WINDOWS, recipe(adaptation=waiter(parameters={"threshold": 1e9}, longest=2), model=Linear()))
    assert [one.fitted_in for one in overdue.reads] == [0, 0, 2]


def test_after_an_abrupt_change_of_a_stream_the_model_is_fitted_again() -> None:
    table = Stream("abrupt", times=400, instruments=10, features=3, noise=1.0, period=120).table(0)
    windows, nothing = schedule(table, train=150, step=10), Pipeline(features=(), label=(), refit="once")
    triggered = waiter(detector="adwin", parameters={"delta": 0.05})
    found = WalkForward(table, windows, Recipe(nothing, triggered, Linear(), 10)).run()
    assert 1 < len({one.fitted_in for one in found.reads}) < len(windows) / 2


def small(*changes: str) -> WalkForward:
    market = ["data.instruments=30", "data.days=900", "data.members=24", "data.seed=3", "label.horizon=2"]
    windows = ["windows.step=10", "windows.split=[0.4,0.0,0.6]", "features=alpha360", "evaluation=signal"]
    return Experiment(compose_config([*market, *windows, "adaptation=triggered", *changes])).walk


@pytest.mark.nightly
def test_after_an_abrupt_change_of_a_market_the_model_is_fitted_again() -> None:
    walk = small("data.drift=abrupt", "+adaptation.parameters.delta=0.05", "adaptation.error=mse")
    fitted = {one.fitted_in for one in walk.run().reads}
    assert 1 < len(fitted) < len(walk.windows) / 2


def test_a_parameter_that_the_detector_does_not_have_is_refused_and_names_those_it_has() -> None:
    with pytest.raises(ConfigError, match="no such parameter") as caught:
        Triggered(**SETTINGS, parameters={"treshold": 3})
    assert "threshold" in str(caught.value.expected)


def test_a_value_that_river_refuses_is_a_mistake_before_any_window() -> None:
    with pytest.raises(ConfigError, match="refuses its parameters"):
        Triggered(**{**SETTINGS, "detector": "kswin"}, parameters={"alpha": 2}).new_detector(1)


def test_nothing_is_written(tmp_path: Path) -> None:
    waiter().save(tmp_path)
    assert not list(tmp_path.iterdir())
