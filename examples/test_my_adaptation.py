"""The adaptation weights what is recent, and changes predictions by its weights alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from my_adaptation import MyAdaptation

from harness import ExperimentResult, Segment, Window, run_experiment

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
WINDOW = Window(index=0, train=Segment(0, 100), valid=None, test=Segment(121, 141))


def run(tmp_path: Path, *overrides: str) -> ExperimentResult:
    output = [f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"]
    folder = Path(__file__).resolve().parent / "my_conf"
    return run_experiment([*SMALL, *output, *overrides], search_path=[folder])


def test_the_last_times_count_fully_and_the_rest_a_share() -> None:
    weights = MyAdaptation(recent=30, share=0.5).fit(None).time_weights(WINDOW)
    np.testing.assert_array_equal(weights.at(0, 100), np.repeat([0.5, 1.0], [70, 30]))


def test_a_window_that_is_recent_as_a_whole_has_equal_weights() -> None:
    assert set(MyAdaptation(recent=100).fit(None).time_weights(WINDOW).at(0, 100)) == {1.0}


def test_a_share_of_one_is_rolling_retrain(tmp_path: Path) -> None:
    plain = run(tmp_path, "adaptation=rolling_retrain")
    equal = run(tmp_path, "adaptation=my_adaptation", "adaptation.share=1")
    weighted = run(tmp_path, "adaptation=my_adaptation", "adaptation.recent=60")
    np.testing.assert_allclose(equal.predictions().score, plain.predictions().score, atol=1e-5)
    assert np.abs(weighted.predictions().score - plain.predictions().score).max() > 1e-4
