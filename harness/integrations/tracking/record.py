"""What is sent, read from the folders that runs and sweeps leave: parameters, metrics, tags, files."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import DataError
from harness.errors.redaction import redacted
from harness.run.finished import LEADERBOARD, SNAPSHOT, FinishedRun, FinishedSweep, folders_under, read_finished
from harness.snapshots.snapshot import Snapshot, sha256
from harness.store.artifacts import canonical_json

Value = TypeVar("Value")
MARKER = "tracked.json"
# A run is found again by these three.
KIND, SNAPSHOT_TAG, SWEEP_TAG = "driftbench.kind", "driftbench.snapshot", "driftbench.sweep"
_LONGEST_NAME, _LONGEST_VALUE, _LONGEST_TAG = 250, 500, 5000
_REFUSED = re.compile(r"[^\w\-. :/]", flags=re.ASCII)
_OUTCOMES = ("done", "refused", "mistaken", "failed")


@dataclass(frozen=True, eq=False)
class Record:
    """One run of MLflow's.

    Attributes:
        folder: Where it lies; every file in it but hidden ones and the marker is sent.
        name: Of the case, or the swept values.
        digest: Of the snapshot, or of all cells of a sweep: equal digest, equal result.
        ended: Milliseconds since 1970 at which the snapshot was made.
        seconds: What it took.
        tags, params: Hashes, fingerprint and code; the resolved configuration.
        points: (metric, value, step): the step is the window's index, 0 for a metric over all windows.
        cells: Of a sweep; each becomes a child.
    """

    folder: Path
    name: str
    digest: str
    ended: int
    seconds: float
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    points: tuple[tuple[str, float, int], ...] = ()
    cells: tuple[Record, ...] = ()

    def files(self) -> Iterator[Path]:
        """Yield what is sent along, relative to the folder, sorted."""
        for path in sorted(self.folder.rglob("*")):
            inner = path.relative_to(self.folder)
            if path.is_file() and not path.is_symlink() and inner.name != MARKER and not inner.name.startswith("."):
                yield inner


def read_tracked(folder: Path) -> Record:
    """Read the folder of a run or of a sweep; raises as `harness.run.finished.read_finished`."""
    finished = read_finished(folder)
    if isinstance(finished, FinishedRun):
        return _run(finished)
    cells = tuple(map(_run, finished.runs))
    others = {row.name: row.outcome for row in finished.rows if row.folder is None}
    content = canonical_json({"cells": sorted(cell.digest for cell in cells), "others": others})
    outcomes = [row.outcome for row in finished.rows]
    return Record(
        folder,
        name=shortened(folder.name, _LONGEST_NAME),
        digest=hashlib.sha256(content.encode()).hexdigest(),
        ended=max((cell.ended for cell in cells), default=0),
        seconds=sum(cell.seconds for cell in cells),
        tags={KIND: "sweep", **{f"driftbench.{o}": str(outcomes.count(o)) for o in _OUTCOMES}},
        points=tuple((o, float(outcomes.count(o)), 0) for o in _OUTCOMES),
        cells=cells,
    )


def all_folders(root: Path) -> list[Path]:
    """Return all sweeps under `root`, and the runs that are cells of none, sorted.

    Raises:
        DataError: When there is neither.
    """
    sweeps, runs = folders_under(root)
    rows = [row for sweep in sweeps for row in FinishedSweep.read(sweep).rows]
    cells = {row.folder.resolve() for row in rows if row.folder is not None}
    found = [*sweeps, *(run for run in runs if run.resolve() not in cells)]
    if not found:
        expected, hint = f"folders with {LEADERBOARD} or {SNAPSHOT}", "run something first: bench run tracking=mlflow"
        raise DataError("There is nothing to send.", where=str(root), expected=expected, hint=hint)
    return found


def _run(run: FinishedRun) -> Record:
    snapshot, identity = run.snapshot, run.snapshot.identity
    plain = {"suite": snapshot.suite, "case": snapshot.case, "look_ahead": identity["look_ahead"]}
    return Record(
        run.folder,
        name=shortened(run.name, _LONGEST_NAME),
        digest=snapshot.digest,
        ended=round(datetime.fromisoformat(snapshot.provenance["created"]).timestamp() * 1000),
        seconds=run.seconds,
        tags=_tags(snapshot),
        params=accepted(_flat({**plain, "data": identity["data"]["name"], **identity["config"]})),
        points=tuple(_points(snapshot)),
    )


def _tags(snapshot: Snapshot) -> dict[str, str]:
    code = snapshot.provenance["code"]
    # Of a snapshot that is older than redaction, the tracking address may hold a password.
    command = [redacted(text) for text in snapshot.provenance["command"] if not text.startswith("tracking.")]
    tags = {
        KIND: "run",
        "driftbench.config": sha256(snapshot.identity["config"]),
        "driftbench.identity": sha256(snapshot.identity),
        "driftbench.data": snapshot.identity["data"]["fingerprint"],
        "driftbench.code": code["digest"],
        "driftbench.version": code["version"],
        "driftbench.dirty": code["dirty"],
        "driftbench.user_code": (snapshot.provenance.get("user_code") or {}).get("digest"),
        "driftbench.command": " ".join(["bench run", *command]),
        "mlflow.source.git.commit": code["commit"],
    }
    return {name: shortened(str(value), _LONGEST_TAG) for name, value in tags.items() if value is not None}


def _points(snapshot: Snapshot) -> Iterator[tuple[str, float, int]]:
    """Yield ``IC``, ``IC/low``, ``IC/high``, ``oracle/IC`` once and ``window/IC`` with a step for each window."""
    bounds = ((name, interval, end) for name, interval in snapshot.intervals.items() for end in ("low", "high"))
    once = {
        **snapshot.overall,
        **{f"{name}/{end}": interval[end] for name, interval, end in bounds},
        **{f"oracle/{name}": value for name, value in (snapshot.metrics["oracle"] or {}).items()},
    }
    windows = (
        ({f"window/{name}": value for name, value in window.items() if name != "window"}, int(window["window"]))
        for window in snapshot.metrics["per_window"]
    )
    for values, step in ((once, 0), *windows):
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        for name, value in accepted(numbers).items():
            yield name, value, step


def _flat(node: object, path: str = "") -> dict[str, str]:
    """Return a described configuration as dotted key → text; an object's class stands under the object's own key."""
    if not isinstance(node, Mapping):
        text = node if isinstance(node, str) else json.dumps(node, ensure_ascii=False)
        return {path: shortened(text, _LONGEST_VALUE)}
    found: dict[str, str] = {}
    for key, value in node.items():
        inner = path if key == "_target_" and path else ".".join(filter(None, (path, str(key))))
        found |= _flat(value, inner)
    return found


def shortened(text: str, longest: int) -> str:
    """Return the text, cut with an ellipsis where it is longer than a server takes."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def accepted(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the same values under names that MLflow accepts, still all different.

    MLflow takes ASCII letters, digits and ``_ - . space : /``, at most 250 of them, and nothing that reads as a path
    with ``..``, an empty part, or a beginning at the root.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        safe = _REFUSED.sub("_", name)[:_LONGEST_NAME]
        if safe != posixpath.normpath(safe) or safe.startswith(("/", "..")) or safe == ".":
            safe = safe.replace("/", "_").replace("..", "__").replace(".", "_") or "_"
        number, free = 2, safe
        while free in found:
            free, number = f"{safe[: _LONGEST_NAME - 8]}_{number}", number + 1
        found[free] = value
    return found
