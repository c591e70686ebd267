"""Threads of BLAS and OpenMP: one where the bits of a sum depend on them, a model's own number where it is fitted."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from threadpoolctl import ThreadpoolController, threadpool_limits

# Of the environment: read by a library when it is loaded.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


@dataclass
class _Limit:
    """The limit of BLAS and how many callers hold it, for the limit itself is process-wide."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    holders: int = 0
    limits: threadpool_limits | None = None


_LIMIT = _Limit()


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """Look for libraries with threads: that takes milliseconds, so it is done again only when modules were imported."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS and LAPACK use one thread inside the block; concurrent blocks share the limit, the last one lifts it.

    A threaded BLAS splits sums by the number of its threads, so the same product can differ in its last bits between
    machines and workers. Work is shared out over fixed pieces by the caller instead.
    """
    with _LIMIT.lock:
        if _LIMIT.holders == 0:
            _LIMIT.limits = _libraries(len(sys.modules)).limit(limits=1, user_api="blas")
        _LIMIT.holders += 1
    try:
        yield
    finally:
        with _LIMIT.lock:
            _LIMIT.holders -= 1
            if _LIMIT.holders == 0 and _LIMIT.limits is not None:
                _LIMIT.limits.restore_original_limits()
                _LIMIT.limits = None


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Hold OpenMP and BLAS to a number of threads inside the block, whoever calls them; None leaves them as they are.

    Libraries that are loaded are told so, those that are loaded inside the block find it in the environment. Without a
    limit each takes all cores, and beside other workers they wait for each other.
    """
    if threads is None:
        yield
        return
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        with _libraries(len(sys.modules)).limit(limits=threads):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def available_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def thread_limits(threads: int) -> Mapping[str, str]:
    """Return the environment of a worker whose libraries use `threads` threads, and sleep while they wait.

    Threads that spin while they wait for each other take the cores that other workers need, and so do threads that
    start threads: parallel regions are not nested.
    """
    return {
        **dict.fromkeys((*THREAD_VARIABLES, "NUMBA_NUM_THREADS"), str(threads)),
        "OMP_WAIT_POLICY": "passive",
        "OMP_MAX_ACTIVE_LEVELS": "1",
    }
