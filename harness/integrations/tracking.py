"""Where finished runs are also sent: nowhere, or to MLflow, which reads what they leave and changes no number.

A run becomes a run, a sweep a parent with its cells as children; each is sent once. MLflow: Zaharia et al.,
"Accelerating the Machine Learning Lifecycle with MLflow", IEEE Data Eng. Bull. 41(4), 2018.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

from annotated_types import Ge, Le

from harness.errors import ConfigError, DataError, HarnessError
from harness.errors.limits import check_limits
from harness.errors.redaction import redacted
from harness.execution.progress import Observer
from harness.run.finished import LEADERBOARD, SNAPSHOT, FinishedRun, FinishedSweep, folders_under, read_finished
from harness.snapshots.snapshot import Snapshot, sha256
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically
from harness.store.locks import only_maker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Value = TypeVar("Value")
_MARKER = "tracked.json"
# A run is found again by these three.
_KIND, _SNAPSHOT, _SWEEP = "driftbench.kind", "driftbench.snapshot", "driftbench.sweep"
_LONGEST_NAME, _LONGEST_VALUE, _LONGEST_TAG = 250, 500, 5000
_REFUSED = re.compile(r"[^\w\-. :/]", flags=re.ASCII)
_OUTCOMES = ("done", "refused", "mistaken", "failed")
_MOST = {"metrics": 1000, "params": 100}  # that a server takes in one request
_LOGGERS = ("mlflow", "alembic")
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


@dataclass(frozen=True, eq=False)
class Record:
    """One run of MLflow's."""

    folder: Path  # where it lies; every file in it but hidden ones and the marker is sent
    name: str  # of the case, or the swept values
    digest: str  # of the snapshot, or of all cells of a sweep: equal digest, equal result
    ended: int  # milliseconds since 1970 at which the snapshot was made
    seconds: float  # what it took
    # tags, params: hashes, fingerprint and code; the resolved configuration
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    # (metric, value, step): the step is the window's index, 0 for a metric over all windows
    points: tuple[tuple[str, float, int], ...] = ()
    cells: tuple[Record, ...] = ()  # of a sweep; each becomes a child

    def files(self) -> Iterator[Path]:
        """Yield what is sent along, relative to the folder, sorted."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.name != _MARKER and not path.name.startswith("."):
                yield path.relative_to(self.folder)


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


def _read_record(folder: Path) -> Record:
    finished = read_finished(folder)
    if isinstance(finished, FinishedRun):
        return _record_of_run(finished)
    cells = tuple(map(_record_of_run, finished.runs))
    others = {row.name: row.outcome for row in finished.rows if row.folder is None}
    content = canonical_json({"cells": sorted(cell.digest for cell in cells), "others": others})
    outcomes = [row.outcome for row in finished.rows]
    return Record(
        folder,
        name=_shortened(folder.name, _LONGEST_NAME),
        digest=hashlib.sha256(content.encode()).hexdigest(),
        ended=max((cell.ended for cell in cells), default=0),
        seconds=sum(cell.seconds for cell in cells),
        tags={_KIND: "sweep", **{f"driftbench.{o}": str(outcomes.count(o)) for o in _OUTCOMES}},
        points=tuple((o, float(outcomes.count(o)), 0) for o in _OUTCOMES),
        cells=cells,
    )


def _record_of_run(run: FinishedRun) -> Record:
    snapshot, identity = run.snapshot, run.snapshot.identity
    plain = {"suite": snapshot.suite, "case": snapshot.case, "look_ahead": identity["look_ahead"]}
    return Record(
        run.folder,
        name=_shortened(run.name, _LONGEST_NAME),
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
        _KIND: "run",
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


@dataclass(eq=False)
class Server:
    """Where runs are found and made."""

    uri: str
    experiment: str
    timeout: int  # seconds per request
    files: Path  # the folder of the runs; a database keeps its files there
    # sent, present: runs that were sent now; that were there already
    sent: int = field(default=0, init=False)
    present: int = field(default=0, init=False)
    missed: dict[Path, str] = field(default_factory=dict, init=False)  # folder → why it could not be sent

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Give MLflow short timeouts, no telemetry and no voice inside the block, and leave the process as it was."""
        wanted = {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(self.timeout),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        added = {name: value for name, value in wanted.items() if name not in os.environ}
        levels = {logger: logger.level for logger in map(logging.getLogger, _LOGGERS)}
        os.environ.update(added)
        try:
            with warnings.catch_warnings():
                # Of MLflow's dependencies, about MLflow.
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", FutureWarning)
                import mlflow  # noqa: F401

                for logger in levels:
                    logger.setLevel(logging.ERROR)
                yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)
            for name in added:
                os.environ.pop(name, None)

    def send(self, record: Record, sweep: str = "", parent: str | None = None) -> None:
        """Send a run, or a sweep and then its cells, unless it is there: where a parent is finished, all children are.

        A run that an earlier attempt left unfinished is taken up: the same values at the same times change nothing.
        One that is left unfinished now does not stand there as if it were still running.
        """
        place = {"uri": redacted(self.uri), "experiment": self.experiment, "digest": record.digest, "sweep": sweep}
        if any(place.items() <= known.items() for known in _marks(record.folder)):
            self.present += 1 + len(record.cells)
            return
        run = self._find(record, sweep) or self._create(record, sweep, parent)
        run_id = run.info.run_id
        if run.info.status == "FINISHED":
            self.present += 1 + len(record.cells)
            _mark(record.folder, place, run_id)
            return
        try:
            if run.info.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            self._log_record(run_id, record)
            for cell in record.cells:
                self.send(cell, record.digest, run_id)
        except BaseException as error:
            with contextlib.suppress(*_unreachable()):
                self._client.set_terminated(run_id, status="FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        self._client.set_terminated(run_id, status="FINISHED", end_time=record.ended)
        _mark(record.folder, place, run_id)
        self.sent += 1

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    @cached_property
    def _experiment_id(self) -> str:
        """MLflow's id of the experiment; a database would keep its files in the working directory."""
        known = self._client.get_experiment_by_name(self.experiment)
        if known is not None:
            return str(known.experiment_id)
        is_server = self.uri.startswith(("http:", "https:", "databricks"))
        location = None if is_server else (self.files / "mlflow-artifacts").as_uri()
        return str(self._client.create_experiment(self.experiment, artifact_location=location))

    def _find(self, record: Record, sweep: str) -> Run | None:
        tags = f"tags.`{_SNAPSHOT}` = '{record.digest}' and tags.`{_SWEEP}` = '{sweep or '-'}'"
        found = self._client.search_runs([self._experiment_id], tags, max_results=100)
        return next((run for run in found if run.info.status == "FINISHED"), found[0] if found else None)

    def _create(self, record: Record, sweep: str, parent: str | None) -> Run:
        tags = {**record.tags, _SNAPSHOT: record.digest, _SWEEP: sweep or "-"}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        began = record.ended - round(record.seconds * 1000)
        return self._client.create_run(self._experiment_id, start_time=began, tags=tags, run_name=record.name)

    def _log_record(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Metric, Param

        sent: dict[str, Any] = {
            "metrics": [Metric(name, value, record.ended, step) for name, value, step in record.points],
            "params": [Param(name, value) for name, value in record.params.items()],
        }
        for kind, entries in sent.items():
            for at in range(0, len(entries), _MOST[kind]):
                self._client.log_batch(run_id, **{kind: entries[at : at + _MOST[kind]]})
        for inner in record.files():
            where = None if inner.parent == Path() else inner.parent.as_posix()
            self._client.log_artifact(run_id, str(record.folder / inner), where)


def _marks(folder: Path) -> list[dict[str, str]]:
    """Read where a result went; a marker that is missing or damaged says nothing, and the server is asked instead."""
    try:
        found = json.loads((folder / _MARKER).read_text(encoding="utf-8"))["sent"]
        return [{str(k): str(v) for k, v in entry.items()} for entry in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _mark(folder: Path, place: dict[str, str], run_id: object) -> None:
    """Note where a result went, atomically, instead of an older note for the same place."""
    kept = [known for known in _marks(folder) if not place.items() <= known.items()]
    content = canonical_json({"sent": [*kept, {**place, "run_id": str(run_id)}]}, indent=1)
    write_atomically(folder / _MARKER, content.encode())


def _unreachable() -> tuple[type[Exception], ...]:
    """Return what MLflow and the libraries below it raise when a store does not answer, refuses, or is damaged."""
    import alembic.util.exc
    import mlflow.exceptions
    import requests
    import sqlalchemy.exc

    servers = mlflow.exceptions.MlflowException, requests.RequestException
    databases = sqlalchemy.exc.SQLAlchemyError, alembic.util.exc.CommandError
    # The last of an answer that is not MLflow's, and of text that cannot be sent.
    return (*servers, *databases, OSError, ValueError)


@dataclass(frozen=True)
class NoTracking:
    """Runs are not tracked."""

    def check(self) -> None:
        """Accept everything."""

    def send(self, folders: Sequence[Path], runs: Path, observer: Observer) -> None:
        """Send nothing."""


@dataclass(frozen=True)
class Mlflow:
    """Send runs to an MLflow server or into a database.

    Attributes:
        uri: Of a server or a database, such as ``http://host:5000``; None takes the file ``mlflow.db`` beside the runs.
        experiment: MLflow's experiment; made when it is not there.
        timeout: Seconds that a server may take to answer; it is asked twice.

    Raises:
        ConfigError: For an address that MLflow has no store for, an experiment without a name, or a timeout below 1.
    """

    uri: str | None = None
    experiment: str = "driftbench"
    timeout: Annotated[int, Ge(1), Le(86_400)] = 10

    def __post_init__(self) -> None:
        check_limits(self, "tracking")
        try:
            scheme = urlsplit("sqlite:" if self.uri is None else self.uri).scheme.partition("+")[0]
        except ValueError:
            scheme = ""
        if scheme not in _SCHEMES and self.uri != "databricks":
            what, hint = "MLflow has no store for this address.", "null takes the file mlflow.db in output.runs"
            expected = f"{'|'.join(_SCHEMES)}://…, such as http://127.0.0.1:5000 or sqlite:////data/mlflow.db"
            raise ConfigError(what, where="uri", got=self.uri, expected=expected, hint=hint)
        if not self.experiment.strip():
            what, got = "An experiment needs a name.", repr(self.experiment)
            raise ConfigError(what, where="experiment", got=got, expected="such as driftbench")

    def check(self) -> None:
        """Refuse to begin work whose tracking cannot be loaded: raises `ConfigError` when MLflow is not installed."""
        if importlib.util.find_spec("mlflow") is None:
            what = "Tracking needs the library `mlflow`, which is not installed."
            expected, hint = "none, or an installed mlflow", "pip install 'driftbench[mlflow]'"
            raise ConfigError(what, where="tracking", got="mlflow", expected=expected, hint=hint)

    def send(self, folders: Sequence[Path], runs: Path, observer: Observer) -> None:
        """Send runs and sweeps; what cannot be sent is a notice with the command that sends it later."""
        uri = "" if self.uri is None else f" --uri {redacted(self.uri)}"
        name = "" if self.experiment == Mlflow.experiment else f" --experiment '{self.experiment}'"
        for folder, reason in self.push(folders, runs, observer).missed.items():
            later = f"the result is safe; later: bench track push '{folder}'{uri}{name}"
            observer.notice(f"not tracked: {reason}\n      {later}")

    def push(self, folders: Sequence[Path], runs: Path, observer: Observer) -> Server:
        """Send what of some runs and sweeps is not there yet, and return what came of it.

        The default database and, for any database, the files go into the folder `runs`.
        """
        uri = self.uri or f"sqlite:///{(runs.resolve() / 'mlflow.db').as_posix()}"
        server = Server(uri, self.experiment, self.timeout, runs.resolve())
        observer.start("tracking", len(folders))
        with server.quiet():
            for at, folder in enumerate(folders):
                try:
                    record = _read_record(folder)
                    with only_maker(folder / ".tracking.lock"):
                        server.send(record)
                except HarnessError as error:
                    server.missed[folder] = str(error)
                except _unreachable() as error:  # then it is not asked again
                    lines = str(error).strip().splitlines() or [""]
                    reason = redacted(f"{uri}: {type(error).__name__}: {lines[0]}")[:400]
                    server.missed |= dict.fromkeys(folders[at:], reason)
                    break
                finally:
                    observer.advance("tracking")
        observer.finish("tracking", f"{server.sent} sent, {server.present} there already")
        return server
