"""A finished run reaches MLflow once, and a server that is down loses nothing."""

from __future__ import annotations

import json
import os
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.tracking.names import accepted, without_password

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


def test_names_that_a_server_refuses_are_made_acceptable_and_stay_different() -> None:
    assert list(accepted({"a$b": 1, "a€b": 2, "../x": 3, "a//b": 4, "": 5})) == ["a_b", "a_b_2", "___x", "a__b", "_"]


def test_a_password_is_not_written_down() -> None:
    assert without_password("http://user:secret@host:5000/x") == "http://host:5000/x"


def test_a_sweep_is_a_parent_run_whose_children_carry_a_step_for_every_window(run_folder: Path) -> None:
    runs = run_folder.parent / "swept"
    output = [f"output.runs={runs}", f"output.store={run_folder.parents[1] / 'store'}", "tracking.uri=null"]
    assert main(["run", "-m", *SMALL, *output, "tracking=mlflow", "model.alpha=0.1,1"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("driftbench")
        found = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if run.data.tags["driftbench.kind"] == "sweep"]
    cells = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.data.params["model.alpha"] for run in cells) == ["0.1", "1.0"]
    for run in cells:
        (path,) = [p for p in runs.glob("*/snapshot.json") if run.data.tags["driftbench.snapshot"] in p.read_text()]
        metrics = json.loads(path.read_text())["metrics"]
        history = client.get_metric_history(run.info.run_id, "window/rank_IC")
        defined = {w["window"]: w["rank_IC"] for w in metrics["per_window"] if w["rank_IC"] is not None}
        assert len(defined) > 1
        assert {m.step: m.value for m in history} == defined
        assert run.data.metrics["rank_IC"] == metrics["overall"]["rank_IC"]
        sent = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"snapshot.json", "predictions.parquet"} <= sent
        assert "tracked.json" not in sent
