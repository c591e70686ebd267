"""A Dask cluster: one that is running, or one of local processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from harness.errors import ConfigError
from harness.errors.extras import missing_extra
from harness.errors.limits import Natural, Threads, check_limits
from harness.errors.redaction import redacted
from harness.execution.task import Ended, Pool, Task, Work, measured
from harness.execution.threads import available_cores, thread_limits

_SECONDS_TO_CONNECT = 10
# Whoever reaches the port of a scheduler can run code: ours is reached from this machine alone.
_LOOPBACK = "127.0.0.1"
_MEMORY = "MEMORY"  # the resource of a worker, in bytes


@dataclass(frozen=True)
class Dask:
    """Workers of a Dask scheduler. A worker elsewhere needs this package and the folder of the artifact store.

    A task says how many bytes it is thought to need. Workers that say how many they have (``dask worker … --resources
    MEMORY=16e9``) take no more than fit together, and tasks go to those that are large enough.

    Attributes:
        address: Of the scheduler, such as ``tcp://host:8786``; None starts a cluster on this machine.
        workers: Of that local cluster; None takes one per core.
        retries: Further tries of a task whose worker dies; Dask's own.
    """

    address: str | None = None
    workers: Threads | None = None
    retries: Natural = 2

    def __post_init__(self) -> None:
        check_limits(self, "executor")

    def start(self, work: Work) -> DaskPool:
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise missing_extra("The Dask executor", "dask", "executor") from error
        with ExitStack() as stack:
            found: Any = self.address
            if found is None:  # an empty address is a mistake, see below
                found = stack.enter_context(_own_cluster(self.workers or available_cores()))
            try:
                client = distributed.Client(found, timeout=_SECONDS_TO_CONNECT)  # type: ignore[no-untyped-call]
            except (OSError, ValueError) as error:
                what, got = "The Dask scheduler does not answer.", f"{self.address} ({type(error).__name__})"
                expected = "the address of a running scheduler, such as tcp://host:8786"
                hint = "start one with `dask scheduler` and workers with `dask worker ADDRESS --nthreads 1`"
                raise ConfigError(what, where="executor.address", got=got, expected=expected, hint=hint) from error
            return DaskPool(client, stack.pop_all(), self.retries, work)


@contextmanager
def _own_cluster(workers: int) -> Iterator[Any]:
    """Start workers on this machine, and take them down."""
    import dask
    import distributed

    limits = thread_limits(max(1, available_cores() // workers))
    # Dask sets what must stand before a worker's process begins in our own environment, and leaves it there.
    # Numba would take offence in this process, and is early enough inside the worker's.
    before = {name: value for name, value in limits.items() if not name.startswith("NUMBA")}
    inside = {name: value for name, value in limits.items() if name not in before}
    own = dict(os.environ)
    with _errors_only() as quiet, ExitStack() as stack:
        stack.callback(_restore, own)
        given = {"distributed.nanny.pre-spawn-environ": before | quiet, "distributed.nanny.environ": inside}
        with dask.config.set(given):
            own_machine = {"host": _LOOPBACK, "dashboard_address": None, "silence_logs": logging.ERROR}
            processes = {"n_workers": workers, "threads_per_worker": 1, "processes": True}
            try:
                cluster = distributed.LocalCluster(**own_machine, **processes)  # type: ignore[no-untyped-call]
            except AssertionError:  # it gives its loop ten seconds to begin, which a busy machine may not have
                cluster = distributed.LocalCluster(**own_machine, **processes)  # type: ignore[no-untyped-call]
        stack.callback(cluster.close)
        yield cluster


def _restore(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@contextmanager
def _errors_only() -> Iterator[dict[str, str]]:
    """Let Dask tell of errors alone; yield what has to stand in the environment of workers for that.

    `silence_logs` ends while connections are still being closed, of which Dask tells with a traceback each. Where the
    user has configured what Dask tells, it tells that.
    """
    import dask

    kinds = {"logging", "logging-file-config"}
    if kinds & (dask.config.config.keys() | dask.config.get("distributed", {}).keys()):
        yield {}
        return
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield {"DASK_LOGGING__DISTRIBUTED": "error"}
    finally:
        logger.setLevel(level)


class DaskPool(Pool):
    """A client of a scheduler; `stack` takes down a cluster of ours."""

    def __init__(self, client: Any, stack: ExitStack, retries: int, work: Work) -> None:
        import distributed

        self._client, self._stack, self._retries, self._work = client, stack, retries, work
        self._under_way: Any = distributed.as_completed()  # type: ignore[no-untyped-call]
        self._names: dict[str, str] = {}
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        # A task that asks for more than any worker has would never run.
        self._most = max((float(worker["resources"].get(_MEMORY, 0)) for worker in workers), default=0.0)

    @property
    def workers(self) -> int:
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    def close(self, *, failed: bool) -> None:
        self._client.cancel(list(self._under_way.futures))
        self._client.close()
        self._stack.close()

    def submit(self, task: Task) -> None:
        # Dask takes equal keys for equal work and forgets none, so a key is used once.
        key = f"{task.name}-{len(self._names)}"
        self._names[key] = task.name
        needed = min(float(task.memory), self._most)
        options = {"priority": task.priority, "retries": self._retries, "pure": False}
        resources = {_MEMORY: needed} if needed > 0 else None
        call = (measured, self._work, task.request)
        self._under_way.add(self._client.submit(*call, key=key, resources=resources, **options))

    def wait(self) -> list[Ended]:
        first = next(self._under_way)
        others = self._under_way.next_batch(block=False) if self._under_way.has_ready() else []
        return [self._ended(future) for future in [first, *others]]

    def _ended(self, future: Any) -> Ended:
        name, error = self._names[future.key], future.exception()
        if error is None:
            return Ended(name, **future.result())
        return Ended(name, 0.0, redacted(f"{type(error).__name__}: {error}"), died=True)
