from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import run_experiment
from harness.data.calendar import Calendar
from harness.errors import DataError
from harness.evaluation.collection import average, merge_windows
from harness.evaluation.predictions import Predictions
from harness.run.finished import FinishedRun

calm = settings(derandomize=True, deadline=None, max_examples=40)
INSTRUMENTS = tuple("ABCDEF")
CALENDAR = Calendar(np.datetime64("2020-01-01", "ns") + np.arange(30) * np.timedelta64(1, "D"))
TRUTH = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)


def predicted(start: int, stop: int, seed: int, *, share: float = 0.8) -> Predictions:
    """Random scores of a random choice of instruments, and the labels that belong to them."""
    rng = np.random.default_rng(seed)
    rows = rng.random((stop - start, len(INSTRUMENTS))) < share
    rows[0, 0] = True
    times, codes = np.nonzero(rows)
    return Predictions(
        calendar=CALENDAR,
        instruments=INSTRUMENTS,
        start=start,
        offsets=np.concatenate([[0], np.cumsum(rows.sum(axis=1))]).astype(np.int64),
        codes=codes.astype(np.int32),
        score=rng.standard_normal(times.size).astype(np.float32),
        label=TRUTH[start:stop][rows],
        window_starts=np.array([start], dtype=np.int64),
    )


def indexed(predictions: Predictions) -> pd.Series:
    frame = predictions.to_frame().astype({"instrument": str})
    return frame.set_index(["datetime", "instrument"])["score"]


def rolling_ensemble(parts: Sequence[Predictions]) -> pd.Series:
    """The rule of qlib's RollingEnsemble, written in pandas: by start, the last of equal rows wins."""
    joined = pd.concat([indexed(p) for p in sorted(parts, key=lambda p: p.start)])
    return joined[~joined.index.duplicated(keep="last")].sort_index()


def average_ensemble(models: Sequence[Predictions]) -> pd.Series:
    """The rule of qlib's AverageEnsemble, written in pandas: z-scores at each time, then the mean of what is there."""
    table = pd.concat([indexed(p).astype(np.float64) for p in models], axis=1)
    by_time = table.groupby(level="datetime")
    scaled = (table - by_time.transform("mean")) / by_time.transform("std").replace(0.0, np.nan)
    return scaled.mean(axis=1).sort_index()


class TestMergeWindows:
    @calm
    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=5, unique_by=lambda s: s[0]))
    def test_it_is_the_rule_of_qlibs_rolling_ensemble(self, spans):
        parts = [predicted(a, a + n, seed) for seed, (a, n) in enumerate(spans)]
        merged = merge_windows(parts)
        pd.testing.assert_series_equal(indexed(merged), rolling_ensemble(parts), check_exact=True)
        assert merged.window_starts.tolist() == sorted(a for a, _ in spans)

    def test_the_later_window_wins_where_they_overlap_whatever_the_order(self):
        early, late = predicted(0, 6, 1, share=1.0), predicted(4, 9, 2, share=1.0)
        for parts in ([early, late], [late, early]):
            merged = merge_windows(parts)
            assert merged.score.tolist() == [*early.score[: 4 * 6], *late.score]
            assert (merged.start, merged.stop) == (0, 9)

    def test_a_row_that_only_the_earlier_window_has_stays(self):
        early, late = predicted(0, 6, 1, share=1.0), predicted(4, 9, 2, share=0.3)
        assert merge_windows([early, late]).codes.size == 6 * 6 + np.sum(late.row_times >= 6)

    def test_times_between_windows_are_there_without_rows(self):
        merged = merge_windows([predicted(0, 2, 1), predicted(5, 7, 2)])
        assert np.diff(merged.offsets)[2:5].tolist() == [0, 0, 0]

    def test_one_window_is_itself(self):
        only = predicted(3, 8, 1)
        merged = merge_windows([only])
        assert merged.digest == only.digest
        assert merged.start == only.start

    def test_nothing_is_refused(self):
        with pytest.raises(DataError, match="no predictions"):
            merge_windows([])

    def test_other_panels_are_refused(self):
        with pytest.raises(DataError, match="different panels"):
            merge_windows([predicted(0, 2, 1), replace(predicted(2, 4, 2), instruments=tuple("GHIJKL"))])


class TestAverage:
    @calm
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4))
    def test_it_is_the_rule_of_qlibs_average_ensemble(self, spans):
        models = [predicted(a, a + n, seed) for seed, (a, n) in enumerate(spans)]
        ours, theirs = indexed(average(models)), average_ensemble(models)
        pd.testing.assert_series_equal(ours, theirs.astype(np.float32), check_names=False, rtol=1e-5, atol=1e-6)

    def test_without_standardising_it_is_the_plain_mean(self):
        left, right = predicted(0, 3, 1, share=1.0), predicted(0, 3, 2, share=1.0)
        result = average([left, right], scale="score")
        np.testing.assert_allclose(result.score, (left.score.astype(np.float64) + right.score) / 2, rtol=1e-6)

    def test_scale_does_not_matter_when_standardised(self):
        left, right = predicted(0, 3, 1, share=1.0), predicted(0, 3, 2, share=1.0)
        scaled = replace(right, score=right.score * 64 + 8)
        np.testing.assert_allclose(average([left, scaled]).score, average([left, right]).score, atol=1e-5)

    def test_the_order_of_the_models_does_not_matter(self):
        left, right = predicted(0, 4, 1), predicted(2, 6, 2)
        assert average([left, right]).digest == average([right, left]).digest

    def test_a_model_that_does_not_vary_has_no_say(self):
        left, flat = predicted(0, 3, 1, share=1.0), predicted(0, 3, 2, share=1.0)
        flat = replace(flat, score=np.full_like(flat.score, 0.3))
        np.testing.assert_array_equal(average([left, flat]).score, average([left]).score)

    def test_a_missing_label_is_taken_from_another_model(self):
        left = predicted(0, 3, 1, share=1.0)
        unknown = replace(left, label=np.full_like(left.label, np.nan))
        np.testing.assert_array_equal(average([unknown, left]).label, left.label)

    def test_models_of_different_labels_are_refused(self):
        left = predicted(0, 3, 1, share=1.0)
        other = replace(left, label=left.label + 1)
        with pytest.raises(DataError, match="different labels") as caught:
            average([left, other])
        assert caught.value.where == "A at 2020-01-01"
        close = replace(left, label=np.nextafter(left.label, np.float32(9)))
        with pytest.raises(DataError, match="different labels") as caught:
            average([left, close])
        assert len(set(str(caught.value.got).split(" and "))) == 2


def test_finished_runs_are_averaged(tmp_path: Path) -> None:
    small = ["data.instruments=16", "data.days=300", "data.members=12", "windows.step=40", f"output.runs={tmp_path}"]
    folders = [
        run_experiment([*small, f"output.store={tmp_path}/store", f"model.alpha={a}"]).folder for a in (0.1, 9.0)
    ]
    runs = [FinishedRun.read(folder).predictions() for folder in folders]
    both = average(runs)
    assert both.score.size == runs[0].score.size
    assert indexed(both).corr(indexed(runs[0])) > 0.9
