"""An executor whose workers stay up from one batch of trials to the next."""

from __future__ import annotations

from types import TracebackType

from harness.execution.task import Ended, Executor, Pool, Task, Work


class StayingUp:
    """An executor that brings its workers up once; a context manager that takes them down.

    Parameters
    ----------
    executor
        Whose workers they are.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._pool: Pool | None = None

    def __enter__(self) -> StayingUp:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the workers down, with whatever they are doing."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(kind, error, traceback)

    def start(self, work: Work) -> Pool | None:
        """Return the workers, brought up when they are not; None when all shall run in this process."""
        if self._pool is None:
            pool = self._executor.start(work)
            self._pool = None if pool is None else pool.__enter__()
        return None if self._pool is None else _Lent(self._pool, self)


class _Lent:
    """Workers that outlive the block, unless something goes wrong in it: then nobody hears what they still do."""

    def __init__(self, pool: Pool, owner: StayingUp) -> None:
        self._pool, self._owner = pool, owner

    @property
    def workers(self) -> int:
        """How many tasks can run at a time."""
        return self._pool.workers

    def submit(self, task: Task) -> None:
        """Queue a task; returns at once."""
        self._pool.submit(task)

    def wait(self) -> list[Ended]:
        """Return the tasks that have ended since the last call."""
        return self._pool.wait()

    def __enter__(self) -> _Lent:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the workers up."""
        if error is not None:
            self._owner.__exit__(kind, error, traceback)
