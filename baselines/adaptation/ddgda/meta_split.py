"""Meta-tasks on the calendar, and which of them train and which judge the weight model: pure functions on positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from baselines.adaptation.ddgda.profile import Profile
from harness.data.calendar import Calendar
from harness.data.dates import configured_span
from harness.errors import ConfigError, RefusedError
from harness.samples.windows import Segment


class Phase(StrEnum):
    """What a meta-task is used for, or why it is not."""

    META_TRAIN = "meta-train"
    META_TEST = "meta-test"
    SHORT_HISTORY = "skipped: too little history"
    PURGED = "purged: its labels are not known at the border"
    IN_TEST = "left out: in the final test period"
    UNJUDGED = "left out: no time has enough labelled instruments"
    OUTSIDE = "left out: outside the ranges"


@dataclass(frozen=True)
class MetaRanges:
    """Explicit first and last dates of the test segments of the meta-tasks.

    Attributes:
        train: Of the tasks that are learned from.
        test: Of those that are only watched; None: there are none.

    Raises:
        ConfigError: When one is no date, or a last date lies before its first.
    """

    train: tuple[str | int | None, str | int | None]
    test: tuple[str | int | None, str | int | None] | None = None

    def __post_init__(self) -> None:
        """Write dates in one way."""
        object.__setattr__(self, "train", configured_span(self.train, "adaptation.segments.train"))
        if self.test is not None:
            object.__setattr__(self, "test", configured_span(self.test, "adaptation.segments.test"))


@dataclass(frozen=True)
class MetaTask:
    """One inner problem: learn on `train`, be judged on `test`.

    Attributes:
        index: 0, 1, … in time order.
        train, test: The newest label of `train` is known when `test` begins.
        phase: Its use.
    """

    index: int
    train: Segment
    test: Segment
    phase: Phase = Phase.META_TRAIN

    @property
    def decision(self) -> int:
        """The position at whose close the inner problem is solved."""
        return self.test.start


@dataclass(frozen=True)
class Span:
    """What the splits need to know about the experiment, in calendar positions.

    Attributes:
        start: First learning position; the blocks begin there.
        first_test: Where the first meta-task's test segment begins.
        final: The decision of the first final window.
        stop: One past the final test range.
        step, look_ahead: Times per block and test segment; a label at s is known at s + look_ahead.
        history: Times of similarity that a task needs.
    """

    start: int
    first_test: int
    final: int
    stop: int
    step: int
    look_ahead: int
    history: int


def candidate_tasks(span: Span) -> tuple[MetaTask, ...]:
    """Return the tasks whose test segments partition [first_test, stop), each trained on all that is known by then."""
    tasks = []
    for index, at in enumerate(range(span.first_test, span.stop, span.step)):
        train_stop = at - span.look_ahead + 1
        if train_stop <= span.start:
            raise RefusedError(
                "The first meta-task has nothing to learn from.",
                where="adaptation.meta_1st_train_end",
                got=f"{at - span.start} periods before its test segment",
                expected=f"more than the look-ahead of {span.look_ahead} periods",
                hint="a later date, or null for the earliest one with enough history",
            )
        test = Segment(at, min(at + span.step, span.stop))
        tasks.append(MetaTask(index, Segment(span.start, train_stop), test))
    return tuple(tasks)


def assign_phases(
    tasks: Sequence[MetaTask],
    segments: float | str | MetaRanges | None,
    span: Span,
    calendar: Calendar,
    profile: Profile,
) -> tuple[MetaTask, ...]:
    """Return the tasks with their phases.

    Args:
        tasks: From `candidate_tasks`.
        segments: Where meta-training ends: a share of the tasks, a date as text (a task that ends before it trains; a
            month or year means its beginning), explicit ranges, or None for the first final decision. A share is
            resolved to a date before any task is left out.
        span, calendar: The experiment.
        profile: With `count_survivors`, a share counts the tasks with enough history and no border is purged, as in
            qlib.

    Raises:
        ConfigError: When a meta-train task would be judged on the final test period; the tasks are listed.
    """
    enough = [task for task in tasks if len(task.train) >= span.history]
    counted = enough if profile.count_survivors else list(tasks)
    ranges = _resolve(segments, counted, span, calendar)
    chosen = [replace(task, phase=ranges.phase(task)) for task in tasks]
    if not profile.count_survivors:
        _refuse_overlap(chosen, span, calendar)
        chosen = _purge(chosen, span)
    if not profile.judge_in_test:
        chosen = [
            replace(t, phase=Phase.IN_TEST) if t.phase is Phase.META_TEST and t.test.stop > span.final else t
            for t in chosen
        ]
        chosen = [_purged_at(t, Phase.META_TEST, span.final, span.look_ahead) for t in chosen]
    short = [replace(t, phase=Phase.SHORT_HISTORY) if len(t.train) < span.history else t for t in chosen]
    if not any(t.phase is Phase.META_TRAIN for t in short):
        raise RefusedError(
            "No meta-task is left to train on.",
            where="adaptation.hist_step_n | adaptation.segments | adaptation.meta_1st_train_end",
            got="; ".join(sorted({f"{sum(u.phase is t.phase for u in short)} {t.phase}" for t in short})) or "no task",
            expected=f"at least one task with {span.history} periods of history that ends before the first final test",
        )
    return tuple(short)


@dataclass(frozen=True)
class _Ranges:
    """Half-open positions in which a task's test segment must lie."""

    train: tuple[int, int]
    test: tuple[int, int] | None

    def phase(self, task: MetaTask) -> Phase:
        for bounds, phase in ((self.train, Phase.META_TRAIN), (self.test, Phase.META_TEST)):
            if bounds is not None and bounds[0] <= task.test.start and task.test.stop <= bounds[1]:
                return phase
        return Phase.OUTSIDE


def _resolve(
    segments: float | str | MetaRanges | None, counted: Sequence[MetaTask], span: Span, calendar: Calendar
) -> _Ranges:
    if isinstance(segments, MetaRanges):
        train = calendar.span(*segments.train)
        test = None if segments.test is None else calendar.span(*segments.test)
        if test is not None and test[0] < train[1]:
            raise ConfigError("Meta-test must follow meta-train.", where="adaptation.segments.test", got=segments.test)
        return _Ranges(train, test)
    if isinstance(segments, str):
        split = calendar.first_at_or_after(segments)
    elif segments is None:
        split = span.final
    else:
        train_n = int(len(counted) * segments)
        split = counted[train_n].test.start if train_n < len(counted) else span.stop
    # A task that straddles a date belongs to meta-test, as it is not over before the date.
    straddling = max((t.test.start for t in counted if t.test.start < split < t.test.stop), default=split)
    return _Ranges((span.first_test, split), (straddling, span.stop))


def _refuse_overlap(tasks: Sequence[MetaTask], span: Span, calendar: Calendar) -> None:
    offending = [t for t in tasks if t.phase is Phase.META_TRAIN and t.test.stop > span.final]
    if not offending:
        return
    named = [f"{calendar.format(t.test.start)} … {calendar.format(t.test.last)}" for t in offending]
    share = sum(t.test.stop <= span.final for t in tasks) / len(tasks)
    raise RefusedError(
        f"{len(offending)} meta-training task(s) would lie in the final test period.",
        where="adaptation.segments",
        got="; ".join(named),
        expected=f"tasks that end before {calendar.format(span.final)}",
        hint=f"a share of at most {int(share * 100) / 100:.2f}, a date up to {calendar.format(span.final)}, or null",
    )


def _purge(tasks: Sequence[MetaTask], span: Span) -> list[MetaTask]:
    judged = [t.decision for t in tasks if t.phase is Phase.META_TEST]
    border = min([*judged, span.final])
    return [_purged_at(t, Phase.META_TRAIN, border, span.look_ahead) for t in tasks]


def _purged_at(task: MetaTask, phase: Phase, border: int, look_ahead: int) -> MetaTask:
    late = task.phase is phase and task.test.last + look_ahead > border
    return replace(task, phase=Phase.PURGED) if late else task
