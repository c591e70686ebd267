"""The sample table and its as-of views: what a view shows, what it refuses, and what it records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import DataError, LookAheadError
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import LearnSet, TimeWeights
from harness.samples.table import AsOfView, Reads, RowIndex, SampleTable, index_rows
from harness.samples.windows import Segment

TIMES, INSTRUMENTS = 12, 5
Masks = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]


def make_panel(traded: npt.NDArray[np.bool_], member: npt.NDArray[np.bool_]) -> Panel:
    close = np.where(traded, np.float32(1.0), np.float32(np.nan)).astype(np.float32)
    return Panel(
        calendar=Calendar(np.datetime64("2020-01-01") + np.arange(len(traded))),
        instruments=tuple(f"I{i}" for i in range(traded.shape[1])),
        fields={"close": close},
        membership=member.copy(),
    )


def make_table(seed: int = 0, look_ahead: int = 3) -> SampleTable:
    rng = np.random.default_rng(seed)
    traded, member = rng.random((2, TIMES, INSTRUMENTS)) < 0.7
    traded[rng.integers(TIMES)] = False  # a time without rows
    index = index_rows(make_panel(traded, member))
    n = int(index.offsets[-1])
    label = rng.normal(size=n).astype(np.float32)
    label[rng.random(n) < 0.3] = np.nan
    return SampleTable(
        calendar=Calendar(np.datetime64("2020-01-01") + np.arange(TIMES)),
        instruments=tuple(f"I{i}" for i in range(INSTRUMENTS)),
        index=index,
        features=rng.normal(size=(n, 2)).astype(np.float32),
        feature_names=("a", "b"),
        label=label,
        look_ahead=look_ahead,
    )


seeds = st.integers(0, 10_000)
masks = seeds.map(lambda seed: tuple(np.random.default_rng(seed).random((2, TIMES, INSTRUMENTS)) < 0.6))
bounds = st.tuples(st.integers(0, TIMES), st.integers(0, TIMES)).map(sorted)


class TestRows:
    @given(masks)
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_a_row_is_a_member_with_a_price_in_time_and_instrument_order(self, both: Masks) -> None:
        traded, member = both
        index = index_rows(make_panel(traded, member))
        pairs = np.column_stack([index.times(0, TIMES), index.codes])
        np.testing.assert_array_equal(pairs, np.argwhere(traded & member))
        assert index.codes.dtype == np.int32
        assert index.offsets.dtype == np.int64

    @given(masks, st.integers(0, TIMES - 1))
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_whether_a_row_exists_never_depends_on_the_future(self, both: Masks, cut: int) -> None:
        traded, member = both
        rewritten = [mask.copy() for mask in both]
        for mask in rewritten:
            mask[cut + 1 :] = ~mask[cut + 1 :]
        index, other = index_rows(make_panel(traded, member)), index_rows(make_panel(*rewritten))
        past = slice(0, int(index.offsets[cut + 1]))
        np.testing.assert_array_equal(index.offsets[: cut + 2], other.offsets[: cut + 2])
        np.testing.assert_array_equal(index.codes[past], other.codes[past])

    def test_listed_rows_know_at_a_suspension_that_trading_will_resume(self) -> None:
        # qlib's rows; the reason why they are only for parity.
        traded = np.array([[0], [1], [0], [1], [0]], dtype=bool)
        member = np.ones((5, 1), dtype=bool)
        assert np.diff(index_rows(make_panel(traded, member)).offsets).tolist() == [0, 1, 0, 1, 0]
        assert np.diff(index_rows(make_panel(traded, member), listed=True).offsets).tolist() == [0, 1, 1, 1, 0]

    @given(seeds, bounds)
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_a_period_is_a_slice(self, seed: int, period: list[int]) -> None:
        index = make_table(seed).index
        start, stop = period
        times = index.times(0, TIMES)
        rows = index.rows(start, stop)
        np.testing.assert_array_equal(np.flatnonzero((times >= start) & (times < stop)), np.r_[rows])
        np.testing.assert_array_equal(index.times(start, stop), times[rows])
        local = index.local_offsets(start, stop)
        assert local[0] == 0
        assert local[-1] == rows.stop - rows.start


class TestTable:
    def test_its_arrays_cannot_be_written(self) -> None:
        table = make_table()
        for values in (table.features, table.label, table.index.codes, table.index.offsets):
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 0

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda t: replace(t, features=t.features[:-1]),
            lambda t: replace(t, label=t.label[:-1]),
            lambda t: replace(t, feature_names=("a",)),
            lambda t: replace(t, look_ahead=-1),
            lambda t: replace(t, features=t.features.astype(np.float64)),
            lambda t: replace(t, label=t.label.astype(np.float64)),
            lambda t: replace(t, index=RowIndex(t.index.offsets[:-1], t.index.codes)),
            lambda t: replace(t, index=RowIndex(t.index.offsets[::-1].copy(), t.index.codes)),
            lambda t: replace(t, index=RowIndex(t.index.offsets + 1, t.index.codes)),
        ],
    )
    def test_arrays_that_disagree_are_refused(self, spoil: Callable[[SampleTable], SampleTable]) -> None:
        with pytest.raises(DataError):
            spoil(make_table())

    @given(seeds, bounds)
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_a_restricted_table_holds_the_same_rows_at_the_same_positions(self, seed: int, period: list[int]) -> None:
        table = make_table(seed)
        start, stop = period
        part = table.restricted(start, stop)
        assert len(part) == table.index.offsets[stop] - table.index.offsets[start]
        for t in range(TIMES):
            rows = part.index.rows(t, t + 1)
            expected = table.features[table.index.rows(t, t + 1)] if start <= t < stop else np.empty((0, 2))
            np.testing.assert_array_equal(part.features[rows], expected)
        assert len(part) == 0 or np.shares_memory(part.features, table.features)

    @given(seeds)
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_labelled_rows_are_those_with_a_label_in_order(self, seed: int) -> None:
        table = make_table(seed)
        keep = ~np.isnan(table.label)
        part = table.labelled
        np.testing.assert_array_equal(part.label, table.label[keep])
        np.testing.assert_array_equal(part.features, table.features[keep])
        np.testing.assert_array_equal(part.index.times(0, TIMES), table.index.times(0, TIMES)[keep])
        np.testing.assert_array_equal(part.index.codes, table.index.codes[keep])

    def test_a_table_without_gaps_is_its_own_labelled_part(self) -> None:
        table = make_table()
        full = table.with_columns(np.array(table.features), ("a", "b"), np.zeros(len(table), dtype=np.float32))
        assert full.labelled is full


class TestView:
    @given(seeds, st.integers(0, TIMES - 1), st.integers(0, 5), bounds)
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_it_shows_features_up_to_now_and_labels_that_have_matured(
        self, seed: int, decision: int, look_ahead: int, period: list[int]
    ) -> None:
        table = make_table(seed, look_ahead)
        view = table.as_of(decision)
        start, stop = period
        rows = table.index.rows(start, stop)
        if stop - 1 <= decision:
            np.testing.assert_array_equal(view.features(start, stop), table.features[rows])
            np.testing.assert_array_equal(view.codes(start, stop), table.index.codes[rows])
            np.testing.assert_array_equal(view.offsets(start, stop), table.index.local_offsets(start, stop))
        else:
            for read in (view.features, view.codes, view.offsets):
                with pytest.raises(LookAheadError):
                    read(start, stop)
        if stop - 1 + look_ahead <= decision or stop == 0:
            np.testing.assert_array_equal(view.label(start, stop), table.label[rows])
        else:
            with pytest.raises(LookAheadError):
                view.label(start, stop)

    @given(seeds, st.integers(0, TIMES - 1), st.integers(0, 5))
    @settings(derandomize=True, deadline=None, max_examples=60)
    def test_the_future_cannot_change_what_it_shows(self, seed: int, decision: int, look_ahead: int) -> None:
        table = make_table(seed, look_ahead)
        features, label = table.features.copy(), table.label.copy()
        features[table.index.offsets[decision + 1] :] = 1e9
        matured = max(decision - look_ahead + 1, 0)
        label[table.index.offsets[matured] :] = np.where(np.isnan(label[table.index.offsets[matured] :]), 1.0, np.nan)
        poisoned = table.with_columns(features, ("a", "b"), label)
        view, other = table.as_of(decision), poisoned.as_of(decision)
        assert view.features(0, decision + 1).tobytes() == other.features(0, decision + 1).tobytes()
        for part, twin in ((view, other), (view.labelled(0, matured), other.labelled(0, matured))):
            assert part.label(0, matured).tobytes() == twin.label(0, matured).tobytes()
            assert part.features(0, matured).tobytes() == twin.features(0, matured).tobytes()
            assert part.offsets(0, matured).tobytes() == twin.offsets(0, matured).tobytes()

    def test_it_records_the_newest_that_was_read(self) -> None:
        view = make_table(look_ahead=3).as_of(9)
        assert view.reads == Reads()
        view.features(2, 5)
        assert view.reads == Reads(feature=4)
        view.label(1, 3)
        assert view.reads == Reads(feature=4, label_known=5)
        view.features(0, 2)
        view.label(0, 1)
        assert view.reads == Reads(feature=4, label_known=5)
        view.offsets(2, 9)
        view.release(0, 7)
        assert view.reads == Reads(feature=8, label_known=9)

    def test_an_empty_period_reads_nothing(self) -> None:
        view = make_table().as_of(9)
        for at in (0, 4):
            assert len(view.features(at, at)) == len(view.label(at, at)) == 0
        assert view.reads == Reads()

    def test_a_refused_read_is_not_recorded(self) -> None:
        view = make_table(look_ahead=3).as_of(9)
        for read in (view.label, view.labelled, view.release):
            with pytest.raises(LookAheadError):
                read(0, 8)
        with pytest.raises(LookAheadError):
            view.features(0, 11)
        assert view.reads.label_known == -1

    def test_which_rows_have_a_label_is_shown_for_the_matured_period_only(self) -> None:
        # Otherwise the offsets of newer times would tell who will still be traded in the future.
        view = make_table(look_ahead=3).as_of(9)
        labelled = view.labelled(2, 6)
        assert view.reads == Reads(feature=5, label_known=8)
        assert labelled.feature_stop == labelled.label_stop == 6
        for read in (labelled.features, labelled.offsets, labelled.codes, labelled.label):
            with pytest.raises(LookAheadError, match="one period"):
                read(2, 7)
            with pytest.raises(LookAheadError, match="one period"):
                read(1, 6)

    def test_the_message_names_dates_and_when_a_label_matures(self) -> None:
        with pytest.raises(LookAheadError) as caught:
            make_table(look_ahead=3).as_of(9).label(0, 8)
        text = str(caught.value)
        assert "2020-01-10" in text
        assert "2020-01-08 (position 7)" in text
        assert "2020-01-07 (position 6)" in text
        assert "3 positions" in text

    @pytest.mark.parametrize("decision", [-1, TIMES])
    def test_a_decision_outside_the_calendar_is_refused(self, decision: int) -> None:
        with pytest.raises(LookAheadError, match="calendar"):
            make_table().as_of(decision)

    @pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2)])
    def test_a_period_that_is_none_is_refused(self, start: int, stop: int) -> None:
        for read in (make_table().as_of(9).features, make_table().as_of(9).label):
            with pytest.raises(LookAheadError, match="Not a period"):
                read(start, stop)


class TestLearnSet:
    weights = TimeWeights(np.array([0, 3, 5], dtype=np.int64), np.array([0.5, 1.0, 2.0]))

    def learn(self, view: AsOfView, blocks: GramBlocks | None = None) -> LearnSet:
        return LearnSet(view, Segment(1, 7), self.weights, blocks)

    def test_it_holds_the_rows_with_a_label_and_their_weights(self) -> None:
        table = make_table()
        learn = self.learn(table.as_of(9))
        times = table.index.times(1, 7)
        label = table.label[table.index.rows(1, 7)]
        keep = ~np.isnan(label)
        np.testing.assert_array_equal(learn.label, label[keep])
        np.testing.assert_array_equal(learn.features, table.features[table.index.rows(1, 7)][keep])
        np.testing.assert_array_equal(learn.offsets, np.searchsorted(times[keep], np.arange(1, 8)))
        assert learn.weights is not None
        np.testing.assert_array_equal(learn.weights, self.weights.at(0, TIMES)[times[keep]])
        for values in (learn.features, learn.label):
            assert not values.flags.writeable

    def test_shared_blocks_give_the_same_statistics_and_are_closed_to_the_future(self) -> None:
        table = make_table(look_ahead=3)
        blocks = GramBlocks(table.features, table.label, table.index.offsets, step=2)
        view = table.as_of(9)
        shared, own = self.learn(view, blocks), self.learn(view)
        np.testing.assert_allclose(shared.normal_equations().gram, own.normal_equations().gram, rtol=1e-12)
        assert shared.gram_blocks is not None
        with pytest.raises(LookAheadError):
            shared.gram_blocks.weighted(0, 8, None)
        assert len(shared.gram_blocks.gram) == 3

    def test_a_period_that_has_not_matured_is_refused_with_blocks_too(self) -> None:
        table = make_table(look_ahead=3)
        blocks = GramBlocks(table.features, table.label, table.index.offsets, step=2)
        for shared in (None, blocks):
            with pytest.raises(LookAheadError):
                self.learn(table.as_of(8), shared).normal_equations()


class TestTimeWeights:
    def test_a_weight_holds_from_its_start_to_the_next_and_the_first_before(self) -> None:
        weights = TimeWeights(np.array([2, 5], dtype=np.int64), np.array([0.5, 2.0]))
        assert weights.at(0, 8).tolist() == [0.5] * 5 + [2.0] * 3
        assert weights.at(4, 4).size == 0

    @pytest.mark.parametrize(
        ("starts", "values"),
        [([], []), ([1, 1], [1, 1]), ([2, 1], [1, 1]), ([1], [1, 2]), ([[1]], [[1]]), ([1], [-1]), ([1], [np.nan])],
    )
    def test_impossible_weights_are_refused(self, starts: list[int], values: list[float]) -> None:
        with pytest.raises(DataError):
            TimeWeights(np.array(starts, dtype=np.int64), np.array(values, dtype=np.float64))

    def test_they_cannot_be_changed(self) -> None:
        weights = TimeWeights(np.array([2], dtype=np.int64), np.array([0.5]))
        assert not weights.starts.flags.writeable
        assert not weights.values.flags.writeable
