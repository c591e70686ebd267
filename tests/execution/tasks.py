"""A worker for tests: writes down what it does, fails or dies when it is told to."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path


def idle(request: str) -> str | None:
    """Do nothing."""
    return None


def work(request: str) -> str | None:
    given = json.loads(request)
    if given.get("idle"):
        return idle(request)
    folder, name = Path(given["folder"]), given["name"]
    (folder / f"{name}.pid").write_text(str(os.getpid()))
    (folder / f"{name}.python").write_text(sys.executable)
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_WAIT_POLICY")
    (folder / f"{name}.environment").write_text(json.dumps({n: os.environ.get(n) for n in names}))
    with (folder / f"{name}.tries").open("a") as tries:
        tries.write("x")
    if len((folder / f"{name}.tries").read_text()) <= given.get("die_times", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    with (folder / "order").open("a") as order:
        order.write(f"{name}\n")
    _count(folder, 1)
    time.sleep(given.get("seconds", 0))
    _count(folder, -1)
    return given.get("fail")


def _count(folder: Path, change: int) -> None:
    """Keep how many tasks run at a time, and the most that ever did."""
    with (folder / "running").open("a+") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        running.seek(0)
        now = int(running.read() or 0) + change
        running.truncate(0)
        running.write(str(now))
        running.flush()
        most = folder / "most"
        most.write_text(str(max(now, int(most.read_text()) if most.exists() else 0)))


def level_of_dask() -> int:
    """Return how bad a thing must be for Dask to tell it."""
    return logging.getLogger("distributed").level
