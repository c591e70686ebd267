"""What is sent to MLflow of a run or a sweep: parameters as they were typed, data, metrics, files and outcome."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Literal, TypeVar

from harness.errors import DataError
from harness.errors.redaction import redacted
from harness.integrations.attempts import Attempt, has_attempts
from harness.run.finished import (
    LEADERBOARD,
    SNAPSHOT,
    FinishedRun,
    FinishedSweep,
    SweepRow,
    folders_under,
    read_finished,
)
from harness.snapshots.snapshot import Snapshot, sha256
from harness.store.artifacts import canonical_json
from harness.store.records import TARGET, join_key

Value = TypeVar("Value")
MARKER = "tracked.json"
# A run is found again by its snapshot, its sweep, and when it was computed: computed again it is another attempt.
KIND, DIGEST, SWEEP, ATTEMPT = (f"driftbench.{name}" for name in ("kind", "snapshot", "sweep", "attempt"))
_LONGEST_NAME, _LONGEST_VALUE, _LONGEST_TAG, _LONGEST_DIGEST = 250, 500, 5000, 36
_REFUSED = re.compile(r"[^\w\-. :/]", flags=re.ASCII)
_OUTCOMES = ("done", "refused", "mistaken", "failed")
_MISTAKES = ("mistaken", "failed")
_SOURCE = {"mlflow.source.name": "bench run", "mlflow.source.type": "LOCAL"}
_NO_PARAMETERS = ("tracking", "output", "hydra")  # keys that say where, not what


@dataclass(frozen=True, eq=False)
class Record:
    """One run of MLflow's."""

    name: str  # of the case, or the swept values
    digest: str  # of the snapshot, or of all cells of a sweep: equal digest, equal result
    attempt: str  # when it was computed
    ended: int  # milliseconds since 1970 at which it was
    seconds: float  # what it took
    # tags, params: hashes, fingerprint and code; the parameters as typed, and the resolved configuration
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    # (metric, value, step): the step is the window's index, 0 for a metric over all windows
    points: tuple[tuple[str, float, int], ...] = ()
    cells: tuple[Record, ...] = ()  # of a sweep; each becomes a child
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED"
    folder: Path | None = None  # where it lies, None without a result; all but hidden files and the marker is sent
    dataset: tuple[str, str] | None = None  # name and digest of the data
    source: Mapping[str, str] = field(default_factory=dict)  # the parameters that chose them

    def files(self) -> Iterator[Path]:
        """Yield what is sent along, relative to the folder, sorted."""
        if (folder := self.folder) is None:
            return
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.name != MARKER and not path.name.startswith("."):
                yield path.relative_to(folder)


def all_folders(root: Path) -> list[Path]:
    """Return all sweeps under `root`, and the runs that are cells of none, sorted.

    Raises:
        DataError: When there is neither, nor an attempt at one.
    """
    sweeps, runs = folders_under(root)
    rows = [row for sweep in sweeps for row in FinishedSweep.read(sweep).rows]
    cells = {row.folder.resolve() for row in rows if row.folder is not None}
    found = [*sweeps, *(run for run in runs if run.resolve() not in cells)]
    if not found and not has_attempts(root):
        expected, hint = f"folders with {LEADERBOARD} or {SNAPSHOT}", "run something first: bench run tracking=mlflow"
        raise DataError("There is nothing to send.", where=str(root), expected=expected, hint=hint)
    return found


def read_record(folder: Path) -> Record:
    """Return what is sent of a run or a sweep; raises `DataError` and `SnapshotError` as `read_finished` does."""
    finished = read_finished(folder)
    return _record_of_run(finished) if isinstance(finished, FinishedRun) else _record_of_sweep(finished)


def _record_of_sweep(sweep: FinishedSweep) -> Record:
    """Return a parent: failed where a cell is."""
    has_failed = any(row.outcome in _MISTAKES for row in sweep.rows)
    cells = tuple(map(_record_of_run, sweep.runs))
    written = (sweep.folder / LEADERBOARD).stat().st_mtime
    # A sweep in which something failed was attempted when it was run; of another all is known by its cells.
    ended = round(written * 1000) if has_failed or not cells else max(cell.ended for cell in cells)
    parent = _record_of_rows(sweep.folder.name, sweep.rows, cells, ended)
    return replace(parent, status="FAILED" if has_failed else "FINISHED", folder=sweep.folder)


def record_of_attempt(attempt: Attempt) -> Record:
    """Return the run, or the parent with the cells that have ended, of what has not; its description says why."""
    if attempt.what.kind == "run":
        return _record_of_unfinished_run(attempt)
    name = datetime.fromtimestamp(attempt.began, UTC).strftime("sweep-unfinished-%Y%m%d-%H%M%S")
    cells = tuple(_record_of_run(FinishedRun.read(r.folder, r.name)) for r in attempt.rows if r.folder is not None)
    parent = _record_of_rows(name, attempt.rows, cells, round(attempt.ended * 1000))
    left = len(attempt.what.cells) - len(attempt.rows)
    tags = {**parent.tags, "driftbench.unfinished": str(left), "mlflow.note.content": attempt.note}
    # Two attempts at one sweep may end with the same cells: what tells them apart is when they began.
    own = hashlib.sha256(f"{parent.digest} {attempt.began}".encode()).hexdigest()
    return replace(parent, digest=own, status=attempt.status, seconds=attempt.ended - attempt.began, tags=tags)


def _record_of_unfinished_run(attempt: Attempt) -> Record:
    what = attempt.what
    params = accepted({k: _shortened(v, _LONGEST_VALUE) for k, v in {**what.choices, **_typed(what.command)}.items()})
    tags = {KIND: "run", **_SOURCE, "driftbench.outcome": "unfinished", "mlflow.note.content": attempt.note}
    tags["driftbench.command"] = " ".join(["bench", "run", *what.command])
    return Record(
        name=_shortened(what.name, _LONGEST_NAME),
        digest=hashlib.sha256(canonical_json([what.name, list(what.command), attempt.began]).encode()).hexdigest(),
        attempt=datetime.fromtimestamp(attempt.began, UTC).isoformat(),
        ended=round(attempt.ended * 1000),
        seconds=attempt.ended - attempt.began,
        tags={name: _shortened(value, _LONGEST_TAG) for name, value in tags.items()},
        params=params,
        status=attempt.status,
    )


def _record_of_rows(name: str, rows: Sequence[SweepRow], cells: tuple[Record, ...], ended: int) -> Record:
    """Return a parent of cells that have a result; those of `rows` without one are children that say why."""
    lacking = [row for row in rows if row.folder is None]
    content = {"cells": sorted(c.digest for c in cells), "others": {row.name: row.outcome for row in lacking}}
    outcomes = [row.outcome for row in rows]
    when = datetime.fromtimestamp(ended / 1000, UTC).isoformat(timespec="seconds")
    common = dict(sorted(set.intersection(*(set(cell.params.items()) for cell in cells)))) if cells else {}
    data = {cell.dataset for cell in cells}
    return Record(
        name=_shortened(name, _LONGEST_NAME),
        digest=hashlib.sha256(canonical_json(content).encode()).hexdigest(),
        attempt=when,
        ended=ended,
        seconds=sum(cell.seconds for cell in cells),
        tags={KIND: "sweep", **_SOURCE, **{f"driftbench.{o}": str(outcomes.count(o)) for o in _OUTCOMES}},
        params=common,
        points=tuple((o, float(outcomes.count(o)), 0) for o in _OUTCOMES),
        cells=(*cells, *(_record_of_failure(row, when, ended, common) for row in lacking)),
        dataset=data.pop() if len(data) == 1 else None,
        source={key: value for key, value in common.items() if key.split(".")[0] == "data"},
    )


def _record_of_failure(row: SweepRow, attempt: str, ended: int, common: Mapping[str, str]) -> Record:
    """Return the child of a cell that has no result: how it ended and why, in MLflow's description."""
    note = redacted(row.note)
    tags = {KIND: "run", **_SOURCE, "driftbench.outcome": row.outcome, "mlflow.note.content": note}
    return Record(
        name=_shortened(row.name, _LONGEST_NAME),
        digest=hashlib.sha256(canonical_json([row.name, row.outcome, note]).encode()).hexdigest(),
        attempt=attempt,
        ended=ended,
        seconds=0.0,
        tags={name: _shortened(value, _LONGEST_TAG) for name, value in tags.items()},
        params=accepted({**common, **_typed(re.split(r" (?=[\w./@+]+=)", row.name))}),
        status="FAILED",
    )


def _record_of_run(run: FinishedRun) -> Record:
    snapshot, identity = run.snapshot, run.snapshot.identity
    plain = {"suite": snapshot.suite, "case": snapshot.case, "look_ahead": identity["look_ahead"]}
    made, data = snapshot.provenance["created"], identity["data"]
    choices = snapshot.provenance.get("choices", {})
    flat = _flat({**plain, "data": data["name"], **identity["config"]})
    # A group is its choice, as it is typed; its class stands beside it.
    classes = {join_key(group, TARGET): flat[group] for group in choices if group in flat and group != "data"}
    typed = {**choices, **_typed(snapshot.provenance["command"])}
    return Record(
        name=_shortened(run.name, _LONGEST_NAME),
        digest=snapshot.digest,
        attempt=made,
        ended=round(datetime.fromisoformat(made).timestamp() * 1000),
        seconds=run.seconds,
        tags=_tags(snapshot),
        params=accepted({**flat, **classes, **{k: _shortened(v, _LONGEST_VALUE) for k, v in typed.items()}}),
        points=tuple(_points(snapshot)),
        folder=run.folder,
        dataset=(str(data["name"]), str(data["fingerprint"])[:_LONGEST_DIGEST]),
        source={key: value for key, value in typed.items() if key.split(".")[0] == "data"},
    )


def _typed(command: Iterable[str]) -> dict[str, str]:
    """Return the parameters of a command as they were typed, those left out that change no number and are no secret."""
    found = (text.lstrip("+").partition("=") for text in command if "=" in text and not text.startswith("~"))
    return {key: redacted(value) for key, _, value in found if re.split(r"[./@]", key)[0] not in _NO_PARAMETERS}


def _tags(snapshot: Snapshot) -> dict[str, str]:
    code = snapshot.provenance["code"]
    # Of a snapshot that is older than redaction, the tracking address may hold a password.
    command = [redacted(text) for text in snapshot.provenance["command"] if not text.startswith("tracking.")]
    tags = {
        KIND: "run",
        **_SOURCE,
        "driftbench.outcome": "done",
        "driftbench.config": sha256(snapshot.identity["config"]),
        "driftbench.identity": sha256(snapshot.identity),
        "driftbench.data": snapshot.identity["data"]["fingerprint"],
        "driftbench.code": code["digest"],
        "driftbench.version": code["version"],
        "driftbench.dirty": code["dirty"],
        "driftbench.user_code": (snapshot.provenance.get("user_code") or {}).get("digest"),
        "driftbench.command": " ".join(["bench", snapshot.provenance.get("program", "run"), *command]),
        "mlflow.source.git.commit": code["commit"],
    }
    return {name: _shortened(str(value), _LONGEST_TAG) for name, value in tags.items() if value is not None}


def _points(snapshot: Snapshot) -> Iterator[tuple[str, float, int]]:
    """Yield ``IC``, ``IC/low``, ``IC/high``, ``oracle/IC`` once and ``window/IC`` with a step for each window."""
    bounds = ((name, interval, end) for name, interval in snapshot.intervals.items() for end in ("low", "high"))
    once = {
        **snapshot.overall,
        **{f"{name}/{end}": interval[end] for name, interval, end in bounds},
        **{f"oracle/{name}": value for name, value in (snapshot.metrics["oracle"] or {}).items()},
    }
    steps = [(once, 0)]
    for window in snapshot.metrics["per_window"]:
        steps.append(({f"window/{k}": v for k, v in window.items() if k != "window"}, int(window["window"])))
    for values, step in steps:
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        for name, value in accepted(numbers).items():
            yield name, value, step


def _flat(node: object, path: str = "") -> dict[str, str]:
    """Return a described configuration as dotted key → text; an object's class stands under the object's own key."""
    if not isinstance(node, Mapping):
        text = node if isinstance(node, str) else json.dumps(node, ensure_ascii=False)
        return {path: _shortened(text, _LONGEST_VALUE)}
    found: dict[str, str] = {}
    for key, value in node.items():
        found |= _flat(value, path if key == "_target_" and path else f"{path}.{key}".lstrip("."))
    return found


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def accepted(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the same values under names that MLflow accepts, still all different.

    MLflow takes ASCII letters, digits and ``_ - . space : /``, at most 250 of them, and nothing that reads as a path
    with ``..``, an empty part, or a beginning at the root.
    """
    found: dict[str, Value] = {}
    for name, value in values.items():
        safe = _REFUSED.sub("_", name)[:_LONGEST_NAME]
        if safe != posixpath.normpath(safe) or safe.startswith(("/", "..")) or safe == ".":
            safe = safe.replace("/", "_").replace("..", "__").replace(".", "_") or "_"
        numbered = (f"{safe[: _LONGEST_NAME - 8]}_{number}" for number in count(2))
        found[next(free for free in chain([safe], numbered) if free not in found)] = value
    return found
