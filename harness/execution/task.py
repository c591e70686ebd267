"""A unit of work, how it ended, and what runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

from harness.execution.machine import peak_memory_mb

Work = Callable[[str], str | None]
"""A function of a module that can be imported: request → what went wrong, or None."""


@dataclass(frozen=True)
class Task:
    """One unit of work; its result goes to the artifact store, so that it can be made anywhere and more than once."""

    name: str  # tells it apart from every other task
    request: str  # JSON text that says what to do; a few kilobytes, never data
    priority: int = 0  # higher goes first among the tasks that are ready
    threads: int = 1
    memory: int = 0  # bytes that it is thought to need; 0 when nothing is known


@dataclass(frozen=True)
class Ended:
    """How a task ended."""

    name: str
    seconds: float  # wall time of the work; what the task waited for its turn is none
    error: str | None = None  # what went wrong; None when nothing did
    died: bool = False  # the worker was lost, again and again; the work itself was not heard of
    cpu: float = 0.0  # seconds of all processors that the worker's process used meanwhile
    memory_mb: float = 0.0  # the largest resident memory of that process so far, in MiB


def measured(work: Work, request: str, used: float | None = None) -> dict[str, Any]:
    """Do a task in this process and return the fields of `Ended` but for its name; time is that of the work itself.

    `used`: seconds of all processors that this process had used when its last answer was given; what it has used since,
    to import libraries say, belongs to this one.
    """
    began, used = time.perf_counter(), time.process_time() if used is None else used
    error = work(request)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {"error": error, "seconds": seconds, "cpu": cpu, "memory_mb": peak_memory_mb()}


class Pool(Protocol):
    """Workers that are up; a context manager that takes them down, with whatever they are doing."""

    @property
    def workers(self) -> int:
        """How many tasks can run at a time."""

    def submit(self, task: Task) -> None:
        """Queue a task; returns at once."""

    def wait(self) -> list[Ended]:
        """Return the tasks that have ended since the last call, at least one; some task must be under way."""

    def close(self, *, failed: bool) -> None:
        """Take the workers down; when something `failed`, at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close(failed=error is not None)


class Executor(Protocol):
    """How to run tasks; holds parameters only."""

    def start(self, work: Work) -> Pool | None:
        """Bring up workers that call `work`; None when all shall run in this process, one after the other."""


@dataclass(frozen=True)
class Serial:
    """No workers; stages that cells share stay in memory from one cell to the next."""

    def start(self, work: Work) -> Pool | None:
        return None
