"""The metric is what it says, and stands in the snapshot with its interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from my_metric import MyMetric

from harness import Calendar, Predictions, run_experiment

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


def predictions(score: list[float], label: list[float]) -> Predictions:
    names = [f"S{i}" for i in range(len(score))]
    frame = pd.DataFrame({"datetime": pd.Timestamp("2020-01-01"), "instrument": names, "score": score, "label": label})
    calendar = Calendar(np.array(["2020-01-01"], dtype="datetime64[ns]"))
    return Predictions.from_frame(frame, calendar, tuple(names))


@pytest.mark.parametrize(
    ("label", "expected"), [([1.0, 2, 3, 4], 1.0), ([4.0, 3, 2, 1], 0.0), ([1.0, 3, 2, 4], 0.5), ([np.nan] * 4, np.nan)]
)
def test_it_counts_the_right_side_of_the_median(label: list[float], expected: float) -> None:
    found = MyMetric().compute(predictions([1.0, 2, 3, 4], label))
    np.testing.assert_equal(found, [expected])


def test_it_stands_in_the_snapshot(tmp_path: Path) -> None:
    output = [f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"]
    folder = Path(__file__).resolve().parent / "my_conf"
    result = run_experiment([*SMALL, *output, "evaluation=my_metric"], search_path=[folder])
    assert 0 < result.metrics["hit_rate"] < 1
    assert "hit_rate" in result.snapshot.metrics["per_window"][0]
    assert result.intervals is not None
    assert result.intervals["hit_rate"]["low"] < result.metrics["hit_rate"] < result.intervals["hit_rate"]["high"]
