"""Processes on this machine: each reads tasks as lines of JSON and answers with lines of JSON."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from harness.errors import ConfigError
from harness.errors.limits import Natural, Positive, Threads, check_limits
from harness.execution.task import Ended, Pool, Task, Work
from harness.execution.threads import available_cores, thread_limits

_LOOP = "harness.execution.loop"


@dataclass(frozen=True)
class Local:
    """Workers on this machine, with workers × threads ≤ cores.

    Attributes:
        workers: Processes; None takes one per core.
        threads: Threads of each; None shares out the cores.
        retries: How often a task is given to another worker when its own dies.
        memory_gb: Tasks that are thought to need more together wait for each other; None sets no limit.

    Raises:
        ConfigError: For a number below 1, or more threads than cores.
    """

    workers: Threads | None = None
    threads: Threads | None = None
    retries: Natural = 2
    memory_gb: Positive | None = None

    def __post_init__(self) -> None:
        check_limits(self, "executor")
        cores, workers, threads = available_cores(), self.workers or 1, self.threads or 1
        if workers * threads > cores:
            got, most = f"{workers} workers × {threads} threads", f"at most {cores} together"
            raise ConfigError("There are more threads than cores.", where="executor.workers", got=got, expected=most)

    def start(self, work: Work) -> LocalPool:
        cores = available_cores()
        workers = self.workers or max(1, cores // (self.threads or 1))
        threads = self.threads or max(1, cores // workers)
        budget = None if self.memory_gb is None else self.memory_gb * 1e9
        return LocalPool(work, workers, threads, cores, retries=self.retries, memory=budget)


@dataclass(eq=False)
class _Worker:
    process: Any  # its standard input takes requests, its output gives answers
    task: Task | None = None
    began: float = 0.0

    def end(self, *, kill: bool) -> None:
        """Let it come to its end, or kill it, and wait until it has."""
        if kill:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # with what the work has started
        # Closing flushes what a dead worker can no longer take.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def give(self, task: Task) -> None:
        self.task, self.began = task, time.perf_counter()
        self.process.stdin.write(json.dumps(task.request).encode() + b"\n")
        self.process.stdin.flush()


class LocalPool(Pool):
    """The workers of `Local`, see `harness.execution.loop`; a task with more threads takes the place of several.

    `cores`, `memory`: threads and bytes of running tasks together; None sets no limit.
    """

    def __init__(
        self, work: Work, workers: int, threads: int, cores: int, *, retries: int, memory: float | None
    ) -> None:
        self._command = (sys.executable, "-m", _LOOP, work.__module__, work.__qualname__, str(os.getpid()))
        self._count, self._threads, self._cores = workers, threads, cores
        self._retries, self._memory = retries, memory
        self._workers: list[_Worker] = []
        self._waiting: list[tuple[int, int, Task]] = []
        self._tries: Counter[str] = Counter()
        self._order = itertools.count()
        self._ended: list[Ended] = []
        self._selector = selectors.DefaultSelector()

    @property
    def workers(self) -> int:
        return self._count

    def close(self, *, failed: bool) -> None:
        for worker in self._workers:  # one in the middle of a task is killed: the store keeps nothing half-written
            worker.end(kill=failed or worker.task is not None)
        self._workers.clear()
        self._selector.close()

    def submit(self, task: Task) -> None:
        heapq.heappush(self._waiting, (-task.priority, next(self._order), task))

    def wait(self) -> list[Ended]:
        while not self._ended:
            self._give_out()
            for key, _ in self._selector.select():
                self._hear(key.data)
        ended, self._ended = self._ended, []
        return ended

    def _give_out(self) -> None:
        while self._waiting and self._fits(self._waiting[0][-1]):
            worker = next((w for w in self._workers if w.task is None), None)
            if worker is None:
                if len(self._workers) >= self._count:
                    return
                worker = self._started()
            task = heapq.heappop(self._waiting)[-1]
            try:
                worker.give(task)
            except BrokenPipeError:
                self._lost(worker)

    def _fits(self, task: Task) -> bool:
        running = [w.task for w in self._workers if w.task is not None]
        threads = sum(max(t.threads, self._threads) for t in [*running, task])
        memory = sum(t.memory for t in [*running, task])
        return not running or (threads <= self._cores and memory <= (self._memory or math.inf))

    def _started(self) -> _Worker:
        environment = {**os.environ, **thread_limits(self._threads)}
        # A session of its own keeps Ctrl-C from the worker: the main process takes the workers down.
        pipe = subprocess.PIPE
        process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, env=environment, start_new_session=True)
        self._workers.append(worker := _Worker(process))
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        line = worker.process.stdout.readline()
        if not line.endswith(b"\n"):
            self._lost(worker)
            return
        task, worker.task = worker.task, None
        assert task is not None
        self._ended.append(Ended(task.name, **json.loads(line)))

    def _lost(self, worker: _Worker) -> None:
        # Forget a dead worker, and give its task to another one.
        self._selector.unregister(worker.process.stdout)
        worker.end(kill=True)
        self._workers.remove(worker)
        if worker.task is None:
            return
        task, code = worker.task, worker.process.returncode
        self._tries[task.name] += 1
        if (tries := self._tries[task.name]) <= self._retries:
            self.submit(task)
            return
        reason = f"its worker died {tries} times, the last time with exit code {code}"
        self._ended.append(Ended(task.name, time.perf_counter() - worker.began, reason, died=True))
