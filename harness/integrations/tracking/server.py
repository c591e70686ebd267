"""One MLflow server or database: the only module that imports MLflow, and only when a run is sent."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.errors.redaction import redacted
from harness.integrations.tracking.marker import Mark, mark, marks_of
from harness.integrations.tracking.names import shortened
from harness.integrations.tracking.record import SNAPSHOT_TAG, SWEEP_TAG, Record

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

    Attributes
    ----------
    uri, experiment
        The server and MLflow's experiment on it.
    timeout
        Seconds per request.
    files
        The folder of the runs; a database keeps its files there.
    is_down
        Set by the caller when it did not answer, so that it is not asked again.
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
