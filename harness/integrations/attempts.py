"""Attempts at runs and sweeps: what is known of one that does not end, so that MLflow is told of it too.

While a tracked one runs, a file below ``RUNS/.attempts`` gets a line for its beginning, for each cell of a sweep that
has ended, and for its end. The process keeps it locked: the file of one that was killed is free, and has no end. The
next that sends runs from this folder finds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from harness.config import ExperimentConfig
from harness.errors.redaction import redacted
from harness.execution.progress import Observer
from harness.run.finished import SNAPSHOT, SweepRow
from harness.store.codec import from_plain
from harness.store.locks import locked_file

_FOLDER = ".attempts"


@dataclass(frozen=True)
class Attempted:
    """What is attempted: a sweep of these cells, or a run of this command, with the choices that it makes."""

    cells: tuple[str, ...] = ()
    name: str = ""  # of the case; empty for a sweep
    command: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return "run" if self.name else "sweep"


@dataclass(frozen=True)
class Attempt:
    """A run or sweep that has not ended in order, read from its file."""

    path: Path
    place: dict[str, str]  # where it is sent: address and experiment
    began: float  # seconds since the epoch, as is `ended`
    ended: float
    what: Attempted
    rows: tuple[SweepRow, ...]  # of those that have ended; a result that is gone since is none
    status: Literal["KILLED", "FAILED"] = "KILLED"
    reason: str = "its process was killed"
    folder: Path | None = None  # of the whole result, when only its sending did not end

    @property
    def note(self) -> str:
        far = f"ended after {len(self.rows)} of {len(self.what.cells)} cells" if self.what.cells else "did not end"
        return f"{far}: {self.reason}"


class Notes:
    """Writes the file of the attempt of this process; a folder that cannot be written gets none."""

    def __init__(self, runs: Path, place: dict[str, str], what: Attempted) -> None:
        self.path, self._handle = runs / _FOLDER / f"{time.time_ns()}-{secrets.token_hex(4)}.jsonl", -1
        self.is_whole = False  # whether nothing is left but to send it
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = locked_file(self.path)
        self._write({"began": time.time(), "place": place, "what": asdict(what)})

    def cell(self, row: SweepRow) -> None:
        """Note how a cell has ended."""
        said = {**asdict(row), "folder": None if row.folder is None else str(row.folder.absolute())}
        self._write({"cell": said, "at": time.time()})

    def whole(self, folder: Path) -> None:
        """Note that all of it has, and where the result lies that is about to be sent."""
        self.is_whole = True
        self._write({"whole": str(folder.absolute()), "at": time.time()})

    def ended(self, error: BaseException) -> None:
        """Note what ended it before its time, and let go of the file."""
        is_killed = not isinstance(error, Exception)
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else redacted(f"{type(error).__name__}: {error}")
        self._write({"status": "KILLED" if is_killed else "FAILED", "reason": reason, "at": time.time()})
        self.close()

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def remove(self) -> None:
        """Remove the file of what was sent in order."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _write(self, line: dict[str, object]) -> None:
        if self._handle >= 0:
            with suppress(OSError):  # a full disk: the run itself will say so
                os.write(self._handle, f"{json.dumps(line)}\n".encode())


@runtime_checkable
class TellsOfAttempts(Protocol):
    """Tracking that is told of runs and sweeps that do not end, too."""

    def attempt(self, what: Attempted, runs: Path, observer: Observer) -> AbstractContextManager[Notes]:
        """Note what is attempted until it has ended."""


def noted(
    config: ExperimentConfig, cells: Sequence[str] | None, observer: Observer
) -> AbstractContextManager[Notes | None]:
    """Return what a tracker that is told of what does not end notes of a sweep's cells, without them of one run.

    Another tracker notes nothing.
    """
    if not isinstance(config.tracking, TellsOfAttempts):
        return nullcontext()
    of_run = Attempted((), config.case_name, config.command, config.choices)
    what = of_run if cells is None else Attempted(tuple(cells))
    return config.tracking.attempt(what, Path(config.output.runs), observer)


def has_attempts(runs: Path) -> bool:
    """Return whether a folder of runs has files of attempts, of those that go on too."""
    return any((runs / _FOLDER).glob("*.jsonl"))


@contextmanager
def unfinished(runs: Path, place: dict[str, str]) -> Iterator[list[Attempt]]:
    """Give the attempts at a place whose process has ended, each to one sender at a time, oldest first.

    A sender removes the file of what it has sent; a damaged file is nobody's and stays.
    """
    found, handles = list[Attempt](), list[int]()
    try:
        for path in sorted((runs / _FOLDER).glob("*.jsonl")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                handle = os.open(path, os.O_RDONLY)
                handles.append(handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                attempt = _read(path)
                if attempt.place == place and path.exists():
                    found.append(attempt)
        yield found
    finally:
        for handle in handles:
            os.close(handle)


def _read(path: Path) -> Attempt:
    first, *lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}"))
    rows, end = list[SweepRow](), dict[str, str]()
    for line in lines:
        if "cell" in line:
            cell = line["cell"]
            folder = None if cell["folder"] is None else Path(cell["folder"])
            if folder is None or (folder / SNAPSHOT).is_file():
                rows.append(SweepRow(cell["name"], cell["outcome"], cell["note"], folder))
        elif "status" in line:
            end |= {"status": line["status"], "reason": line["reason"]}
    ended = float(lines[-1]["at"]) if lines else float(first["began"])
    whole = next((Path(line["whole"]) for line in lines if "whole" in line), None)
    what = from_plain(Attempted, first["what"])
    known = (path, first["place"], float(first["began"]), ended, what, tuple(rows))
    return Attempt(*known, **end, folder=whole if whole is not None and whole.is_dir() else None)  # type: ignore[arg-type]
