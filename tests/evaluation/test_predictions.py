from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar
from harness.errors import DataError
from harness.evaluation.predictions import Predictions
from tests.data.odd_codes import ODD

calm = settings(derandomize=True, deadline=None, max_examples=40)
INSTRUMENTS = ("A", "B", "C", "D")
CALENDAR = Calendar(np.datetime64("2020-01-01T00:00", "ns") + np.arange(30) * np.timedelta64(1, "h"))
ARRAYS = ("offsets", "codes", "score", "label", "window_starts")


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    """Predictions with empty times, missing scores and labels, and a few windows."""
    start, size = draw(st.integers(0, 10)), draw(st.integers(1, 12))
    rows = draw(st.lists(st.sets(st.integers(0, 3)), min_size=size, max_size=size))
    codes = np.array([c for names in rows for c in sorted(names)], dtype=np.int32)
    number = st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.just(float("nan")))
    values = draw(st.lists(st.tuples(number, number), min_size=codes.size, max_size=codes.size))
    pair = np.array(values, dtype=np.float32).reshape(-1, 2)
    later = draw(st.sets(st.integers(start + 1, start + size), max_size=3))
    return Predictions(
        calendar=CALENDAR,
        instruments=INSTRUMENTS,
        start=start,
        offsets=np.concatenate([[0], np.cumsum([len(names) for names in rows])]).astype(np.int64),
        codes=codes,
        score=np.ascontiguousarray(pair[:, 0]),
        label=np.ascontiguousarray(pair[:, 1]),
        window_starts=np.array([start, *sorted(later - {start + size})], dtype=np.int64),
    )


def same(left: Predictions, right: Predictions) -> None:
    assert (left.calendar, left.instruments, left.start) == (right.calendar, right.instruments, right.start)
    for name in ARRAYS:
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def example() -> Predictions:
    return Predictions(
        calendar=CALENDAR,
        instruments=INSTRUMENTS,
        start=3,
        offsets=np.array([0, 2, 2, 5]),
        codes=np.array([0, 2, 1, 2, 3], dtype=np.int32),
        score=np.array([0.1, 0.2, 0.3, 0.4, 0.5], dtype=np.float32),
        label=np.array([1, np.nan, 3, 4, 5], dtype=np.float32),
        window_starts=np.array([3, 5]),
    )


class TestParquet:
    def test_odd_codes_survive_the_file_and_the_frame(self, tmp_path):
        odd = tuple(sorted(ODD))
        score = np.arange(len(odd), dtype=np.float32)
        made = replace(
            example(),
            instruments=odd,
            offsets=np.array([0, len(odd)]),
            codes=np.arange(len(odd), dtype=np.int32),
            score=score,
            label=score + 1,
            window_starts=np.array([3]),
        )
        made.write_parquet(tmp_path / "predictions.parquet")
        same(Predictions.read_parquet(tmp_path / "predictions.parquet"), made)
        same(Predictions.from_frame(made.to_frame(), made.calendar, odd), made)

    @calm
    @given(predictions())
    def test_what_is_written_is_read_back_exactly(self, tmp_path_factory, made):
        path = tmp_path_factory.mktemp("parquet") / "predictions.parquet"
        made.write_parquet(path)
        same(Predictions.read_parquet(path), made)

    def test_equal_predictions_give_equal_bytes(self, tmp_path):
        for name in ("one", "two"):
            example().write_parquet(tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_the_file_is_a_plain_table_for_other_tools(self, tmp_path):
        example().write_parquet(tmp_path / "p.parquet")
        table = pd.read_parquet(tmp_path / "p.parquet")
        assert table.columns.tolist() == ["datetime", "instrument", "score", "label", "window"]
        assert table["instrument"].tolist() == ["A", "C", "B", "C", "D"]
        assert table["window"].tolist() == [0, 0, 1, 1, 1]

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read") as caught:
            Predictions.read_parquet(tmp_path / "absent.parquet")
        assert "absent.parquet" in str(caught.value)

    def test_a_file_that_is_not_parquet_is_refused(self, tmp_path):
        (tmp_path / "p.parquet").write_text("scores")
        with pytest.raises(DataError, match="cannot be read"):
            Predictions.read_parquet(tmp_path / "p.parquet")

    def test_a_table_of_something_else_is_refused(self, tmp_path):
        pq.write_table(pa.table({"datetime": [1]}), tmp_path / "p.parquet")
        with pytest.raises(DataError, match="does not hold predictions"):
            Predictions.read_parquet(tmp_path / "p.parquet")


class TestFrame:
    @calm
    @given(predictions(), st.integers(0, 100))
    def test_a_frame_in_any_order_gives_the_same_rows(self, made, seed):
        frame = made.to_frame()
        if frame.empty:
            return
        shuffled = frame.sample(frac=1.0, random_state=seed)
        read = Predictions.from_frame(shuffled, CALENDAR, INSTRUMENTS)
        pd.testing.assert_frame_equal(
            read.to_frame().drop(columns="window"), frame.drop(columns="window"), check_exact=True
        )

    def test_windows_of_a_frame_start_at_their_first_row(self):
        read = Predictions.from_frame(example().to_frame(), CALENDAR, INSTRUMENTS)
        same(read, example())

    def test_index_levels_count_as_columns_and_label_and_window_may_be_absent(self):
        frame = example().to_frame().set_index(["datetime", "instrument"])[["score"]]
        read = Predictions.from_frame(frame, CALENDAR, INSTRUMENTS)
        assert np.isnan(read.label).all()
        assert read.window_starts.tolist() == [3]

    def test_a_misspelt_column_is_guessed(self):
        frame = example().to_frame().rename(columns={"score": "scores"})
        with pytest.raises(DataError, match="lacks the column `score`") as caught:
            Predictions.from_frame(frame, CALENDAR, INSTRUMENTS)
        assert "did you mean `scores`?" in str(caught.value)

    def test_an_unknown_instrument_is_named(self):
        frame = example().to_frame().astype({"instrument": str})
        frame.loc[1, "instrument"] = "E"
        with pytest.raises(DataError, match="unknown instrument") as caught:
            Predictions.from_frame(frame, CALENDAR, INSTRUMENTS)
        assert caught.value.got == "E"

    def test_a_time_off_the_calendar_is_named(self):
        frame = example().to_frame()
        frame["datetime"] += pd.Timedelta(minutes=5)
        with pytest.raises(DataError, match="unknown time"):
            Predictions.from_frame(frame, CALENDAR, INSTRUMENTS)

    def test_a_repeated_row_is_refused(self):
        frame = example().to_frame()
        with pytest.raises(DataError, match="occur twice") as caught:
            Predictions.from_frame(pd.concat([frame, frame.iloc[[2]]]), CALENDAR, INSTRUMENTS)
        assert caught.value.got == "B at 2020-01-01T05:00"

    def test_windows_that_fall_in_time_are_refused(self):
        frame = example().to_frame()
        frame["window"] = [1, 1, 0, 0, 0]
        with pytest.raises(DataError, match="windows overlap or fall"):
            Predictions.from_frame(frame, CALENDAR, INSTRUMENTS)

    def test_two_windows_of_one_time_are_refused(self):
        frame = example().to_frame()
        frame["window"] = [0, 0, 0, 1, 1]
        with pytest.raises(DataError, match="windows overlap or fall"):
            Predictions.from_frame(frame, CALENDAR, INSTRUMENTS)

    def test_an_empty_frame_is_refused(self):
        with pytest.raises(DataError, match="no predictions"):
            Predictions.from_frame(example().to_frame().iloc[:0], CALENDAR, INSTRUMENTS)


class TestRecord:
    @pytest.mark.parametrize("name", ["codes", "score", "label"])
    def test_arrays_of_unequal_length_are_refused(self, name):
        with pytest.raises(DataError, match="disagree"):
            replace(example(), **{name: getattr(example(), name)[:-1]})

    def test_positions_off_the_calendar_are_refused(self):
        with pytest.raises(DataError, match="leave the calendar"):
            replace(example(), start=28)

    def test_the_digest_tells_scores_times_and_instruments_but_not_labels(self):
        made = example()
        assert replace(made, label=made.label * 2).digest == made.digest
        assert replace(made, score=made.score * 2).digest != made.digest
        assert replace(made, start=4).digest != made.digest
        assert replace(made, instruments=("A", "B", "C", "E")).digest != made.digest
