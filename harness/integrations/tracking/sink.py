"""MLflow as a sink: a run becomes a run, a sweep a parent with its cells as children; each is sent once.

MLflow: Zaharia et al., "Accelerating the Machine Learning Lifecycle with MLflow", IEEE Data Eng. Bull. 41(4), 2018.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from annotated_types import Ge, Le

from harness.errors import ConfigError, HarnessError
from harness.errors.limits import check_limits
from harness.errors.redaction import redacted
from harness.execution.progress import Observer
from harness.integrations.tracking.record import Tracked, read_tracked
from harness.integrations.tracking.server import Server, unreachable
from harness.store.artifact_lock import only_maker

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


@dataclass
class Sent:
    """What came of it, in runs of MLflow's.

    Attributes
    ----------
    sent, present
        Sent now; there already.
    missed
        Folder → why it could not be sent.
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

    Attributes
    ----------
    uri
        Of a server or a database, such as ``http://host:5000``; None takes the file ``mlflow.db`` beside the runs.
    experiment
        MLflow's experiment; made when it is not there.
    timeout
        Seconds that a server may take to answer; it is asked twice.

    Raises
    ------
    ConfigError
        For an address that MLflow has no store for, an experiment without a name, or a timeout below 1.
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

        Raises
        ------
        ConfigError
            When MLflow is not installed.
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

        Parameters
        ----------
        folders
            Of runs and sweeps.
        runs
            Where the default database and, for any database, the files go.
        observer
            Told about progress.
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
