"""Who is told about progress."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Observer(Protocol):
    """Told about progress; returns nothing, so that it cannot change a number."""

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` units of work."""

    def advance(self, stage: str, done: int = 1) -> None:
        """Count `done` more units as finished."""

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        """Say anew how many units there are in all, and how long the rest will take, at least or about."""

    def finish(self, stage: str, note: str = "") -> None:
        """End the stage; `note` says what came of it."""

    def notice(self, message: str) -> None:
        """Tell the user something."""


class Silent:
    """An observer that ignores everything."""

    def start(self, stage: str, total: int) -> None: ...
    def advance(self, stage: str, done: int = 1) -> None: ...
    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None: ...
    def finish(self, stage: str, note: str = "") -> None: ...
    def notice(self, message: str) -> None: ...


@contextmanager
def telling(observer: Observer, stage: str) -> Iterator[None]:
    """Tell the observer of a stage that is one piece of work; one that goes wrong is never finished."""
    observer.start(stage, 1)
    yield
    observer.finish(stage)


class TimeLeft:
    """Tasks of several kinds that take very different times: an adaptation is not a window."""

    def __init__(self) -> None:
        self._left: Counter[Hashable] = Counter()
        self._seconds: defaultdict[Hashable, list[float]] = defaultdict(list)

    def expect(self, kind: Hashable, count: int = 1) -> None:
        """Add tasks that are still to be done; a negative count: that need not be done any more."""
        self._left[kind] = max(self._left[kind] + count, 0)

    def measured(self, kind: Hashable, seconds: float) -> None:
        self._seconds[kind].append(seconds)

    def seconds(self, workers: int = 1, *, alike: bool = False) -> tuple[float, bool]:
        """Return the wall time left, and whether it is only a lower bound: a kind that is left never ended so far.

        `alike`: the kinds are like enough that an unknown one counts as long as the fastest known, not as nothing.
        """
        known = {kind: sum(found) / len(found) for kind, found in self._seconds.items()}
        left = {kind: count for kind, count in self._left.items() if count > 0}
        least = min(known.values(), default=0.0) if alike else 0.0
        total = sum(known.get(kind, least) * count for kind, count in left.items())
        return total / workers, any(kind not in known for kind in left)


class Countdown:
    """Tells an observer of `total` units of one kind, and how long the others will take.

    That is learned from those that were computed; one that was found in the store says nothing about the others.
    """

    def __init__(self, observer: Observer, stage: str, total: int) -> None:
        self._observer, self._stage, self._total, self._left = observer, stage, total, TimeLeft()
        self._left.expect(stage, total)
        observer.start(stage, total)

    def ended(self, computed: float | None) -> None:
        """Count a unit; `computed`: the seconds that it took, None when it was found, refused or failed."""
        self._left.expect(self._stage, -1)
        if computed is not None:
            self._left.measured(self._stage, computed)
        self._observer.advance(self._stage)
        seconds, at_least = self._left.seconds()
        self._observer.estimate(self._stage, self._total, seconds, at_least=at_least)

    def finish(self, note: str = "") -> None:
        self._observer.finish(self._stage, note)
