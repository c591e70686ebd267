"""`bench status` tells, from another process, how far a run is, whatever runs it and however it ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.run.status import CellStatus, Record, State, read_statuses
from tests.reliability.counted import SLOW
from tests.reliability.sweeps import CELLS, finish, start


def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["status", "--store", str(folder / "store"), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def check_killed(folder: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    """Kill a sweep between two windows: it is running before, stopped afterwards, and done when it is finished."""

    def has_begun() -> bool:
        found = read_statuses(folder / "store") if (folder / "store").is_dir() else ()
        # Of what workers make the time is told when one window was measured, a moment after it was counted.
        return bool(found) and sum(cell.done for cell in found[-1].cells) >= 1 and found[-1].left is not None

    with start(folder, f"executor={how}", "executor.workers=1" if how != "serial" else "seed=43") as process:
        until(has_begun)
        (running,) = told(folder, capsys)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert (running["state"], running["process"]) == ("running", process.pid)
    assert sum(running["cells"].values()) == CELLS
    assert running["cells"]["running"] == running["windows"]["running"] == 1
    assert running["windows"]["done"] >= 1
    assert running["windows"]["waiting"] > 1
    assert running["seconds_left"] > 0
    (killed,) = told(folder, capsys)
    assert killed["state"] == "stopped"
    assert killed["windows"]["done"] >= running["windows"]["done"]
    assert killed["cells"]["running"] == killed["windows"]["running"] == killed["windows"]["waiting"] == 0
    assert killed["seconds_left"] is None


def test_a_run_that_is_killed_is_told_from_one_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLOW, "3")  # a slow disk delays the next writing twentyfold: it must come before the end
    check_killed(tmp_path, capsys, "serial")


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["local", "dask"])
def test_so_is_one_whose_windows_workers_make_and_the_next_says_that_all_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv(SLOW, "3")  # on a loaded machine what is left would be over before it is read
    check_killed(tmp_path, capsys, how)
    monkeypatch.delenv(SLOW)
    finish(tmp_path, f"executor={how}", "executor.workers=2")
    killed, done = told(tmp_path, capsys)
    assert (killed["state"], done["state"], done["cells"]["done"]) == ("stopped", "done", CELLS)
    assert done["windows"]["done"] == sum(done["windows"].values()) > CELLS


SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
BROKEN = '''
from dataclasses import dataclass
from baselines.models.linear import Linear

@dataclass(frozen=True)
class Broken(Linear):
    """Fails when it is fitted."""
    def fit(self, train, valid):
        raise ZeroDivisionError("as it must, with token=hunter22")
'''


def test_a_failed_cell_says_why_without_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_model_of_status.py").write_text(BROKEN, encoding="utf-8")
    models = "model._target_=baselines.Linear,broken_model_of_status.Broken"
    where = [f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
    assert main(["run", "-m", *SMALL, *where, "evaluation.significance=null", models]) == 1
    until(lambda: read_statuses(tmp_path / "store")[0].state is State.DONE)
    (found,) = told(tmp_path, capsys)
    assert (found["cells"]["done"], found["cells"]["failed"], found["windows"]["failed"]) == (1, 1, 1)
    assert [cell["name"] for cell in found["list"]] == [f"model._target_={name}" for name in models[15:].split(",")]
    capsys.readouterr()
    assert main(["status", "--store", str(tmp_path / "store")]) == 0
    shown = capsys.readouterr().out
    assert "failed: as it must, with token=***" in shown
    assert "hunter22" not in (next((tmp_path / "store").glob(".status-*"))).read_text(encoding="utf-8")


def test_a_store_without_runs_says_so_and_one_that_is_not_there_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 0
    assert "no run" in capsys.readouterr().out
    assert main(["status", "--store", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_watching_ends_when_nothing_runs_any_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record(tmp_path)
    record._status.cells.append(cell := CellStatus("0123", "a cell", state=State.RUNNING))
    record._tell()
    shots = []

    def wait(seconds: float) -> None:
        shots.append(seconds)
        cell.state = State.DONE
        record._write()

    monkeypatch.setattr("harness.cli.status.time.sleep", wait)
    assert main(["status", "--watch", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert (len(shots), out.count("cells"), out.count(": running"), out.count(": done")) == (1, 2, 1, 1)
