"""Series of different size: each on its own scale, each with its own model, and only so much of the past as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.models.linear import Linear
from harness.config import compose_config
from harness.data.calendar import Calendar
from harness.errors import LookAheadError
from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.samples.interfaces import LearnSet
from harness.samples.per_instrument import PerInstrument
from harness.samples.preprocess import Pipeline, apply
from harness.samples.processors import Fillna, SeriesScale
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Schedule, Segment, walk_forward
from tests.audit.market import SMALL

SCALES = np.array([1.0, 100.0, 5.0])
CHAIN = Pipeline(features=(SeriesScale(), Fillna(0.0)), label=(SeriesScale(),), refit="per_window")


def _table(times: int = 60) -> SampleTable:
    """Return 3 series of a hundredfold size; the third has its first row at position 40."""
    rng = np.random.default_rng(0)
    pairs = [(t, i) for t in range(times) for i in range(3) if i < 2 or t >= 40]
    codes = np.array([i for _, i in pairs], dtype=np.int32)
    counts = np.bincount([t for t, _ in pairs], minlength=times)
    features = (rng.normal(3.0, 1.0, (len(pairs), 2)) * SCALES[codes, None]).astype(np.float32)
    label = (features @ np.array([1.0, -2.0]) + 7 * SCALES[codes]).astype(np.float32)
    index = RowIndex(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), codes)
    calendar = Calendar(np.datetime64("2020-01-01T00", "h") + np.arange(times))
    return SampleTable(calendar, ("A", "B", "C"), index, features, ("x", "y"), label, 1)


def test_each_series_has_mean_0_and_deviation_1_over_the_learning_period_alone() -> None:
    table = _table()
    done = apply(table, CHAIN.fit(table.as_of(50), Segment(0, 30)))
    for code in (0, 1):
        own = done.index.codes[table.index.rows(0, 30)] == code
        np.testing.assert_allclose(done.features[: own.size][own].mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(done.label[: own.size][own].std(), 1.0, rtol=1e-5)
    later = apply(table, CHAIN.fit(table.as_of(55), Segment(0, 50)))
    assert not np.allclose(done.features, later.features)


def test_a_forecast_is_brought_back_to_the_unit_of_the_label() -> None:
    table = _table()
    fitted = CHAIN.fit(table.as_of(50), Segment(0, 50))
    done = apply(table, fitted)
    np.testing.assert_allclose(fitted.restore(done.label, table.index.codes), table.label, rtol=1e-5)
    assert CHAIN.keeps_label_unit
    assert CHAIN.restores_label


def test_a_series_without_a_past_takes_the_scale_of_all_and_missing_values_count_in_nothing() -> None:
    table = _table()
    holes = np.array(table.features)
    holes[::7] = np.nan
    view = table.with_columns(holes, table.feature_names, np.array(table.label)).as_of(50)
    fitted = CHAIN.fit(view, Segment(0, 30))
    done = fitted.for_series(table.index.codes).features(holes, table.index.offsets)
    known = holes[table.index.rows(0, 30)]
    late = np.flatnonzero((table.index.codes == 2) & ~np.isnan(holes[:, 0]))
    expected = (holes[late] - np.nanmean(known, axis=0)) / np.nanstd(known, axis=0)
    np.testing.assert_allclose(done[late], expected, rtol=1e-3, atol=1e-4)
    assert (done[::7] == 0).all()


def test_a_model_for_each_instrument_learns_from_its_rows_alone(tmp_path: Path) -> None:
    table = _table()
    view = table.as_of(50)
    rows = table.index.rows(50, 60)
    model = Linear(estimator="ols", fit_intercept=True)
    fitted = PerInstrument(model).fit(LearnSet(view, Segment(0, 45)), None).of(table.index.codes[rows])
    np.testing.assert_allclose(fitted.predict(table.features[rows]), table.label[rows], rtol=1e-3)
    assert (view.reads.feature, view.reads.label_known) == (44, 45)
    fitted.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    again = PerInstrument(model).load(tmp_path).of(table.index.codes[rows])
    assert np.array_equal(again.predict(table.features[rows]), fitted.predict(table.features[rows]))


def test_an_instrument_without_a_past_has_no_forecast_of_its_own() -> None:
    table = _table()
    rows = table.index.rows(40, 60)
    fitted = PerInstrument(Linear()).fit(LearnSet(table.as_of(40), Segment(0, 30)), None).of(table.index.codes[rows])
    assert (np.isnan(fitted.predict(table.features[rows])) == (table.index.codes[rows] == 2)).all()


def test_the_view_of_one_instrument_ends_where_the_whole_does() -> None:
    with pytest.raises(LookAheadError):
        _table().as_of(20).of_instrument(0, 0, 21)


def test_memory_bounds_how_far_back_a_window_learns() -> None:
    schedule = Schedule(Segment(0, 50), None, Segment(50, 90), step=10, look_ahead=1, memory=30)
    assert [window.train.start for window in walk_forward(schedule)] == [20, 30, 40, 50]
    assert [len(window.train) for window in walk_forward(schedule)] == [30] * 4


@pytest.mark.parametrize("overrides", [["model.per_instrument=true"], ["preprocess=series"]], ids=str)
def test_a_run_by_instrument_gives_other_scores_and_can_be_taken_up_again(tmp_path: Path, overrides: list[str]) -> None:
    output = [f"output.store={tmp_path / 'store'}", f"output.runs={tmp_path / 'runs'}"]
    plain = run(compose_config([*SMALL, *output]), Silent()).predictions()
    config = compose_config([*SMALL, *output, *overrides])
    first, again = (run(config, Silent()).predictions() for _ in range(2))
    assert np.array_equal(first.score, again.score, equal_nan=True)
    assert not np.array_equal(first.score, plain.score, equal_nan=True)
