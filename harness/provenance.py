"""Where a result came from: code, libraries, machine, time and memory. Nothing here identifies the result."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harness.code_digest import code_digest
from harness.machine import machine, threads

__all__ = ["DISTRIBUTION", "Stopwatch", "code_version", "peak_memory_mb", "provenance"]

DISTRIBUTION = "driftbench"
_LIBRARIES = (
    *("numpy", "numba", "pandas", "pyarrow", "scipy", "scikit-learn", "hydra-core"),
    *("lightgbm", "xgboost-cpu", "catboost", "torch"),
)


@dataclass
class Stopwatch:
    """Seconds of wall time per stage, in the order in which the stages began."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage `name`."""
        self.seconds.setdefault(name, 0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began


def provenance(watch: Stopwatch, modules: Iterable[str] = ()) -> dict[str, object]:
    """Return the record of this process as JSON-able data; times in seconds, memory in MB.

    Parameters
    ----------
    watch
        What the seconds are taken from.
    modules
        Those of the configured objects: with the harness itself they are the code whose digest is recorded.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": {
            "version": code_version(),
            "digest": code_digest("harness", "harness.experiment", *modules),
            **_commit(),
        },
        "python": platform.python_version(),
        "packages": _versions(),
        "platform": machine(),
        "threads": threads(),
        "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
        "peak_memory_mb": round(peak_memory_mb()),
    }


def code_version() -> str:
    """Return the installed version of the harness."""
    return metadata.version(DISTRIBUTION)


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> dict[str, object]:
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024
