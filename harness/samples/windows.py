"""Walk-forward windows: pure functions on integer calendar positions, purged at every border."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum

from harness.errors import ConfigError, RefusedError
from harness.errors.limits import Count, Natural, check_limits


class Kind(StrEnum):
    """How the train segment follows the test segment."""

    EXPANDING = "expanding"
    SLIDING = "sliding"


@dataclass(frozen=True, order=True)
class Segment:
    """Half-open calendar positions [start, stop), never empty."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            got = f"positions [{self.start}, {self.stop})"
            raise ConfigError("A segment must hold at least one time.", got=got, expected="0 ≤ start < stop")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def last(self) -> int:
        """The last position that belongs to it."""
        return self.stop - 1


@dataclass(frozen=True)
class Window:
    """One walk-forward step.

    Attributes:
        train, valid: Learning segments; every label in them is known at `decision`.
        test: The predicted segment; its predictions are made with what is known at `decision` and each time's own
            features.
        include_valid: Whether a model that stops nothing early, and does not say otherwise, learns from `valid` too.
    """

    index: int
    train: Segment
    valid: Segment | None
    test: Segment
    include_valid: bool = True

    @property
    def decision(self) -> int:
        """The position at whose close the model is fitted: the first of the test segment."""
        return self.test.start

    @property
    def learn_stop(self) -> int:
        """One past the newest learning position."""
        return self.train.stop if self.valid is None else max(self.train.stop, self.valid.stop)

    @property
    def whole_past(self) -> Segment:
        """Train and valid as one segment, for a model that needs no validation."""
        return Segment(self.train.start, self.learn_stop)


@dataclass(frozen=True)
class Schedule:
    """What determines the windows.

    Attributes:
        train, valid, test: The segments of the first window before any purge; `test` is the whole test range.
        step: Periods per test segment.
        look_ahead: Derived from the label: a label at s is known at s + look_ahead.
        kind: ``expanding`` keeps the train start, ``sliding`` moves it.
        embargo: Extra times left out at every border, beyond the purge.
        purge_valid: Purge between train and valid too. Only qlib parity switches it off: there, train labels reach into
            valid.
        include_valid: As in `Window`.
        memory: Periods before each decision beyond which nothing is learned from; None: all that is known.
    """

    train: Segment
    valid: Segment | None
    test: Segment
    step: Count
    look_ahead: int
    kind: Kind = Kind.EXPANDING
    embargo: Natural = 0
    purge_valid: bool = True
    include_valid: bool = True
    memory: Count | None = None

    def __post_init__(self) -> None:
        check_limits(self, "windows")
        ordered = [s for s in (self.train, self.valid, self.test) if s is not None]
        for earlier, later in itertools.pairwise(ordered):
            if later.start < earlier.stop:
                raise ConfigError(
                    "Segments must follow each other without overlap.",
                    where="windows.train | windows.valid | windows.test",
                    got=f"positions [{earlier.start}, {earlier.stop}) then [{later.start}, {later.stop})",
                )


def walk_forward(schedule: Schedule) -> tuple[Window, ...]:
    """Return the windows of a schedule, in time order.

    The test segments partition the test range; the last may be shorter. Segments move by `step`; each learning segment
    is then cut so that its newest label is known when what follows it is judged: at t − look_ahead − embargo for a
    border at t (the purge that qlib calls ``trunc_days = horizon + 1``).

    Raises:
        ConfigError: When a purge leaves a segment empty; the window is named.
    """
    gap = schedule.look_ahead + schedule.embargo
    windows = []
    for index, test in enumerate(blocks(schedule.test.start, schedule.test.stop, schedule.step)):
        shift = index * schedule.step
        latest = test.start - gap + 1
        valid = None
        if schedule.valid is not None:
            moved = (schedule.valid.start + shift, schedule.valid.stop + shift)
            valid = _cut(moved, latest, "valid", index)
            if schedule.purge_valid:
                latest = valid.start - gap + 1
        train_start = schedule.train.start + (shift if schedule.kind is Kind.SLIDING else 0)
        if schedule.memory is not None:
            train_start = max(train_start, test.start - schedule.memory)
        train = _cut((train_start, schedule.train.stop + shift), latest, "train", index)
        windows.append(Window(index, train, valid, test, schedule.include_valid))
    return tuple(windows)


def blocks(start: int, stop: int, step: int) -> tuple[Segment, ...]:
    """Return consecutive segments of `step` periods that cover [start, stop); the last may be shorter."""
    return tuple(Segment(at, min(at + step, stop)) for at in range(start, stop, step))


def _cut(moved: tuple[int, int], latest: int, name: str, index: int) -> Segment:
    start, stop = moved[0], min(moved[1], latest)
    if stop <= start:
        raise RefusedError(
            f"The purge leaves nothing of the {name} segment of window {index}.",
            where=f"windows.{name}",
            got=f"{moved[1] - moved[0]} periods, of which those from position {max(latest, 0)} on must be purged",
            expected="a segment longer than look-ahead plus embargo, or one that ends earlier",
        )
    return Segment(start, stop)
