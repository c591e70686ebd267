"""What is sent, read from the folders that runs and sweeps leave: parameters, metrics, tags, files."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import DataError
from harness.errors.redaction import redacted
from harness.run.finished import (
    LEADERBOARD,
    SNAPSHOT,
    FinishedRun,
    FinishedSweep,
    folders_under,
    read_finished,
)
from harness.snapshots.snapshot import Snapshot, identity_digest
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically

Value = TypeVar("Value")
LONGEST_NAME, LONGEST_VALUE, LONGEST_TAG = 250, 500, 5000
_REFUSED = re.compile(r"[^\w\-. :/]", flags=re.ASCII)


def accepted(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the same values under names that MLflow accepts, still all different.

    MLflow takes ASCII letters, digits and ``_ - . space : /``, at most 250 of them, and nothing that reads as a path
    with ``..``, an empty part, or a beginning at the root.
    """
    found: dict[str, Value] = {}
    for name, value in values.items():
        safe = _REFUSED.sub("_", name)[:LONGEST_NAME]
        if safe != posixpath.normpath(safe) or safe.startswith(("/", "..")) or safe == ".":
            safe = safe.replace("/", "_").replace("..", "__").replace(".", "_") or "_"
        number, free = 2, safe
        while free in found:
            free, number = f"{safe[: LONGEST_NAME - 8]}_{number}", number + 1
        found[free] = value
    return found


def flat(node: object, path: str = "") -> dict[str, str]:
    """Return a described configuration as dotted key → text; an object's class stands under the object's own key."""
    if not isinstance(node, Mapping):
        return {path: shortened(node if isinstance(node, str) else json.dumps(node, ensure_ascii=False))}
    found: dict[str, str] = {}
    for key, value in node.items():
        inner = path if key == "_target_" and path else ".".join(filter(None, (path, str(key))))
        found |= flat(value, inner)
    return found


def shortened(text: str, longest: int = LONGEST_VALUE) -> str:
    """Return the text, cut with an ellipsis where it is longer than a server takes."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


MARKER = "tracked.json"


@dataclass(frozen=True)
class Mark:
    """Where one result went.

    Attributes:
        uri, experiment: The server, without user and password, and its experiment.
        digest, sweep: The snapshot's digest, and the sweep's; empty outside a sweep.
        run_id: The run on the server.
    """

    uri: str
    experiment: str
    digest: str
    sweep: str
    run_id: str

    def is_for(self, other: Mark) -> bool:
        """Whether both say that the same result is in the same place."""
        return all(getattr(self, n) == getattr(other, n) for n in ("uri", "experiment", "digest", "sweep"))


def marks_of(folder: Path) -> tuple[Mark, ...]:
    """Read the marks; a marker that is missing or damaged says nothing, and the server is asked instead."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))["sent"]
        return tuple(Mark(**{str(k): str(v) for k, v in entry.items()}) for entry in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def mark(folder: Path, new: Mark) -> None:
    """Add a mark, atomically, in the place of an older one for the same."""
    kept = [known for known in marks_of(folder) if not known.is_for(new)]
    content = canonical_json({"sent": [asdict(entry) for entry in (*kept, new)]}, indent=1)
    write_atomically(folder / MARKER, content.encode())


# A run is found again by these three.
KIND, SNAPSHOT_TAG, SWEEP_TAG = "driftbench.kind", "driftbench.snapshot", "driftbench.sweep"

_ENDS = ("done", "refused", "mistaken", "failed")


@dataclass(frozen=True)
class Point:
    """One value of a metric; `step` is the window's index, 0 for a metric over all windows."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True, eq=False)
class Record:
    """One run of MLflow's.

    Attributes:
        folder: Where it lies; every file in it but hidden ones and the marker is sent.
        name: Of the case, or the swept values.
        digest: Of the snapshot, or of all cells of a sweep: equal digest, equal result.
        ended: Milliseconds since 1970 at which the snapshot was made.
        seconds: What it took.
        params, tags, points: The resolved configuration; hashes, fingerprint and code; metrics over all windows, and
            for each window.
    """

    folder: Path
    name: str
    digest: str
    ended: int
    seconds: float
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()

    def files(self) -> Iterator[Path]:
        """Yield what is sent along, relative to the folder, sorted."""
        for path in sorted(self.folder.rglob("*")):
            inner = path.relative_to(self.folder)
            if path.is_file() and not path.is_symlink() and inner.name != MARKER and not inner.name.startswith("."):
                yield inner


@dataclass(frozen=True, eq=False)
class Tracked:
    """A run, or a sweep with its cells.

    Attributes:
        record: The run, or the sweep itself.
        cells: Of a sweep; each becomes a child of its record.
    """

    record: Record
    cells: tuple[Record, ...] = ()

    @property
    def count(self) -> int:
        """Runs of MLflow's that it makes."""
        return 1 + len(self.cells)


def read_tracked(folder: Path) -> Tracked:
    """Read the folder of a run or of a sweep; raises as `harness.run.finished.read_finished`."""
    finished = read_finished(folder)
    return Tracked(_run(finished)) if isinstance(finished, FinishedRun) else _sweep(finished)


def _sweep(sweep: FinishedSweep) -> Tracked:
    cells = tuple(map(_run, sweep.runs))
    others = {row.name: row.outcome for row in sweep.rows if row.folder is None}
    content = canonical_json({"cells": sorted(cell.digest for cell in cells), "others": others})
    outcomes = [row.outcome for row in sweep.rows]
    record = Record(
        sweep.folder,
        name=sweep.folder.name,
        digest=hashlib.sha256(content.encode()).hexdigest(),
        ended=max((cell.ended for cell in cells), default=0),
        seconds=sum(cell.seconds for cell in cells),
        tags={KIND: "sweep", **{f"driftbench.{o}": str(outcomes.count(o)) for o in _ENDS}},
        points=tuple(Point(k, float(outcomes.count(k))) for k in _ENDS),
    )
    return Tracked(record, cells)


def _run(run: FinishedRun) -> Record:
    return Record(
        run.folder,
        name=run.name,
        digest=run.snapshot.digest,
        ended=round(datetime.fromisoformat(run.snapshot.provenance["created"]).timestamp() * 1000),
        seconds=run.seconds,
        tags=_tags(run.snapshot),
        params=accepted(_params(run.snapshot)),
        points=_points(run.snapshot),
    )


def _params(snapshot: Snapshot) -> dict[str, str]:
    identity = snapshot.identity
    plain = {"suite": snapshot.suite, "case": snapshot.case, "look_ahead": identity["look_ahead"]}
    return flat({**plain, "data": identity["data"]["name"], **identity["config"]})


def _tags(snapshot: Snapshot) -> dict[str, str]:
    code = snapshot.provenance["code"]
    # Of a snapshot that is older than redaction, the tracking address may hold a password.
    command = [redacted(text) for text in snapshot.provenance["command"] if not text.startswith("tracking.")]
    tags = {
        KIND: "run",
        "driftbench.config": identity_digest(snapshot.identity["config"]),
        "driftbench.identity": identity_digest(snapshot.identity),
        "driftbench.data": snapshot.identity["data"]["fingerprint"],
        "driftbench.code": code["digest"],
        "driftbench.version": code["version"],
        "driftbench.dirty": code["dirty"],
        "driftbench.user_code": (snapshot.provenance.get("user_code") or {}).get("digest"),
        "driftbench.command": " ".join(["bench run", *command]),
        "mlflow.source.git.commit": code["commit"],
    }
    return {name: shortened(str(value), LONGEST_TAG) for name, value in tags.items() if value is not None}


def _points(snapshot: Snapshot) -> tuple[Point, ...]:
    """Return ``IC``, ``IC/low``, ``IC/high``, ``oracle/IC`` once and ``window/IC`` with a step for each window."""
    bounds = ((name, interval, end) for name, interval in snapshot.intervals.items() for end in ("low", "high"))
    once = {
        **snapshot.overall,
        **{f"{name}/{end}": interval[end] for name, interval, end in bounds},
        **{f"oracle/{name}": value for name, value in (snapshot.metrics["oracle"] or {}).items()},
    }
    points = [Point(name, value) for name, value in accepted(_numbers(once)).items()]
    for window in snapshot.metrics["per_window"]:
        own = {f"window/{name}": value for name, value in _numbers(window).items() if name != "window"}
        points += [Point(name, value, int(window["window"])) for name, value in accepted(own).items()]
    return tuple(points)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def all_folders(root: Path) -> list[Path]:
    """Return all sweeps under `root`, and the runs that are cells of none, sorted.

    Raises:
        DataError: When there is neither.
    """
    sweeps, runs = folders_under(root)
    rows = [row for sweep in sweeps for row in FinishedSweep.read(sweep).rows]
    cells = {row.folder.resolve() for row in rows if row.folder is not None}
    single = [run for run in runs if run.resolve() not in cells]
    if not sweeps and not single:
        raise DataError(
            "There is nothing to send.",
            where=str(root),
            expected=f"folders with {LEADERBOARD} or {SNAPSHOT}",
            hint="run something first: bench run tracking=mlflow",
        )
    return [*sweeps, *single]
