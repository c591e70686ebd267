"""How far the runs on a store are: each process keeps a record there, from which any other one can tell it.

A record is a hidden file ``.status-…json`` of the store, replaced whole when something has moved. It names the lease of
its process (`harness.store.locks`), whose lock the system frees however the process ends: so a run that was killed is
told from one that goes on. A store that cannot be written has no records.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal

from harness.config import ExperimentConfig
from harness.errors import HarnessError
from harness.errors.redaction import redacted
from harness.execution.progress import Observer, TimeLeft
from harness.store.artifacts import canonical_json
from harness.store.codec import from_plain
from harness.store.files import write_atomically
from harness.store.locks import STATUS, is_alive, lease_of, lease_of_status

_WINDOWS = "windows"  # the stage in which a run counts them
_OFTEN, _SHARE = 0.25, 20.0  # seconds between two writings, or times what the last one took: a twentieth at most
_KEPT = 10  # records of processes that have ended


class State(StrEnum):
    """How a cell stands, or a process; ``stopped``: its process ended before it did."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    STOPPED = "stopped"


OPEN = (State.WAITING, State.RUNNING)


@dataclass
class CellStatus:
    """One experiment: how it stands, and how many windows it has, 0 until its schedule is known."""

    digest: str  # of its configuration, which other processes know it by
    name: str  # what tells its command from that of the others, or the case
    kind: tuple[str, ...] = ()  # what decides how long it takes, roughly
    state: State = State.WAITING
    windows: int = 0
    # done, running, failed: of its windows
    done: int = 0
    running: int = 0
    failed: int = 0
    stage: str = ""  # what runs in it now
    reason: str = ""  # why it was refused or failed, in one line
    seconds: float | None = None  # that it took, when it was computed here


@dataclass
class ProcessStatus:
    """A process that runs, or ran, experiments on a store; times are seconds since the epoch."""

    host: str
    process: int
    lease: str  # the file that it keeps locked while it lives
    command: str
    began: float
    updated: float
    version: Literal[1] = 1
    cells: list[CellStatus] = field(default_factory=list)
    # seconds that were left when it was updated, None when nothing is known; whether that is only a lower bound
    left: float | None = None
    at_least: bool = True

    @property
    def state(self) -> State:
        states = {cell.state for cell in self.cells}
        if states.intersection(OPEN):
            return State.RUNNING
        return State.STOPPED if State.STOPPED in states else State.DONE

    def seconds_left(self, now: float) -> float | None:
        return None if self.left is None else max(self.left - (now - self.updated), 0.0)


def counts_of(cells: Sequence[CellStatus]) -> dict[State, int]:
    """Return how many cells stand how."""
    found = Counter(cell.state for cell in cells)
    return {state: found[state] for state in State}


def windows_of(cells: Sequence[CellStatus]) -> dict[State, int]:
    """Return how the windows stand of cells whose schedule is known; those of a cell that has ended do not wait."""
    counts = Counter[State]()
    for cell in cells:
        counts.update({State.DONE: cell.done, State.RUNNING: cell.running, State.FAILED: cell.failed})
        rest = State.WAITING if cell.state in OPEN else State.STOPPED
        counts[rest] += cell.windows - cell.done - cell.running - cell.failed
    return {state: counts[state] for state in State if state is not State.REFUSED}


class Record:
    """What this process tells of its experiments on one store, an absolute folder."""

    def __init__(self, root: Path) -> None:
        now, command = time.time(), redacted(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
        self._status = ProcessStatus(socket.gethostname(), os.getpid(), "", command, now, now)
        self._cells: dict[str, CellStatus] = {}
        self._watching: Watching | None = None
        self._workers_left: tuple[float, bool] | None = None
        self._path: Path | None = None
        self._due, self._lock = 0.0, threading.RLock()
        self._timer: threading.Timer | None = None
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            if (lease := lease_of(root, os.getpid()).name) is not None:
                self._status.lease, self._path = lease, root / f"{STATUS}{lease.lstrip('.')}.json"
                _forget(root)
                weakref.finalize(self, _write, self._path, self._status, self._lock)

    @property
    def lease(self) -> str:
        """The file that this process keeps locked; empty when the store cannot be written."""
        return self._status.lease

    def plan(self, configs: Sequence[ExperimentConfig]) -> None:
        """Say which experiments will be run."""
        shared = frozenset.intersection(*(frozenset(config.command) for config in configs)) if configs else frozenset()
        for config in configs:
            self._cell(config, redacted(" ".join(text for text in config.command if text not in shared)))
        self._tell()

    def count(self, config: ExperimentConfig, state: State, *, windows: int, done: int, running: int) -> None:
        """Say how an experiment stands that workers make, and its windows."""
        cell = self._cell(config)
        cell.state, cell.windows, cell.done, cell.running = state, windows, done, running
        self._tell()

    def estimate(self, left: tuple[float, bool] | None) -> None:
        """Say how many seconds the workers will take, and whether at least; None when they have done what they can."""
        self._workers_left = left
        self._tell()

    @contextmanager
    def running(self, config: ExperimentConfig, observer: Observer) -> Iterator[Watching]:
        """Tell of an experiment while it is run inside the block, by what the yielded observer is told."""
        cell = self._cell(config)
        cell.state, cell.reason, cell.failed = State.RUNNING, "", 0
        self._watching = Watching(observer, cell, self._tell)
        self._tell()
        try:
            yield self._watching
            cell.state, cell.done = State.DONE, cell.windows
        except Exception as error:
            is_rule = isinstance(error, HarnessError) and error.is_rule
            cell.state, cell.failed = State.REFUSED if is_rule else State.FAILED, cell.running
            cell.reason = redacted((str(error).splitlines() or [type(error).__name__])[0])
            raise
        except BaseException:
            cell.state = State.STOPPED
            raise
        finally:
            cell.running, cell.stage, self._watching = 0, "", None
            self._tell()

    def _cell(self, config: ExperimentConfig, name: str = "") -> CellStatus:
        digest = digest_of(config)
        if digest not in self._cells:
            kind = tuple(config.choices.get(group, "") for group in ("data", "model", "adaptation"))
            self._cells[digest] = CellStatus(digest, name or config.case_name, kind)
            self._status.cells.append(self._cells[digest])
        return self._cells[digest]

    def _tell(self) -> None:
        """Write the record, now or as soon as it is due again; when every cell has ended, now: nothing comes after."""
        if self._path is None:
            return
        with self._lock:
            wait = self._due - time.monotonic()
            if wait <= 0 or not any(cell.state in OPEN for cell in self._status.cells):
                self._write()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._write_late)
                self._timer.daemon = True
                self._timer.start()

    def _write_late(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # else it was written meanwhile
                self._write()

    def _write(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            began, self._timer = time.monotonic(), None
            self._status.updated = time.time()
            self._status.left, self._status.at_least = self._left(began)
            assert self._path is not None
            _write(self._path, self._status, self._lock)
            ended = time.monotonic()
            self._due = ended + max(_OFTEN, _SHARE * (ended - began))

    def _left(self, now: float) -> tuple[float | None, bool]:
        """Return the seconds left, by the cells of each kind that were computed, and whether that is a lower bound."""
        if self._workers_left is not None:
            seconds, at_least = self._workers_left
        else:
            seconds, at_least = self._cells_left(now)
        return (None if at_least and not seconds else seconds), at_least

    def _cells_left(self, now: float) -> tuple[float, bool]:
        left, until = TimeLeft(), None if self._watching is None else self._watching.until
        for cell in self._status.cells:
            if cell.seconds is not None:
                left.measured(cell.kind, cell.seconds)
            if cell.state is State.WAITING or (cell.state is State.RUNNING and until is None):
                left.expect(cell.kind)
        seconds, at_least = left.seconds(alike=True)
        return seconds + (0.0 if until is None else max(until - now, 0.0)), at_least


class Watching:
    """An observer in front of another one, which learns from what it is told how a cell stands."""

    def __init__(self, observer: Observer, cell: CellStatus, tell: Callable[[], None]) -> None:
        self._observer, self._cell, self._tell = observer, cell, tell
        self._began, self._total = time.monotonic(), 0
        self.until: float | None = None  # when its windows will have ended

    def ended(self, windows: int, fitted: int) -> None:
        """Say how many windows the experiment had, and how many were fitted: one mostly from the store took no time."""
        self._cell.windows = windows
        if 2 * fitted >= windows:
            self._cell.seconds = time.monotonic() - self._began

    def start(self, stage: str, total: int) -> None:
        self._observer.start(stage, total)
        self._cell.stage, self._total = stage, total
        if stage == _WINDOWS:
            self._cell.windows, self._cell.done, self._cell.running = total, 0, 1
        self._tell()

    def advance(self, stage: str, done: int = 1) -> None:
        self._observer.advance(stage, done)
        if stage == _WINDOWS:
            self._cell.done += done
            self._cell.running = int(self._cell.done < self._cell.windows)
            self._tell()

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        self._observer.estimate(stage, total, seconds, at_least=at_least)
        if stage == _WINDOWS and not (at_least and not seconds):
            self.until = time.monotonic() + seconds

    def finish(self, stage: str, note: str = "") -> None:
        self._observer.finish(stage, note)
        self._cell.stage = _WINDOWS if self._cell.running else ""
        self._tell()

    def notice(self, message: str) -> None:
        self._observer.notice(message)


def digest_of(config: ExperimentConfig) -> str:
    """Return what tells an experiment from others of a store, in every process."""
    return hashlib.sha256(config.composed.encode()).hexdigest()[:12]


@lru_cache(maxsize=8)
def _record(root: Path, process: int) -> Record:
    return Record(root)


def record_of(store: Path) -> Record:
    """Return the record of this process on a store; a fork has its own."""
    return _record(store.absolute(), os.getpid())


def planned_cells(store: Path) -> dict[str, CellStatus]:
    """Return digest → how the experiments stand that this process has planned, wherever they run."""
    own = record_of(store).lease
    return {cell.digest: cell for one in read_statuses(store) if one.lease == own for cell in one.cells}


def read_statuses(store: Path) -> tuple[ProcessStatus, ...]:
    """Return what processes tell that run or ran experiments on a store, the newest last.

    Cells of a process that has ended are ``stopped`` unless they had ended before; those that a process has planned and
    another one runs stand as they do there. Records of other versions are left out.
    """
    found = []
    for path in store.glob(f"{STATUS}*.json"):
        with suppress(OSError, ValueError):  # it has just gone, or another version wrote it
            found.append(from_plain(ProcessStatus, json.loads(path.read_text(encoding="utf-8"))))
    found.sort(key=lambda one: one.began)
    later: dict[str, CellStatus] = {}
    for one in reversed(found):
        own = {cell.digest: cell for cell in one.cells}
        if not is_alive(store / one.lease):
            one.left = None
            one.cells = [replace(c, state=State.STOPPED, running=0) if c.state in OPEN else c for c in one.cells]
        one.cells = [
            later.get(cell.digest, cell) if own[cell.digest].state is State.WAITING else cell for cell in one.cells
        ]
        later = {cell.digest: cell for cell in one.cells} | later
    return tuple(found)


def _write(path: Path, status: ProcessStatus, lock: threading.RLock) -> None:
    with lock, suppress(OSError):  # a full disk: the run itself will say so
        if path.parent.is_dir():
            write_atomically(path, canonical_json(status).encode())


def _forget(root: Path) -> None:
    """Remove the records of ended processes but for the newest."""
    records = {path: path.stat().st_mtime for path in root.glob(f"{STATUS}*.json")}
    ended = [path for path in records if not is_alive(root / lease_of_status(path.name))]
    for path in sorted(ended, key=lambda path: records[path])[:-_KEPT]:
        path.unlink(missing_ok=True)
