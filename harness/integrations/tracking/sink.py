"""MLflow as a sink: a run becomes a run, a sweep a parent with its cells as children; each is sent once.

MLflow: Zaharia et al., "Accelerating the Machine Learning Lifecycle with MLflow", IEEE Data Eng. Bull. 41(4), 2018.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit

from annotated_types import Ge, Le

from harness.errors import ConfigError, HarnessError
from harness.errors.limits import check_limits
from harness.errors.redaction import redacted
from harness.execution.progress import Observer
from harness.integrations.tracking.record import (
    SNAPSHOT_TAG,
    SWEEP_TAG,
    Mark,
    Record,
    Tracked,
    mark,
    marks_of,
    read_tracked,
    shortened,
)
from harness.store.locks import only_maker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Item = TypeVar("Item")
# What a server takes in one request.
_METRICS, _PARAMS = 1000, 100
_LOGGERS = ("mlflow", "alembic")


@dataclass(eq=False)
class Server:
    """Where runs are found and made.

    Attributes:
        uri, experiment: The server and MLflow's experiment on it.
        timeout: Seconds per request.
        files: The folder of the runs; a database keeps its files there.
        is_down: Set by the caller when it did not answer, so that it is not asked again.
    """

    uri: str
    experiment: str
    timeout: int
    files: Path
    is_down: bool = field(default=False, init=False)

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
        added = [name for name in wanted if name not in os.environ]
        levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        os.environ.update({name: wanted[name] for name in added})
        try:
            with warnings.catch_warnings():
                # Of MLflow's dependencies, about MLflow.
                warnings.simplefilter("ignore", DeprecationWarning)
                warnings.simplefilter("ignore", FutureWarning)
                import mlflow  # noqa: F401

                for name in _LOGGERS:
                    logging.getLogger(name).setLevel(logging.ERROR)
                yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for name in added:
                os.environ.pop(name, None)

    def find(self, record: Record, sweep: str = "") -> str | None:
        """Return the finished run of this result, known by its mark or found on the server by its tags."""
        wanted = self._mark(record, sweep, "")
        for known in marks_of(record.folder):
            if known.is_for(wanted):
                return known.run_id
        found = self._on_server(record, sweep)
        if found is None or found.info.status != "FINISHED":
            return None
        mark(record.folder, self._mark(record, sweep, found.info.run_id))
        return str(found.info.run_id)

    def send(self, record: Record, *, sweep: str = "", parent: str | None = None) -> None:
        """Make a run and mark its folder."""
        with self.opened(record, sweep=sweep, parent=parent):
            pass

    @contextmanager
    def opened(self, record: Record, *, sweep: str = "", parent: str | None = None) -> Iterator[str]:
        """Fill a run, let the block add to it, finish it, and mark its folder.

        A run that an earlier attempt left unfinished is taken up: the same values at the same times change nothing.
        One that is left unfinished now does not stand there as if it were still running.
        """
        run = self._on_server(record, sweep) or self._create(record, sweep, parent)
        run_id = run.info.run_id
        try:
            if run.info.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            self._fill(run_id, record)
            yield run_id
        except BaseException as error:
            with contextlib.suppress(*unreachable()):
                self._client.set_terminated(run_id, status="FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        self._client.set_terminated(run_id, status="FINISHED", end_time=record.ended)
        mark(record.folder, self._mark(record, sweep, run_id))

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

    def _on_server(self, record: Record, sweep: str) -> Run | None:
        tags = f"tags.`{SNAPSHOT_TAG}` = '{record.digest}' and tags.`{SWEEP_TAG}` = '{sweep or '-'}'"
        found = self._client.search_runs([self._experiment_id], tags, max_results=100)
        return next((run for run in found if run.info.status == "FINISHED"), found[0] if found else None)

    def _create(self, record: Record, sweep: str, parent: str | None) -> Run:
        tags = {**record.tags, SNAPSHOT_TAG: record.digest, SWEEP_TAG: sweep or "-"}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        began = record.ended - round(record.seconds * 1000)
        return self._client.create_run(
            self._experiment_id, start_time=began, tags=tags, run_name=shortened(record.name, 250)
        )

    def _fill(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Metric, Param

        points = [Metric(point.name, point.value, record.ended, point.step) for point in record.points]
        for some in _batches(points, _METRICS):
            self._client.log_batch(run_id, metrics=some)
        for chunk in _batches([Param(name, value) for name, value in record.params.items()], _PARAMS):
            self._client.log_batch(run_id, params=chunk)
        for inner in record.files():
            where = None if inner.parent == Path() else inner.parent.as_posix()
            self._client.log_artifact(run_id, str(record.folder / inner), where)

    def _mark(self, record: Record, sweep: str, run_id: str) -> Mark:
        return Mark(redacted(self.uri), self.experiment, record.digest, sweep, run_id)


def unreachable() -> tuple[type[Exception], ...]:
    """Return what MLflow and the libraries below it raise when a store does not answer, refuses, or is damaged."""
    import alembic.util.exc
    import mlflow.exceptions
    import requests
    import sqlalchemy.exc

    return (
        mlflow.exceptions.MlflowException,
        requests.RequestException,
        sqlalchemy.exc.SQLAlchemyError,
        alembic.util.exc.CommandError,
        OSError,
        # Of an answer that is not MLflow's, and of text that cannot be sent.
        ValueError,
    )


def _batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, size)):
        yield batch


_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


@dataclass
class Sent:
    """What came of it, in runs of MLflow's.

    Attributes:
        sent, present: Sent now; there already.
        missed: Folder → why it could not be sent.
    """

    sent: int = 0
    present: int = 0
    missed: dict[Path, str] = field(default_factory=dict)


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
        """Check what can be checked without a server."""
        check_limits(self, "tracking")
        if self.uri is not None:
            _check_uri(self.uri)
        if not self.experiment.strip():
            raise ConfigError(
                "An experiment needs a name.",
                where="experiment",
                got=repr(self.experiment),
                expected="such as driftbench",
            )

    def check(self) -> None:
        """Refuse to begin work whose tracking cannot be loaded.

        Raises:
            ConfigError: When MLflow is not installed.
        """
        if importlib.util.find_spec("mlflow") is None:
            raise ConfigError(
                "Tracking needs the library `mlflow`, which is not installed.",
                where="tracking",
                got="mlflow",
                expected="none, or an installed mlflow",
                hint="pip install 'driftbench[mlflow]'",
            )

    def send(self, folders: Sequence[Path], runs: Path, observer: Observer) -> None:
        """Send runs and sweeps; what cannot be sent is a notice with the command that sends it later."""
        done = self.push(folders, runs, observer)
        for folder, reason in done.missed.items():
            uri = "" if self.uri is None else f" --uri {redacted(self.uri)}"
            name = "" if self.experiment == Mlflow.experiment else f" --experiment '{self.experiment}'"
            observer.notice(
                f"not tracked: {reason}\n      the result is safe; later: bench track push '{folder}'{uri}{name}"
            )

    def push(self, folders: Sequence[Path], runs: Path, observer: Observer) -> Sent:
        """Send what is not there yet, and return what came of it.

        Args:
            folders: Of runs and sweeps.
            runs: Where the default database and, for any database, the files go.
            observer: Told about progress.
        """
        done = Sent()
        server = Server(self.uri or default_uri(runs), self.experiment, self.timeout, runs.resolve())
        observer.start("tracking", len(folders))
        with server.quiet():
            for at, folder in enumerate(folders):
                reason = self._send_one(server, folder, done)
                observer.advance("tracking")
                if reason is not None:
                    done.missed[folder] = reason
                if reason is not None and server.is_down:
                    done.missed |= dict.fromkeys(folders[at + 1 :], reason)
                    break
        observer.finish("tracking", f"{done.sent} sent, {done.present} there already")
        return done

    def _send_one(self, server: Server, folder: Path, done: Sent) -> str | None:
        try:
            tracked = read_tracked(folder)
            with only_maker(folder / ".tracking.lock"):
                _send(server, tracked, done)
        except HarnessError as error:
            return str(error)
        except unreachable() as error:
            server.is_down = True
            lines = str(error).strip().splitlines() or [""]
            return redacted(f"{server.uri}: {type(error).__name__}: {lines[0]}")[:400]
        return None


def default_uri(runs: Path) -> str:
    """Return the database that stands beside the runs."""
    return f"sqlite:///{(runs.resolve() / 'mlflow.db').as_posix()}"


def _send(server: Server, tracked: Tracked, done: Sent) -> None:
    """Send a run, or a sweep's children and then the sweep: where the parent is finished, all its children are."""
    record = tracked.record
    if not tracked.cells and record.tags["driftbench.kind"] == "run":
        found = server.find(record)
        if found is None:
            server.send(record)
        done.sent, done.present = done.sent + (found is None), done.present + (found is not None)
        return
    if server.find(record) is not None:
        done.present += tracked.count
        return
    with server.opened(record) as parent:
        for cell in tracked.cells:
            found = server.find(cell, sweep=record.digest)
            if found is None:
                server.send(cell, sweep=record.digest, parent=parent)
            done.sent, done.present = done.sent + (found is None), done.present + (found is not None)
    done.sent += 1


def _check_uri(uri: str) -> None:
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES and uri != "databricks":
        raise ConfigError(
            "MLflow has no store for this address.",
            where="uri",
            got=uri,
            expected=f"SCHEME://… with {', '.join(_SCHEMES)}, such as http://127.0.0.1:5000 or sqlite:////data/mlflow.db",
            hint="null takes the file mlflow.db in output.runs",
        )
