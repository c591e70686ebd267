"""Meta-tasks on the calendar, and which of them train and which judge the weight model: pure functions on positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from harness.data.calendar import Calendar
from harness.data.dates import configured_span
from harness.errors import ConfigError, RefusedError
from harness.samples.windows import Segment


@dataclass(frozen=True)
class Switches:
    """Single flags that are turned, so that what each carries can be measured.

    Each is None, as the profile says, or replaces the flag of the same name. The profiles differ in the leaks alone; in
    the last three both do what qlib does.

    Attributes:
        learn_choice_late: Choose features on the train segment of the first final window: a leak.
        count_survivors: Count a share of `segments` among the tasks with enough history, and purge nothing: a leak.
        judge_in_test: Let meta-test tasks lie in the final test period: they are watched, nothing learns from them.
        drop_before_scoring: Drop rows without a label before the per-time z-score: a leak.
        undefined_is_best: Fill an undefined similarity like a masked one.
        shrink_correlation: Take the correlation times (n − 1)/n as loss.
        plain_tail: Let rows after the last block weigh 1 at inference.
    """

    learn_choice_late: bool | None = None
    count_survivors: bool | None = None
    judge_in_test: bool | None = None
    drop_before_scoring: bool | None = None
    undefined_is_best: bool | None = None
    shrink_correlation: bool | None = None
    plain_tail: bool | None = None

    def applied(self, flags: Flags) -> Flags:
        """Return the flags with every switch that is set."""
        return replace(flags, **{name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class Flags(Switches):
    """Every switch set; the default is qlib's choice, its leaks closed."""

    learn_choice_late: bool = False
    count_survivors: bool = False
    judge_in_test: bool = False
    drop_before_scoring: bool = False
    undefined_is_best: bool = True
    shrink_correlation: bool = True
    plain_tail: bool = True

    @property
    def leaks(self) -> tuple[str, ...]:
        """Names of the flags by which something is read before it is known."""
        return tuple(name for name in LEAKS if getattr(self, name))


LEAKS = ("learn_choice_late", "count_survivors", "judge_in_test", "drop_before_scoring")
POINT_IN_TIME = Flags()
QLIB = Flags(**dict.fromkeys(LEAKS, True))


class Phase(StrEnum):
    """What a meta-task is used for, or why it is not."""

    META_TRAIN = "meta-train"
    META_TEST = "meta-test"
    SHORT_HISTORY = "skipped: too little history"
    PURGED = "purged: its labels are not known at the border"
    IN_TEST = "left out: in the final test period"
    UNJUDGED = "left out: no time has enough labelled instruments"
    OUTSIDE = "left out: outside the ranges"


USED = (Phase.META_TRAIN, Phase.META_TEST)


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
        for name in ("train", "test"):
            if getattr(self, name) is not None:
                span = configured_span(getattr(self, name), f"adaptation.segments.{name}")
                object.__setattr__(self, name, span)


@dataclass(frozen=True)
class MetaTask:
    """One inner problem: learn on `train`, be judged on `test`; the newest label of `train` is known when it begins."""

    index: int
    train: Segment
    test: Segment
    phase: Phase = Phase.META_TRAIN

    @property
    def decision(self) -> int:  # the position at whose close the inner problem is solved
        return self.test.start


@dataclass(frozen=True)
class Span:
    """What the splits need to know about the experiment, in calendar positions.

    Attributes:
        start: First learning position; the blocks begin there.
        first_test: Where the first meta-task's test segment begins.
        final, stop: The decision of the first final window; one past the final test range.
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
            where, got = "adaptation.meta_1st_train_end", f"{at - span.start} periods before its test segment"
            expected = f"more than the look-ahead of {span.look_ahead} periods"
            text, hint = "nothing to learn from", "a later date, or null for the earliest one with enough history"
            raise RefusedError(f"The first meta-task has {text}.", where=where, got=got, expected=expected, hint=hint)
        test = Segment(at, min(at + span.step, span.stop))
        tasks.append(MetaTask(index, Segment(span.start, train_stop), test))
    return tuple(tasks)


def assign_phases(
    tasks: Sequence[MetaTask], segments: float | str | MetaRanges | None, span: Span, calendar: Calendar, flags: Flags
) -> tuple[MetaTask, ...]:
    """Return the tasks of `candidate_tasks` with their phases; refuse one that trains in the final test period.

    `segments` says where meta-training ends: a share of the tasks, a date as text (a task that ends before it trains; a
    month or year means its beginning), explicit ranges, or None for the first final decision. A share is resolved to a
    date before any task is left out.
    """
    counted = [task for task in tasks if len(task.train) >= span.history or not flags.count_survivors]
    ranges = _resolve(segments, counted, span, calendar)
    chosen = []
    for task in tasks:
        inside = (p for p, (start, stop) in ranges.items() if start <= task.test.start and task.test.stop <= stop)
        chosen.append(replace(task, phase=next(inside, Phase.OUTSIDE)))
    if not flags.count_survivors:
        _refuse_overlap(chosen, span, calendar)
        border = min([*(t.decision for t in chosen if t.phase is Phase.META_TEST), span.final])
        chosen = _marked(chosen, Phase.META_TRAIN, Phase.PURGED, border - span.look_ahead)
    if not flags.judge_in_test:
        chosen = _marked(chosen, Phase.META_TEST, Phase.IN_TEST, span.final - 1)
        chosen = _marked(chosen, Phase.META_TEST, Phase.PURGED, span.final - span.look_ahead)
    short = [replace(t, phase=Phase.SHORT_HISTORY) if len(t.train) < span.history else t for t in chosen]
    if not any(t.phase is Phase.META_TRAIN for t in short):
        raise RefusedError(
            "No meta-task is left to train on.",
            where="adaptation.hist_step_n | adaptation.segments | adaptation.meta_1st_train_end",
            got="; ".join(sorted(f"{n} {phase}" for phase, n in Counter(t.phase for t in short).items())) or "no task",
            expected=f"at least one task with {span.history} periods of history that ends before the first final test",
        )
    return tuple(short)


def _marked(tasks: Sequence[MetaTask], phase: Phase, becomes: Phase, newest: int) -> list[MetaTask]:
    """Return the tasks, those of `phase` that are judged beyond position `newest` with another phase."""
    return [replace(t, phase=becomes) if t.phase is phase and t.test.last > newest else t for t in tasks]


def _resolve(
    segments: float | str | MetaRanges | None, counted: Sequence[MetaTask], span: Span, calendar: Calendar
) -> dict[Phase, tuple[int, int]]:
    """Return the half-open positions in which the test segment of a task must lie to train or to judge."""
    if isinstance(segments, MetaRanges):
        ranges = {Phase.META_TRAIN: calendar.span(*segments.train)}
        if segments.test is not None:
            ranges[Phase.META_TEST] = calendar.span(*segments.test)
            if ranges[Phase.META_TEST][0] < ranges[Phase.META_TRAIN][1]:
                text, where = "Meta-test must follow meta-train.", "adaptation.segments.test"
                raise ConfigError(text, where=where, got=segments.test)
        return ranges
    if isinstance(segments, str):
        split = calendar.first_at_or_after(segments)
    elif segments is None:
        split = span.final
    else:
        train_n = int(len(counted) * segments)
        split = counted[train_n].test.start if train_n < len(counted) else span.stop
    # A task that straddles a date belongs to meta-test, as it is not over before the date.
    straddling = max((t.test.start for t in counted if t.test.start < split < t.test.stop), default=split)
    return {Phase.META_TRAIN: (span.first_test, split), Phase.META_TEST: (straddling, span.stop)}


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
