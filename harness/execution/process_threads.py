"""How many threads a worker's libraries may use: said in the environment, before they are loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping

from harness.execution.threads import THREAD_VARIABLES

_VARIABLES = (*THREAD_VARIABLES, "NUMBA_NUM_THREADS")


def available_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def thread_limits(threads: int) -> Mapping[str, str]:
    """Return the environment of a worker whose libraries use `threads` threads, and sleep while they wait.

    Threads that spin while they wait for each other take the cores that other workers need, and so do threads that
    start threads: parallel regions are not nested.
    """
    return {**dict.fromkeys(_VARIABLES, str(threads)), "OMP_WAIT_POLICY": "passive", "OMP_MAX_ACTIVE_LEVELS": "1"}
