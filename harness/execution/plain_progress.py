"""Progress as plain lines: for logs, cron and notebooks, where a bar would be noise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

# So that a line comes at least every 10 seconds, and the first within 2 seconds of the start of the program.
_EVERY, _FIRST = 9.0, 1.0
_SHORTEST = 0.5  # seconds; a stage that took less is worth no line of its own
_SHORTEST_INSIDE = 2.0  # the same for a stage inside another


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    return str(timedelta(seconds=round(max(seconds, 0.0))))


def time_left(seconds: float, *, at_least: bool) -> str | None:
    """Return an estimate as text; None when nothing is known yet."""
    if at_least and seconds < 1:
        return None
    return f"{'≥ ' if at_least else ''}{duration(seconds)}"


def stage_line(stage: str, seconds: float, note: str) -> str:
    """Return what a verbose command tells of a stage that has ended."""
    return f"{stage:<12}{seconds:8.2f} s  {note}".rstrip()


@dataclass
class _Stage:
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

    def estimate(self, now: float) -> tuple[float, bool] | None:
        """Return the seconds left and whether at least; where nobody has estimated, units are taken to be alike."""
        if self.left is not None:
            seconds, told, at_least = self.left
            return max(seconds - (now - told), 0.0), at_least
        if 0 < self.done < self.total:
            return (now - self.began) / self.done * (self.total - self.done), False
        return None


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
        self._stages: list[_Stage] = []
        self._before, self._began, self._due = began, 0.0, 0.0
        self._reset()
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._beats: threading.Thread | None = None

    def __enter__(self) -> PlainObserver:
        with self._lock:
            self._reset()
        self._stopped.clear()
        # A daemon: it must not keep a process alive that ends without leaving the block.
        self._beats = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._beats is not None:
            self._beats.join()
        self._beats = None
        self._stages.clear()

    def start(self, stage: str, total: int) -> None:
        with self._lock:
            self._stages.append(_Stage(stage, self._clock(), total, inside=bool(self._stages)))
            self.tick()

    def advance(self, stage: str, done: int = 1, note: str = "") -> None:
        with self._lock:
            found = self._find(stage)
            found.done += done
            if note:
                self._line(f"{self._state()}: {note}")
            else:
                self.tick()

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        with self._lock:
            found = self._find(stage)
            found.total, found.left = total, (seconds, self._clock(), at_least)
            self.tick()

    def finish(self, stage: str, note: str = "") -> None:
        with self._lock:
            ended = self._find(stage)
            self._stages.pop()
            seconds = self._clock() - ended.began
            if self._verbose:
                self._put(stage_line(stage, seconds, note))
            elif seconds >= (_SHORTEST_INSIDE if ended.inside else _SHORTEST):
                self._line(f"{ended.text} took {seconds:.1f} s{f': {note}' if note else ''}")

    def notice(self, message: str) -> None:
        with self._lock:
            self._put(f"note: {message}")

    def tick(self) -> None:
        with self._lock:
            if self._clock() >= self._due:
                self._line(self._state())

    def _reset(self) -> None:
        self._began = self._clock() if self._before is None else self._before
        self._due = self._began + min(_FIRST, self._every)

    def _beat(self) -> None:
        while not self._stopped.wait(max(self._due - self._clock(), 0.01)):
            self.tick()

    def _find(self, name: str) -> _Stage:
        """Return a running stage. What began after it has ended, if only by an error that nobody told us of."""
        while self._stages[-1].name != name:
            self._stages.pop()
        return self._stages[-1]

    def _state(self) -> str:
        """Name the stages that run, the outermost first, and the time left of it, or at least of one inside."""
        if not self._stages:
            return "running"
        names, now = ", ".join(stage.text for stage in self._stages), self._clock()
        for depth, stage in enumerate(self._stages):
            found = stage.estimate(now)
            if found is not None and (text := time_left(found[0], at_least=found[1] or depth > 0)) is not None:
                return f"{names}, {text} left"
        return names

    def _line(self, text: str) -> None:
        self._put(f"{duration(self._clock() - self._began)}  {text}")

    def _put(self, line: str) -> None:
        self._write(line)
        self._due = self._clock() + self._every
