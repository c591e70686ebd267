"""Walk-forward windows: nothing that is learned from reaches what it is judged on, and nothing is left out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.samples.windows import Kind, Schedule, Segment, Window, blocks, walk_forward

SCHEDULE = Schedule(Segment(0, 100), Segment(100, 150), Segment(150, 215), step=20, look_ahead=21)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    start = draw(st.integers(0, 20))
    train = Segment(start, start + draw(st.integers(60, 120)))
    after = train.stop + draw(st.integers(0, 5))
    valid = Segment(after, after + draw(st.integers(40, 60))) if draw(st.booleans()) else None
    border = (valid or train).stop + draw(st.integers(0, 8))
    return Schedule(
        train=train,
        valid=valid,
        test=Segment(border, border + draw(st.integers(1, 90))),
        step=draw(st.integers(1, 30)),
        look_ahead=draw(st.integers(0, 25)),
        kind=draw(st.sampled_from(Kind)),
        embargo=draw(st.integers(0, 6)),
        purge_valid=draw(st.booleans()),
    )


def walked(schedule: Schedule) -> tuple[Window, ...]:
    try:
        return walk_forward(schedule)
    except ConfigError:
        assume(False)
        raise


class TestInvariants:
    @given(schedules())
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_test_segments_partition_the_test_range(self, schedule: Schedule) -> None:
        tests = [w.test for w in walked(schedule)]
        assert tests[0].start == schedule.test.start
        assert tests[-1].stop == schedule.test.stop
        assert all(a.stop == b.start for a, b in itertools.pairwise(tests))
        assert all(len(s) == schedule.step for s in tests[:-1])
        assert 1 <= len(tests[-1]) <= schedule.step

    @given(schedules())
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_every_learning_label_is_known_at_the_decision_and_an_embargo_earlier(self, schedule: Schedule) -> None:
        for window in walked(schedule):
            for segment in (window.train, window.valid):
                if segment is not None:
                    assert segment.last + schedule.look_ahead + schedule.embargo <= window.decision
                    assert segment.stop <= window.test.start

    @given(schedules())
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_every_train_label_is_known_when_valid_begins(self, schedule: Schedule) -> None:
        for window in walked(schedule):
            if window.valid is not None:
                assert window.train.stop <= window.valid.start
                if schedule.purge_valid:
                    assert window.train.last + schedule.look_ahead + schedule.embargo <= window.valid.start

    @given(schedules())
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_purging_takes_no_more_than_it_must(self, schedule: Schedule) -> None:
        gap = schedule.look_ahead + schedule.embargo
        for window in walked(schedule):
            shift = window.index * schedule.step
            judged = [(window.valid, schedule.valid, window.test.start)]
            border = window.valid.start if window.valid is not None and schedule.purge_valid else window.test.start
            judged.append((window.train, schedule.train, border))
            for segment, first, edge in judged:
                if segment is None or first is None:
                    continue
                wanted = first.stop + shift
                assert segment.stop == wanted or (segment.stop < wanted and edge - segment.last == max(gap, 1))

    @given(schedules())
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_expanding_keeps_the_train_start_and_sliding_keeps_its_length(self, schedule: Schedule) -> None:
        windows = walked(schedule)
        if schedule.kind is Kind.EXPANDING:
            assert {w.train.start for w in windows} == {schedule.train.start}
        else:
            assert {len(w.train) for w in windows} == {len(windows[0].train)}
            assert [w.train.start - windows[0].train.start for w in windows] == [
                w.index * schedule.step for w in windows
            ]
        if schedule.valid is not None:
            assert {len(w.valid) for w in windows if w.valid is not None} == {len(windows[0].valid or ())}

    @given(schedules(), st.integers(1, 5))
    @settings(derandomize=True, deadline=None, max_examples=100)
    def test_a_window_does_not_depend_on_how_far_the_test_range_goes(self, schedule: Schedule, more: int) -> None:
        longer = replace(
            schedule, test=Segment(schedule.test.start, schedule.test.stop + more * schedule.step), kind=schedule.kind
        )
        for short, long in zip(walked(schedule), walked(longer), strict=False):
            assert (short.train, short.valid, short.test.start) == (long.train, long.valid, long.test.start)

    @given(schedules())
    @settings(derandomize=True, deadline=None, max_examples=100)
    def test_the_whole_past_ends_with_the_newest_learning_time(self, schedule: Schedule) -> None:
        for window in walked(schedule):
            last = window.train if window.valid is None else window.valid
            assert window.whole_past == Segment(window.train.start, last.stop)
            assert window.whole_past.last + schedule.look_ahead <= window.decision


class TestExamples:
    def test_the_purge_leaves_exactly_the_labels_that_are_known(self) -> None:
        first, second = walk_forward(SCHEDULE)[:2]
        assert (first.train, first.valid, first.test) == (Segment(0, 80), Segment(100, 130), Segment(150, 170))
        assert (second.train, second.valid, second.test) == (Segment(0, 100), Segment(120, 150), Segment(170, 190))

    def test_qlib_leaves_train_and_valid_adjacent_so_that_train_labels_reach_into_valid(self) -> None:
        window = walk_forward(replace(SCHEDULE, purge_valid=False))[0]
        assert (window.train, window.valid) == (Segment(0, 100), Segment(100, 130))
        assert window.train.last + SCHEDULE.look_ahead > window.train.stop

    def test_a_label_known_at_once_still_keeps_the_test_out_of_learning(self) -> None:
        window = walk_forward(replace(SCHEDULE, look_ahead=0))[0]
        assert (window.train.stop, window.valid) == (100, Segment(100, 150))

    def test_without_valid_train_moves_up_to_the_purge(self) -> None:
        windows = walk_forward(replace(SCHEDULE, train=Segment(0, 150), valid=None))
        assert [w.train.stop for w in windows] == [130, 150, 170, 190]
        assert [len(w.test) for w in windows] == [20, 20, 20, 5]

    @given(st.integers(0, 50), st.integers(1, 90), st.integers(1, 30))
    @settings(derandomize=True, deadline=None, max_examples=50)
    def test_blocks_partition_a_period(self, start: int, length: int, step: int) -> None:
        parts = blocks(start, start + length, step)
        assert [t for part in parts for t in range(part.start, part.stop)] == list(range(start, start + length))
        assert all(len(part) == step for part in parts[:-1])


class TestMistakes:
    @pytest.mark.parametrize(("start", "stop"), [(3, 3), (4, 3), (-1, 2)])
    def test_an_empty_segment_is_refused(self, start: int, stop: int) -> None:
        with pytest.raises(ConfigError, match="at least one time"):
            Segment(start, stop)

    def test_a_step_that_does_not_move_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="step"):
            replace(SCHEDULE, step=0)

    def test_an_embargo_shorter_than_the_purge_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="embargo"):
            replace(SCHEDULE, embargo=-1)

    @pytest.mark.parametrize(
        "change",
        [{"valid": Segment(99, 150)}, {"test": Segment(149, 200)}, {"train": Segment(0, 151), "valid": None}],
        ids=["train-valid", "valid-test", "train-test"],
    )
    def test_overlapping_segments_are_refused(self, change: dict[str, Segment | None]) -> None:
        with pytest.raises(ConfigError, match="without overlap"):
            replace(SCHEDULE, **change)  # type: ignore[arg-type]

    def test_a_segment_that_the_purge_empties_is_refused_by_name(self) -> None:
        with pytest.raises(ConfigError, match="valid segment of window 0") as caught:
            walk_forward(replace(SCHEDULE, valid=Segment(130, 150)))
        assert caught.value.where == "windows.valid"
        with pytest.raises(ConfigError, match="train segment of window 0"):
            walk_forward(replace(SCHEDULE, train=Segment(85, 100)))
