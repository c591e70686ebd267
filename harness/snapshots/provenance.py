"""Where a result came from: code, libraries, machine, time and memory. Nothing here identifies the result."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harness.errors.extras import code_version
from harness.execution.machine import machine, peak_memory_mb, threads
from harness.store.code_digest import code_digest, user_code

_LIBRARIES = (
    *("numpy", "numba", "pandas", "pyarrow", "scipy", "scikit-learn", "hydra-core"),
    *("lightgbm", "xgboost-cpu", "catboost", "torch"),
)


@dataclass(frozen=True)
class Cost:
    """What a run has taken, whoever did the work; what it found in the store costs nothing.

    Attributes:
        wall, cpu: Seconds until the result was there, and of all processors, in this process and in the workers' ones.
        windows, stored: How many windows there are, and how many of them came from the store.
        workers, worker_cpu: How many of them there were, 0 when this process did everything; and their part of `cpu`.
        memory_mb: The largest resident memory of any one process.
    """

    wall: float = 0.0
    cpu: float = 0.0
    windows: int = 0
    stored: int = 0
    workers: int = 0
    worker_cpu: float = 0.0
    memory_mb: float = 0.0


@dataclass
class Stopwatch:
    """Seconds of wall time per stage, in the order in which the stages began; and how many windows were fitted.

    `windows`: seconds of each window, where this process has fitted all of them.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    fitted: int = 0
    windows: tuple[float, ...] = ()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage `name`."""
        self.seconds.setdefault(name, 0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began


def _first_and_later(seconds: tuple[float, ...]) -> dict[str, float]:
    """Return what the first window took, in which much is done once, and the mean of the later ones."""
    later = seconds[1:] or seconds
    return {"first": round(seconds[0], 4), "later": round(sum(later) / len(later), 4)}


def provenance(watch: Stopwatch, modules: Iterable[str] = ()) -> dict[str, object]:
    """Return the record of this process as JSON-able data; times in seconds, memory in MB.

    `modules` are those of the configured objects: with the harness itself they are the code whose digest is recorded.
    """
    here, versions = Path(__file__).resolve().parents[2], dict[str, str]()
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": {
            "version": code_version(),
            "digest": code_digest("harness", "harness.run.experiment", *modules),
            **(_commit(here) if (here / ".git").exists() else {"commit": None, "dirty": None}),
        },
        "user_code": _user_code(tuple(modules)),
        "python": platform.python_version(),
        "packages": versions,
        "platform": machine(),
        "threads": threads(),
        "seconds": {name: round(value, 3) for name, value in watch.seconds.items()},
        "window_seconds": None if not watch.windows else _first_and_later(watch.windows),
        "peak_memory_mb": round(peak_memory_mb()),
    }


def _user_code(modules: tuple[str, ...]) -> dict[str, object] | None:
    """Return the user's own modules by digest, and the repositories that they stand in; None when there are none."""
    found = user_code(*modules)
    if not found:
        return None
    digests = {name: digest for name, (_, digest) in found.items()}
    folders = sorted({file.resolve().parent for file, _ in found.values()})
    tops = sorted({top for folder in folders if (top := _git(folder, "rev-parse", "--show-toplevel"))})
    return {
        "digest": hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest(),
        "modules": digests,
        "repositories": [{"name": Path(top).name, **_commit(Path(top))} for top in tops],
    }


def _commit(folder: Path) -> dict[str, object]:
    commit, status = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says about a folder; None without git, outside a repository, before the first commit."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
