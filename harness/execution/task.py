"""A unit of work, how it ended, and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

__all__ = ["Ended", "Executor", "Pool", "Task", "Work"]

Work = Callable[[str], str | None]
"""A function of a module that can be imported: request → what went wrong, or None."""


@dataclass(frozen=True)
class Task:
    """One unit of work; its result goes to the artifact store, so that it can be made anywhere and more than once.

    Attributes
    ----------
    name
        Tells it apart from every other task.
    request
        JSON text that says what to do; a few kilobytes, never data.
    priority
        Higher goes first among the tasks that are ready.
    threads
        Threads that the work uses.
    memory
        Bytes that it is thought to need; 0 when nothing is known.
    """

    name: str
    request: str
    priority: int = 0
    threads: int = 1
    memory: int = 0


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes
    ----------
    name
        Of the task.
    seconds
        Wall time.
    error
        What went wrong; None when nothing did.
    died
        The worker was lost, again and again; the work itself was not heard of.
    """

    name: str
    seconds: float
    error: str | None = None
    died: bool = False


class Pool(Protocol):
    """Workers that are up; a context manager that takes them down."""

    @property
    def workers(self) -> int:
        """How many tasks can run at a time."""
        ...

    def submit(self, task: Task) -> None:
        """Queue a task; returns at once."""
        ...

    def wait(self) -> list[Ended]:
        """Return the tasks that have ended since the last call, at least one; some task must be under way."""
        ...

    def __enter__(self) -> Pool:
        """Return itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the workers down, with whatever they are doing."""
        ...


class Executor(Protocol):
    """How to run tasks; holds parameters only."""

    def start(self, work: Work) -> Pool | None:
        """Bring up workers that call `work`; None when all shall run in this process, one after the other."""
        ...
