"""A finished run reaches MLflow once, and a server that is down loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.cli import main
from harness.cli.hydra_application import Job
from harness.errors.redaction import redacted
from harness.execution.progress import Silent
from harness.integrations.attempts import Notes
from harness.integrations.mlflow_records import Record, accepted, read_record
from harness.integrations.tracking import Mlflow, Server
from hydra_plugins.driftbench import _sweep

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40", "evaluation.significance=null"]


@pytest.fixture(scope="module")
def dead_uri() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, dead_uri: str) -> Path:
    folder = tmp_path_factory.mktemp("tracked")
    output = [f"output.runs={folder / 'runs'}", f"output.store={folder / 'store'}"]
    before = dict(os.environ)
    assert main(["run", *SMALL, *output, "tracking=mlflow", f"tracking.uri={dead_uri}"]) == 0
    assert dict(os.environ) == before
    (snapshot,) = (folder / "runs").glob("*/snapshot.json")
    return snapshot.parent


def test_a_dead_server_loses_no_result_and_push_sends_it_once(
    run_folder: Path, dead_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not (run_folder / "tracked.json").exists()
    assert main(["track", "push", str(run_folder), "--uri", dead_uri]) == 1
    uri = f"sqlite:///{run_folder.parent / 'mlflow.db'}"
    capsys.readouterr()
    counts: list[Any] = []
    for _ in range(3):
        assert main(["track", "push", str(run_folder), "--uri", uri, "--json"]) == 0
        counts.append(json.loads(capsys.readouterr().out))
        (run_folder / "tracked.json").unlink()  # then only the server knows
    assert [(c["sent"], c["present"]) for c in counts] == [(1, 0), (0, 1), (0, 1)]


@pytest.fixture
def silent_uri() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.nightly
def test_a_server_that_never_answers_is_a_notice_in_bounded_time(
    run_folder: Path, silent_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [f"output.runs={tmp_path}/runs", f"output.store={run_folder.parents[1] / 'store'}"]
    began = time.perf_counter()
    tracking = ["tracking=mlflow", f"tracking.uri={silent_uri}", "tracking.timeout=1"]
    assert main(["run", *SMALL, *output, *tracking]) == 0
    assert time.perf_counter() - began < 30
    assert "the result is safe; later: bench track push" in capsys.readouterr().err
    (snapshot,) = (tmp_path / "runs").glob("*/snapshot.json")
    uri = f"sqlite:///{tmp_path / 'later.db'}"
    assert main(["track", "push", str(snapshot.parent), "--uri", uri]) == 0
    assert "1 sent" in capsys.readouterr().out


def test_a_run_whose_sending_stops_is_not_left_running_and_is_taken_up(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / run_folder.name
    shutil.copytree(run_folder, copy)
    (copy / "tracked.json").unlink(missing_ok=True)
    sink = Mlflow(f"sqlite:///{tmp_path / 'half.db'}")
    log_record = Server._log_record

    def broken(error: type[BaseException]) -> Any:
        def half(self: Server, run_id: str, record: Record) -> None:
            log_record(self, run_id, replace(record, folder=tmp_path / "nothing"))
            raise error("in the middle")

        return half

    def statuses() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "half.db")) as database:
            return [status for (status,) in database.execute("select status from runs")]

    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        monkeypatch.setattr(Server, "_log_record", broken(error))
        if error is ValueError:
            assert copy in sink.push([copy], tmp_path, Silent()).missed
        else:
            with pytest.raises(KeyboardInterrupt):
                sink.push([copy], tmp_path, Silent())
        assert statuses() == [status]
        assert not (copy / "tracked.json").exists()
    monkeypatch.setattr(Server, "_log_record", log_record)
    assert sink.push([copy], tmp_path, Silent()).sent == 1
    assert statuses() == ["FINISHED"]


def test_names_that_a_server_refuses_are_made_acceptable_and_stay_different() -> None:
    assert list(accepted({"a$b": 1, "a€b": 2, "../x": 3, "a//b": 4, "": 5})) == ["a_b", "a_b_2", "___x", "a__b", "_"]


def test_a_password_is_not_written_down() -> None:
    assert redacted("http://user:secret@host:5000/x") == "http://***@host:5000/x"


def test_a_sweep_is_a_parent_run_whose_children_are_all_its_cells_as_they_were_typed(run_folder: Path) -> None:
    runs = run_folder.parent / "swept"
    output = [f"output.runs={runs}", f"output.store={run_folder.parents[1] / 'store'}", "tracking.uri=null"]
    assert main(["run", "-m", *SMALL, *output, "tracking=mlflow", "model.alpha=0.1,1,-5"]) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("driftbench")
        assert experiment is not None
        ids = [experiment.experiment_id]
        found = client.search_runs(ids)
        (typed,) = client.search_runs(ids, "params.model = 'linear' and params.`model.alpha` = '1'")
        of_data = client.search_runs(ids, "dataset.name = 'synthetic'")
    (parent,) = [run for run in found if run.data.tags["driftbench.kind"] == "sweep"]
    assert parent.info.status == "FAILED"  # as one of its cells has
    assert parent.data.params["data.days"] == "420"
    sent = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"leaderboard.json", "report.html"} <= sent
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    ended = {run.data.params["model.alpha"]: run.info.status for run in children}
    assert ended == {"0.1": "FINISHED", "1": "FINISHED", "-5": "FAILED"}
    cells = [run for run in children if run.info.status == "FINISHED"]
    (failed,) = [run for run in children if run.info.status == "FAILED"]
    assert "`alpha` is out of range" in failed.data.tags["mlflow.note.content"]
    assert failed.data.params["data.days"] == "420"
    assert typed.data.params["model._target_"] == "baselines.models.Linear"
    assert {run.info.run_id for run in of_data} == {run.info.run_id for run in (parent, *cells)}
    for run in cells:
        (path,) = [p for p in runs.glob("*/snapshot.json") if run.data.tags["driftbench.snapshot"] in p.read_text()]
        snapshot = json.loads(path.read_text())
        assert run.inputs is not None
        (given,) = run.inputs.dataset_inputs
        assert snapshot["identity"]["data"]["fingerprint"].startswith(given.dataset.digest)
        assert json.loads(given.dataset.source)["tags"]["data.instruments"] == "24"
        assert run.data.tags["mlflow.source.name"] == "bench run"
        history = client.get_metric_history(run.info.run_id, "window/rank_IC")
        windows = snapshot["metrics"]["per_window"]
        defined = {w["window"]: w["rank_IC"] for w in windows if w["rank_IC"] is not None}
        assert len(defined) > 1
        assert {m.step: m.value for m in history} == defined
        assert run.data.metrics["rank_IC"] == snapshot["metrics"]["overall"]["rank_IC"]
        sent = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"snapshot.json", "predictions.parquet"} <= sent
        assert "tracked.json" not in sent


def all_in(uri: str) -> list[Any]:
    """Return the runs that MLflow's own search finds, the newest last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("driftbench")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], order_by=["attributes.end_time ASC"]))


def found_in(uri: str) -> tuple[list[Any], dict[str, list[Any]]]:
    """Return the parents among them, and the children of each."""
    runs = all_in(uri)
    parents = [run for run in runs if run.data.tags["driftbench.kind"] == "sweep"]
    of = {p.info.run_id: [r for r in runs if r.data.tags.get("mlflow.parentRunId") == p.info.run_id] for p in parents}
    return parents, of


@pytest.mark.nightly
def test_a_sweep_that_does_not_end_is_a_parent_that_says_so_with_its_finished_cells_and_stays(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, uri = tmp_path / "runs", f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    command = ["run", "-m", *SMALL, f"output.runs={runs}", f"output.store={run_folder.parents[1] / 'store'}"]
    command += ["tracking=mlflow", "model.alpha=-5,0.1,1"]
    experiment = Job._run

    def interrupted(self: Job, config: Any, folder: Path | None) -> Any:
        if config.model.alpha == 1:
            raise KeyboardInterrupt
        return experiment(self, config, folder)

    def broken(*_: object) -> None:
        raise RuntimeError("of a kind that nobody expects")

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_run", interrupted)
        assert main(command) == 130
    assert "tracked too: a sweep that ended after 2 of 3 cells: interrupted" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(_sweep, "rank_sweep", broken)
        with pytest.raises(RuntimeError):
            main(command)
    # Killed: nobody says so, and the file of the attempt is all there is.
    with monkeypatch.context() as patch:
        patch.setattr(Notes, "ended", lambda self, error: self.close())
        patch.setattr(Mlflow, "send", lambda *_: None)
        patch.setattr(Job, "_run", interrupted)
        assert main(command) == 130
    assert len(list((runs / ".attempts").iterdir())) == 1
    assert main(command) == 2
    assert "its process was killed" in capsys.readouterr().err
    assert not list((runs / ".attempts").iterdir())
    parents, of = found_in(uri)
    assert sorted(run.info.status for run in parents) == ["FAILED", "FAILED", "KILLED", "KILLED"]
    notes = {run.data.tags.get("mlflow.note.content", "") for run in parents}
    assert notes == {
        "",
        "ended after 2 of 3 cells: interrupted",
        "ended after 3 of 3 cells: RuntimeError: of a kind that nobody expects",
        "ended after 2 of 3 cells: its process was killed",
    }
    for parent in parents:
        ended = {run.data.params["model.alpha"]: run.info.status for run in of[parent.info.run_id]}
        done = {"-5": "FAILED", "0.1": "FINISHED"}
        assert ended == (done if parent.info.status == "KILLED" else {**done, "1": "FINISHED"})


@pytest.mark.nightly
def test_a_run_that_does_not_end_stands_there_as_it_was_typed_and_so_does_every_attempt(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, uri = tmp_path / "runs", f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    command = ["run", *SMALL, f"output.runs={runs}", f"output.store={run_folder.parents[1] / 'store'}"]
    command += ["tracking=mlflow"]

    def stopping(error: BaseException) -> Any:
        def run(*_: object) -> None:
            raise error

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_run", stopping(KeyboardInterrupt()))
        assert main(command) == 130
        patch.setattr(Job, "_run", stopping(RuntimeError("of a kind that nobody expects")))
        with pytest.raises(RuntimeError):
            main(command)
        # Killed: nobody says so, and the file of the attempt is all there is.
        patch.setattr(Notes, "ended", lambda self, error: self.close())
        patch.setattr(Mlflow, "send", lambda *_: None)
        patch.setattr(Job, "_run", stopping(SystemExit()))
        with pytest.raises(SystemExit):
            main(command)
    monkeypatch.chdir(tmp_path)
    assert main(["track", "push"]) == 0  # there is nothing but the attempt
    assert "tracked too: a run that did not end: its process was killed" in capsys.readouterr().err
    assert main(command) == 0
    assert not list((runs / ".attempts").iterdir())
    found = [(run.info.status, run.data.tags.get("mlflow.note.content", "")) for run in all_in(uri)]
    assert sorted(found) == [
        ("FAILED", "did not end: RuntimeError: of a kind that nobody expects"),
        ("FINISHED", ""),
        ("KILLED", "did not end: interrupted"),
        ("KILLED", "did not end: its process was killed"),
    ]
    assert {run.data.params["data.days"] for run in all_in(uri)} == {"420"}
    assert {run.data.params["model"] for run in all_in(uri)} == {"linear"}


def test_what_is_computed_again_is_another_attempt_and_what_is_sent_again_is_none(
    run_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / run_folder.name
    shutil.copytree(run_folder, copy)
    (copy / "tracked.json").unlink(missing_ok=True)
    server, record = Server(f"sqlite:///{tmp_path / 'twice.db'}", "driftbench", 10, tmp_path), read_record(copy)
    with server.quiet():
        for attempt in (record.attempt, record.attempt, "2031-01-01T00:00:00+00:00", record.attempt):
            server.send(replace(record, attempt=attempt))
            (copy / "tracked.json").unlink()
    assert (server.sent, server.present) == (2, 2)


def test_a_run_that_an_earlier_version_sent_is_there(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / run_folder.name
    shutil.copytree(run_folder, copy)
    record, uri = read_record(copy), f"sqlite:///{tmp_path / 'none.db'}"
    place = {"uri": uri, "experiment": "driftbench", "digest": record.digest, "sweep": "", "run_id": "0"}
    (copy / "tracked.json").write_text(json.dumps({"sent": [place]}), encoding="utf-8")
    server = Server(uri, "driftbench", 10, tmp_path)
    server.send(record)
    assert (server.sent, server.present) == (0, 1)
    assert not (tmp_path / "none.db").exists()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on loopback, with a database of its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    with subprocess.Popen([*command, *stores], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(3000):  # a machine that does much else takes minutes to import a server
        assert process.poll() is None, "the server has ended"
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.RequestException:  # also one that is still too busy to answer
            time.sleep(0.2)
    raise AssertionError("the server did not come up within ten minutes")


@pytest.mark.nightly
def test_a_run_reaches_a_real_server_with_its_files(
    server: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / run_folder.name
    shutil.copytree(run_folder, copy)
    (copy / "tracked.json").unlink(missing_ok=True)
    capsys.readouterr()
    assert main(["track", "push", str(copy), "--uri", server, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 1  # and nothing of MLflow's own beside it
    marker = json.loads((copy / "tracked.json").read_text(encoding="utf-8"))
    assert server in json.dumps(marker)
    found = requests.post(
        f"{server}/api/2.0/mlflow/runs/search",
        json={
            "experiment_ids": [e["experiment_id"] for e in experiments(server)],
            "filter": "params.`data.days` = '420' and dataset.name = 'synthetic' and attributes.status = 'FINISHED'",
            "max_results": 10,
        },
        timeout=10,
    ).json()["runs"]
    (run,) = found
    params = {param["key"]: param["value"] for param in run["data"]["params"]}
    assert (params["model"], params["data"], params["data.days"]) == ("linear", "synthetic", "420")
    (given,) = run["inputs"]["dataset_inputs"]
    assert given["dataset"]["name"] == "synthetic"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    expected = json.loads((copy / "snapshot.json").read_text(encoding="utf-8"))["metrics"]["overall"]
    assert metrics["rank_IC"] == pytest.approx(expected["rank_IC"], abs=0)
    assert run["info"]["status"] == "FINISHED"
    files = {path.name for path in (tmp_path / "files").rglob("*") if path.is_file()}
    assert {"snapshot.json", "predictions.parquet", "report.html"} <= files


def experiments(server: str) -> list[dict[str, str]]:
    answer = requests.post(f"{server}/api/2.0/mlflow/experiments/search", json={"max_results": 10}, timeout=10)
    found: list[dict[str, str]] = answer.json()["experiments"]
    return found


# Runs a sweep whose last cell says that it has begun, and does not end.
ENDLESS = """
import signal, sys, time, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # what stands in the background inherits that it is ignored
from harness.cli import main
from harness.cli.hydra_application import Job
experiment = Job._run
def endless(self, config, folder):
    if config.model.alpha == 1:
        pathlib.Path("begun").touch()
        time.sleep(600)
    return experiment(self, config, folder)
Job._run = endless
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.nightly  # a server, and processes that are ended from outside
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_from_outside_stands_on_a_real_server_as_killed(
    number: signal.Signals, server: str, run_folder: Path, tmp_path: Path
) -> None:
    command = ["run", "-m", *SMALL, f"output.store={run_folder.parents[1] / 'store'}", "model.alpha=0.1,1"]
    command += ["tracking=mlflow", f"tracking.uri={server}"]
    with subprocess.Popen([sys.executable, "-c", ENDLESS, *command], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        for _ in range(3000):
            if (tmp_path / "begun").exists():
                break
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(number)
        process.communicate(timeout=500)
    assert process.returncode == (-9 if number is signal.SIGKILL else 128 + number)
    if number is signal.SIGKILL:  # the next run from the same folder finds it
        bench = "from harness.cli import command; command()"
        one = [*SMALL, f"output.store={run_folder.parents[1] / 'store'}", *command[-2:]]
        subprocess.run([sys.executable, "-c", bench, "run", *one], cwd=tmp_path, check=True, capture_output=True)
    ((parent,), of) = found_in(server)
    assert parent.info.status == "KILLED"
    assert parent.data.tags["mlflow.note.content"].startswith("ended after 1 of 2 cells: ")
    (child,) = of[parent.info.run_id]
    assert (child.info.status, child.data.params["model.alpha"]) == ("FINISHED", "0.1")
