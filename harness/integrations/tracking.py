"""Where finished runs are also sent: nowhere, or to MLflow, which reads what they leave and changes no number.

A run becomes a run, a sweep a parent with its cells as children; each attempt is sent once. MLflow: Zaharia et al.,
"Accelerating the Machine Learning Lifecycle with MLflow", IEEE Data Eng. Bull. 41(4), 2018.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from annotated_types import Ge, Le

from harness.errors import ConfigError, HarnessError
from harness.errors.extras import missing_extra
from harness.errors.limits import check_limits
from harness.errors.redaction import redacted
from harness.execution.progress import Observer
from harness.integrations.attempts import Attempted, Notes, unfinished
from harness.integrations.mlflow_records import (
    ATTEMPT,
    DIGEST,
    MARKER,
    SWEEP,
    Record,
    read_record,
    record_of_attempt,
)
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically
from harness.store.locks import only_maker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

_COMPLETE = "driftbench.complete"  # set when everything is there, whatever the outcome
_MOST = {"metrics": 1000, "params": 100}  # that a server takes in one request
_LOGGERS = ("mlflow", "alembic")
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


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
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
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
        """Send a run, or a sweep and then its cells, unless it is there: where a parent is complete, all children are.

        A run that an earlier sending left incomplete is taken up: the same values at the same times change nothing. One
        that is left so now does not stand there as if it were still running.
        """
        place = {"uri": redacted(self.uri), "experiment": self.experiment, "digest": record.digest, "sweep": sweep}
        # Markers of earlier versions know of no attempts.
        known = ({"attempt": record.attempt, **mark} for mark in _marks(record.folder))
        place["attempt"] = record.attempt
        if any(place.items() <= mark.items() for mark in known):
            self.present += 1 + len(record.cells)
            return
        run = self._find(record, sweep) or self._create(record, sweep, parent)
        run_id = run.info.run_id
        if _is_complete(run):
            self.present += 1 + len(record.cells)
            _mark(record.folder, place, run_id)
            return
        try:
            if run.info.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            self._log_record(run_id, record)
            for cell in record.cells:
                self.send(cell, f"{record.digest} {record.attempt}", run_id)
            self._client.set_tag(run_id, _COMPLETE, "true")
        except BaseException as error:
            with contextlib.suppress(*_unreachable()):
                self._client.set_terminated(run_id, status="FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        self._client.set_terminated(run_id, status=record.status, end_time=record.ended)
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
        tags = f"tags.`{DIGEST}` = '{record.digest}' and tags.`{SWEEP}` = '{sweep or '-'}'"
        known = self._client.search_runs([self._experiment_id], tags, max_results=1000)
        found = [run for run in known if run.data.tags.get(ATTEMPT, record.attempt) == record.attempt]
        return next(filter(_is_complete, found), found[0] if found else None)

    def _create(self, record: Record, sweep: str, parent: str | None) -> Run:
        tags = {**record.tags, DIGEST: record.digest, SWEEP: sweep or "-", ATTEMPT: record.attempt}
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
        if record.dataset is not None:
            self._client.log_inputs(run_id, [_dataset(*record.dataset, record.source)])
        if record.folder is not None:
            for inner in record.files():
                where = None if inner.parent == Path() else inner.parent.as_posix()
                self._client.log_artifact(run_id, str(record.folder / inner), where)


def _is_complete(run: Run) -> bool:
    """Return whether everything of a run was sent; earlier versions said so by its status."""
    tags = run.data.tags
    return tags.get(_COMPLETE) == "true" or (ATTEMPT not in tags and run.info.status == "FINISHED")


def _dataset(name: str, digest: str, source: Mapping[str, str]) -> DatasetInput:
    """Return the data of a run as MLflow shows and finds them: their source is what chose them, not where they lie."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag

    made = CodeDatasetSource(tags=dict(source))
    of = Dataset(name=name, digest=digest, source_type=made._get_source_type(), source=made.to_json())
    return DatasetInput(of, [InputTag("mlflow.data.context", "evaluation")])


def _marks(folder: Path | None) -> list[dict[str, str]]:
    """Read where a result went; a marker that is missing or damaged says nothing, and the server is asked instead."""
    if folder is None:
        return []
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))["sent"]
        return [{str(k): str(v) for k, v in entry.items()} for entry in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _mark(folder: Path | None, place: dict[str, str], run_id: object) -> None:
    """Note where a result went, atomically, instead of an older note for the same place."""
    if folder is None:
        return
    kept = [known for known in _marks(folder) if not place.items() <= known.items()]
    content = canonical_json({"sent": [*kept, {**place, "run_id": str(run_id)}]}, indent=1)
    write_atomically(folder / MARKER, content.encode())


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
            raise missing_extra("Tracking", "mlflow", "tracking")

    @contextmanager
    def attempt(self, what: Attempted, runs: Path, observer: Observer) -> Iterator[Notes]:
        """Give what notes how far a run or sweep comes; it is sent as it stands when an error leaves the block.

        Nothing of one that ends in order stays. One that is killed, or whose sending is, is found and sent by the next
        sending from the folder `runs`.
        """
        notes = Notes(runs, self._place(runs), what)
        try:
            yield notes
        except BaseException as error:
            notes.ended(error)
            if not notes.is_whole:
                self.send([], runs, observer)
            raise
        notes.remove()

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
        uri = self._address(runs)
        server = Server(uri, self.experiment, self.timeout, runs.resolve())
        observer.start("tracking", len(folders))
        with server.quiet():
            for at, folder in enumerate(folders):
                try:
                    record = read_record(folder)
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
            if not server.missed:
                self._send_unfinished(server, runs, observer)
        observer.finish("tracking", f"{server.sent} sent, {server.present} there already")
        return server

    def _send_unfinished(self, server: Server, runs: Path, observer: Observer) -> None:
        """Send what has not ended in order of the folder `runs`; what cannot be sent now waits."""
        with unfinished(runs, self._place(runs)) as attempts:
            for attempt in attempts:
                try:
                    server.send(record_of_attempt(attempt) if attempt.folder is None else read_record(attempt.folder))
                except HarnessError as error:
                    server.missed[attempt.path] = str(error)
                except _unreachable() as error:
                    server.missed[attempt.path] = redacted(f"{server.uri}: {type(error).__name__}: {error}")[:400]
                    break
                attempt.path.unlink(missing_ok=True)
                observer.notice(f"tracked too: a {attempt.what.kind} that {attempt.note}")

    def _address(self, runs: Path) -> str:
        return self.uri or f"sqlite:///{(runs.resolve() / 'mlflow.db').as_posix()}"

    def _place(self, runs: Path) -> dict[str, str]:
        return {"uri": redacted(self._address(runs)), "experiment": self.experiment}
