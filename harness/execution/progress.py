"""Who is told about progress: nobody, or lines for logs, cron and notebooks; and how long the rest will take."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from typing import Protocol, Self

# So that a line comes at least every 10 seconds, and the first within 2 seconds of the start of the program.
_EVERY, _FIRST = 9.0, 1.0
_SHORTEST = 0.5  # seconds; a stage that took less is worth no line of its own
_SHORTEST_INSIDE = 2.0  # the same for a stage inside another
_SHORTEST_WAIT = 0.05  # seconds until it is looked again whether a line is due


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


@contextmanager
def repeated(look: Callable[[], object], every: float) -> Iterator[None]:
    """Call a function every so many seconds while the block runs, in a thread."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(every):
            look()

    thread = threading.Thread(target=beat, name="look", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    return str(timedelta(seconds=round(max(seconds, 0.0))))


@dataclass
class Stage:
    """A stage that runs; `left`: seconds that were left at a time of the clock, and whether at least."""

    name: str
    began: float
    total: int
    inside: bool
    done: int = 0
    left: tuple[float, float, bool] | None = None

    @property
    def text(self) -> str:
        return f"{self.name} {self.done}/{self.total}" if self.total > 1 else self.name

    def time_left(self, now: float) -> str | None:
        """Return the time left, None when nothing is known; where nobody has estimated, units are taken to be alike."""
        if self.left is not None:
            seconds, told, at_least = self.left
            seconds = max(seconds - (now - told), 0.0)
        elif 0 < self.done < self.total:
            seconds, at_least = (now - self.began) / self.done * (self.total - self.done), False
        else:
            return None
        is_bound = at_least or self.inside
        return None if is_bound and seconds < 1 else f"{'≥ ' * is_bound}{duration(seconds)}"


class PlainObserver:
    """Tells progress line by line: what runs, how much of it is done, and the time left.

    Inside ``with`` a line is written at least every ten seconds, also while one long fit reports nothing; `run` and
    `run_experiment` enter it. A stage that took half a second or longer gets a line when it ends.

    >>> from harness import PlainObserver, run_experiment
    >>> result = run_experiment(["data=synthetic"], observer=PlainObserver(print))  # doctest: +SKIP

    Args:
        write: Takes a line, such as `print` or a logger's ``info``.
        every: Most seconds between two lines while something runs.
        clock: Seconds that never go back.
        verbose: A line for the end of every stage, however short.
        began: When the work began, by the clock, where another part of it came before; by default with ``with``.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        every: float = _EVERY,
        clock: Callable[[], float] = time.monotonic,
        verbose: bool = False,
        began: float | None = None,
    ) -> None:
        self._write, self._every, self._clock, self._verbose = write, every, clock, verbose
        self._stages: list[Stage] = []
        self._before, self._has_begun = began, False
        self._reset()
        self._lock = threading.RLock()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self._reset()
        self._stopped.clear()
        # A daemon: it must not keep a process alive that ends without leaving the block.
        self._beats = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._beats.join()
        self._stages.clear()

    def start(self, stage: str, total: int) -> None:
        with self._lock:
            self._has_begun = True
            self._stages.append(Stage(stage, self._clock(), total, inside=bool(self._stages)))
            self.tick()

    def advance(self, stage: str, done: int = 1, note: str = "") -> None:
        """Count units as finished; `note` says what has ended, on a line of its own."""
        with self._lock:
            if (found := self._find(stage)) is not None:
                found.done += done
            if note:
                self._line(f"{self._state()}: {note}")
            else:
                self.tick()

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        with self._lock:
            if (found := self._find(stage)) is not None:
                found.total, found.left = total, (seconds, self._clock(), at_least)
            self.tick()

    def finish(self, stage: str, note: str = "") -> None:
        with self._lock:
            if (ended := self._find(stage)) is None:
                return
            self._stages.pop()
            seconds = self._clock() - ended.began
            if self._verbose:
                self._put(f"{stage:<12}{seconds:8.2f} s  {note}".rstrip())
            elif seconds >= (_SHORTEST_INSIDE if ended.inside else _SHORTEST):
                self._line(f"{ended.text} took {seconds:.1f} s{f': {note}' if note else ''}")

    def notice(self, message: str) -> None:
        with self._lock:
            self._put(f"note: {message}", "yellow")

    def tick(self) -> None:
        """Write what runs if a line is due; nothing before the first stage."""
        with self._lock:
            if self._has_begun and self._clock() >= self._due:
                self._line(self._state())

    def _reset(self) -> None:
        self._began = self._clock() if self._before is None else self._before
        self._due = self._began + min(_FIRST, self._every)

    def _beat(self) -> None:
        while not self._stopped.wait(max(self._due - self._clock(), _SHORTEST_WAIT)):
            self.tick()

    def _find(self, name: str) -> Stage | None:
        """Return a running stage. What began after it has ended, if only by an error that nobody told us of.

        None where it does not run: what turns out to be damaged in the store is made again wherever it is read.
        """
        if all(stage.name != name for stage in self._stages):
            return None
        while self._stages[-1].name != name:
            self._stages.pop()
        return self._stages[-1]

    def _state(self) -> str:
        """Name the stages that run, the outermost first, and the time left of it, or at least of one inside."""
        names, now = ", ".join(stage.text for stage in self._stages) or "running", self._clock()
        left = next((text for stage in self._stages if (text := stage.time_left(now)) is not None), None)
        return names if left is None else f"{names}, {left} left"

    def _line(self, text: str) -> None:
        self._put(f"{duration(self._clock() - self._began)}  {text}")

    def _put(self, line: str, style: str = "dim") -> None:
        """Write a line; the style is for a terminal."""
        self._write(line)
        self._due = self._clock() + self._every


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
    """Tells an observer of `total` units, and how long the others will take.

    That is learned from those of their kind that were computed; one that was found in the store says nothing about the
    others. `kinds`: of the units that take time, where there are several.
    """

    def __init__(self, observer: Observer, stage: str, total: int, kinds: Iterable[Hashable] | None = None) -> None:
        self._observer, self._stage, self._total, self._left = observer, stage, total, TimeLeft()
        for kind in repeat(None, total) if kinds is None else kinds:
            self._left.expect(kind)
        observer.start(stage, total)

    def ended(self, computed: float | None, kind: Hashable = None) -> None:
        """Count a unit; `computed`: the seconds that it took, None when it was found, refused or failed."""
        self._left.expect(kind, -1)
        if computed is not None:
            self._left.measured(kind, computed)
        self._observer.advance(self._stage)
        seconds, at_least = self._left.seconds(alike=True)
        self._observer.estimate(self._stage, self._total, seconds, at_least=at_least)

    def finish(self, note: str = "") -> None:
        self._observer.finish(self._stage, note)
