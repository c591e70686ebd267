from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.adaptation.ddgda.meta_task import (
    POINT_IN_TIME,
    QLIB,
    MetaRanges,
    MetaTask,
    Phase,
    Span,
    assign_phases,
    candidate_tasks,
)
from harness.data.calendar import Calendar
from harness.errors import ConfigError

# The proportions of the published scenario: blocks from 2008 on, tasks from 2011 to 2020, tests from 2017 on.
SPAN = Span(start=80, first_test=810, final=2307, stop=3186, step=20, look_ahead=21, history=600)
CALENDAR = Calendar(np.datetime64("2000-01-01") + np.arange(3300))


def phases(segments: float | str | MetaRanges | None, span: Span = SPAN, *, qlib: bool = False) -> tuple[MetaTask, ...]:
    return assign_phases(candidate_tasks(span), segments, span, CALENDAR, QLIB if qlib else POINT_IN_TIME)


def of(tasks: tuple[MetaTask, ...], phase: Phase) -> list[MetaTask]:
    return [task for task in tasks if task.phase is phase]


def test_tasks_partition_the_range_and_each_learns_only_what_is_known_at_its_decision() -> None:
    tasks = candidate_tasks(SPAN)
    assert len(tasks) == 119
    assert [t.test.start for t in tasks[1:]] == [t.test.stop for t in tasks[:-1]]
    assert (tasks[0].test.start, tasks[-1].test.stop) == (SPAN.first_test, SPAN.stop)
    assert {t.train.last + SPAN.look_ahead - t.decision for t in tasks} == {0}


def test_a_share_becomes_a_date_before_tasks_are_left_out() -> None:
    borders = {
        history: of(phases(0.62, replace(SPAN, history=history)), Phase.META_TRAIN)[-1].test.stop
        for history in (600, 800, 1000, 1200)
    }
    assert len(set(borders.values())) == 1


@pytest.mark.parametrize(("history", "inside"), [(600, 0), (800, 1), (1000, 5), (1200, 9)])
def test_in_qlib_a_longer_history_pushes_meta_training_into_the_test_period(history: int, inside: int) -> None:
    # The share counts the tasks that survive the history filter, so the split moves with hist_step_n.
    trained = of(phases(0.62, replace(SPAN, history=history), qlib=True), Phase.META_TRAIN)
    assert sum(task.test.stop > SPAN.final for task in trained) == inside


@pytest.mark.parametrize("share", [0.65, 0.70, 0.80])
def test_a_share_that_reaches_into_the_test_period_is_refused_with_the_tasks(share: float) -> None:
    with pytest.raises(ConfigError) as caught:
        phases(share)
    offending = sum(t.test.stop > SPAN.final for t in of(phases(share, qlib=True), Phase.META_TRAIN))
    assert offending > 0
    assert f"{offending} meta-training task(s)" in str(caught.value)
    assert str(caught.value.got).count("…") == offending
    assert CALENDAR.format(SPAN.final) in str(caught.value)


def test_the_share_named_in_the_refusal_is_accepted() -> None:
    with pytest.raises(ConfigError) as caught:
        phases(0.9)
    share = float(str(caught.value.hint).split("at most ")[1].split(",")[0])
    assert of(phases(share), Phase.META_TRAIN)


def test_null_trains_on_everything_that_is_known_at_the_first_test() -> None:
    trained = of(phases(None), Phase.META_TRAIN)
    left = [t for t in candidate_tasks(SPAN) if t.index > trained[-1].index]
    assert trained[-1].test.last + SPAN.look_ahead <= SPAN.final
    assert left[0].test.last + SPAN.look_ahead > SPAN.final


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    segments=st.floats(0.2, 0.6) | st.integers(1100, 2250).map(CALENDAR.format),
    step=st.integers(1, 60),
    look_ahead=st.integers(1, 60),
)
def test_every_border_is_purged(segments: float | str, step: int, look_ahead: int) -> None:
    span = replace(SPAN, step=step, look_ahead=look_ahead, history=step * 5)
    tasks = phases(segments, span)
    trained, tested = of(tasks, Phase.META_TRAIN), of(tasks, Phase.META_TEST)
    known = [task.test.last + look_ahead for task in trained]
    assert max(known) <= min([*(task.decision for task in tested), span.final])
    assert all(task.test.last + look_ahead <= span.final for task in tested)
    assert all(len(task.train) >= span.history for task in trained + tested)
    assert [t.index for t in tasks] == list(range(len(tasks)))


def test_dates_and_ranges_split_where_they_say() -> None:
    date = CALENDAR.format(1610)
    by_date = phases(date)
    assert of(by_date, Phase.META_TEST)[0].test.start == 1610
    ranges = MetaRanges(train=(CALENDAR.format(1010), CALENDAR.format(1609)), test=(date, CALENDAR.format(1809)))
    by_range = phases(ranges)
    assert {t.test.start for t in of(by_range, Phase.META_TRAIN)} <= set(range(1010, 1610))
    assert [t.test.start for t in of(by_range, Phase.META_TEST)] == list(range(1610, 1810, 20))
    assert Counter(t.phase for t in by_range)[Phase.OUTSIDE] > 0


def test_a_task_that_straddles_a_date_judges_it() -> None:
    tasks = phases(CALENDAR.format(1615))
    assert of(tasks, Phase.META_TEST)[0].test.start == 1610


def test_ranges_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="Meta-test must follow"):
        phases(MetaRanges(train=(CALENDAR.format(1010), CALENDAR.format(1609)), test=("2002-12-01", "2003-12-01")))


def test_skipped_tasks_are_kept_with_the_reason() -> None:
    tasks = phases(0.62, replace(SPAN, history=800))
    assert all(len(task.train) < 800 for task in of(tasks, Phase.SHORT_HISTORY))
    assert len(of(tasks, Phase.SHORT_HISTORY)) == 5
    assert len(tasks) == 119


def test_nothing_to_train_on_is_an_error_that_counts_the_reasons() -> None:
    with pytest.raises(ConfigError) as caught:
        phases(0.05, replace(SPAN, history=1500))
    assert "too little history" in str(caught.value.got)


def test_a_first_task_without_a_past_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to learn"):
        candidate_tasks(replace(SPAN, first_test=SPAN.start + SPAN.look_ahead - 1))


def test_by_default_nothing_is_judged_in_the_final_test_period_unlike_in_qlib() -> None:
    ours, qlibs = phases(0.5), phases(0.5, qlib=True)
    assert of(ours, Phase.META_TEST)[-1].test.last + SPAN.look_ahead <= SPAN.final
    assert of(qlibs, Phase.META_TEST)[-1].test.stop == SPAN.stop
    assert not of(qlibs, Phase.PURGED)
