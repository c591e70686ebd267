"""Whether this machine can run experiments: libraries, kernels, threads, store and disk, and which extras it lacks."""

from __future__ import annotations

import fcntl
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from harness.config import ExperimentConfig
from harness.errors.extras import PROGRAM, code_version, install_command, requirements
from harness.execution.machine import machine, threads
from harness.execution.threads import available_cores

_FOR_OURSELVES = ("dev",)
_LEAST_FREE, _LITTLE_FREE = 0.2, 5.0  # GB of disk; below the first nothing can be written in earnest


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was found, and what to do; a ``missing`` extra stops no run without it."""

    what: str
    state: Literal["ok", "missing", "bad"]
    found: str
    advice: str = ""


def examine(config: ExperimentConfig) -> tuple[Finding, ...]:
    """Look at the machine for runs of a configuration; what is written for it is removed again."""
    return (*_libraries(), _kernels(), _threads(), *_store(Path(config.output.store)), *_extras())


def _libraries() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding("python", "ok", f"{version}, {PROGRAM} {code_version()}, in {sys.prefix}")
    lacking = [name + limits for name, limits, extra in requirements() if extra is None and _version(name) is None]
    advice = f"pip install {' '.join(map(repr, lacking))}" if lacking else ""
    yield Finding("libraries", "bad" if lacking else "ok", f"missing: {lacking}" if lacking else "all there", advice)
    for name in ("numpy", "numba", "lightgbm"):
        try:
            importlib.import_module(name)
        except Exception as error:  # a library that lacks one of the system's says so in its own way
            advice = "a system library is missing: apt install libgomp1, or brew install libomp"
            yield Finding(
                name, "bad", f"cannot be loaded: {error}", advice if name == "lightgbm" else "install it again"
            )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _kernels() -> Finding:
    found = machine()
    sets, blas = (", ".join(map(str, found[key])) for key in ("instruction_sets", "kernels"))  # type: ignore[call-overload]
    said = f"{found['processor']}, {found['cpus']} processors; {sets or 'no known instruction sets'}; BLAS for {blas}"
    return Finding("kernels", "ok", said)


def _threads() -> Finding:
    cores, found = available_cores(), threads()
    said = f"{cores} cores for this process; " + ", ".join(f"{name} {count}" for name, count in found.items())
    if any(count > cores for count in found.values()):
        return Finding("threads", "bad", said, f"more threads than cores: export OMP_NUM_THREADS={cores}")
    return Finding("threads", "ok", said)


def _store(root: Path) -> Iterator[Finding]:
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    other = "choose another folder with output.store=FOLDER"
    try:
        with NamedTemporaryFile(dir=there, prefix=".doctor-") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            link = Path(f"{file.name}-link")
            os.link(file.name, link)
            link.unlink()
        yield Finding("store", "ok", f"{root}: can be written, with locks and hard links")
    except OSError as error:
        yield Finding("store", "bad", f"{root}: {type(error).__name__}: {error.strerror or error}", other)
    free = shutil.disk_usage(there).free / 1e9
    said, advice = f"{free:,.1f} GB free", f"`bench cache gc --older-than 30 --yes`, or {other}"
    yield Finding("disk", "bad" if free < _LEAST_FREE else "ok", said, advice if free < _LITTLE_FREE else "")


def _extras() -> Iterator[Finding]:
    needed: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra is not None and extra not in _FOR_OURSELVES:
            needed.setdefault(extra, []).append(name)
    for extra, names in sorted(needed.items()):
        versions = {name: _version(name) for name in names}
        lacking = [name for name, version in versions.items() if version is None]
        if lacking:
            yield Finding(f"extra {extra}", "missing", f"without {', '.join(lacking)}", install_command(extra))
        else:
            yield Finding(f"extra {extra}", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))
