"""What a run has taken is what it has taken: work is no waiting, what was reused neither costs nor teaches anything."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness import run_experiment
from harness.cli import main
from harness.config import compose_config
from harness.execution.local import Local
from harness.execution.progress import Silent
from harness.execution.task import Ended, Task
from harness.run.experiment import ExperimentResult
from harness.run.sweep import Cell, CellProgress, Outcome
from harness.snapshots.provenance import Cost
from tests.execution import tasks

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
LOCAL = ["executor=local", "executor.workers=2", "executor.threads=1"]
OTHER = "evaluation.significance.repetitions=100"  # another result of the same windows
COST = re.compile(
    r"^cost +wall (?P<wall>[\d.]+) s, CPU (?P<cpu>[\d.]+) s(?: on (?P<workers>\d+) workers?)?, "
    r"(?P<stored>\d+) of (?P<windows>\d+) windows from the store, peak memory [\d,]+ MB$",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Recorder(Silent):
    """Keeps the estimates of the time left."""

    def __init__(self) -> None:
        self.left: list[tuple[str, float, bool]] = []

    def advance(self, stage: str, done: int = 1, note: str = "") -> None:
        """Ignore."""

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        self.left.append((stage, seconds, at_least))


def cost_of(text: str) -> dict[str, float]:
    found = COST.search(text)
    assert found, text
    return {name: float(value) for name, value in found.groupdict().items() if value is not None}


def test_windows_from_the_store_teach_nothing_about_the_time_left() -> None:
    first, again = Recorder(), Recorder()
    run_experiment(SMALL, observer=first)
    run_experiment([*SMALL, OTHER], observer=again)
    assert [at_least for _, _, at_least in first.left] == [False] * len(first.left)
    assert first.left[0][1] > 0
    assert [seconds for _, seconds, _ in again.left] == [0.0] * len(again.left)
    assert [at_least for _, _, at_least in again.left] == [True] * (len(again.left) - 1) + [False]


def ended(cell: Cell, seconds: float, *, stored: int, reused: bool = False, elsewhere: float | None = None) -> Cell:
    assert cell.config is not None
    cost = Cost(wall=seconds, cpu=seconds, windows=10, stored=stored)
    result = ExperimentResult(cell.config, (), None, Path(), reused, cost, elsewhere)  # type: ignore[arg-type]
    return replace(cell, result=result, seconds=seconds + (elsewhere or 0.0))


def test_cells_from_the_store_teach_nothing_about_the_time_left() -> None:
    cells = [Cell({"seed": str(at)}, (), compose_config([f"seed={at}"])) for at in range(5)]
    refused = Cell({"seed": "x"}, (), None, Outcome.REFUSED, "no")
    observer = Recorder()
    progress = CellProgress([*cells, refused], observer)  # type: ignore[arg-type]
    progress.ended(ended(cells[0], 0.1, stored=10, reused=True))
    progress.ended(ended(cells[1], 2.0, stored=8))
    progress.ended(refused)
    assert [left[1:] for left in observer.left] == [(0.0, True)] * 3
    progress.ended(ended(cells[2], 60.0, stored=2))
    assert observer.left[-1][1:] == (120.0, False)


def test_a_cell_that_workers_have_made_teaches_the_time_of_taking_it_over() -> None:
    cells = [Cell({"seed": str(at)}, (), compose_config([f"seed={at}"])) for at in range(3)]
    observer = Recorder()
    progress = CellProgress(cells, observer)  # type: ignore[arg-type]
    progress.ended(ended(cells[0], 0.5, stored=0, elsewhere=300.0))
    assert observer.left[-1][1:] == (1.0, False)


def test_seconds_of_a_task_are_those_of_its_work_and_not_of_its_waiting(tmp_path: Path) -> None:
    given = [Task(str(at), json.dumps({"folder": str(tmp_path), "name": str(at), "seconds": 0.2})) for at in range(3)]
    found: list[Ended] = []
    with Local(workers=1, threads=1).start(tasks.work) as pool:
        began = time.perf_counter()
        for one in given:
            pool.submit(one)
        while len(found) < len(given):
            found += pool.wait()
        took = time.perf_counter() - began
    assert all(0.2 <= one.seconds < 0.4 for one in found)
    assert sum(one.seconds for one in found) <= took
    assert all(one.memory_mb > 1 for one in found)
    assert found[0].cpu > found[1].cpu, "what a worker needs to start belongs to its first task"


def test_a_run_tells_wall_time_processor_time_and_what_came_from_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.perf_counter()
    assert main(["run", *SMALL]) == 0
    took = time.perf_counter() - began
    first = cost_of(capsys.readouterr().out)
    assert 0 < first["wall"] <= took + 0.1
    assert (first["stored"], "workers" in first) == (0, False)
    assert main(["run", *SMALL, OTHER]) == 0
    again = cost_of(capsys.readouterr().out)
    assert again["stored"] == again["windows"] == first["windows"]


@pytest.mark.nightly
def test_work_on_workers_is_told_and_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.perf_counter()
    assert main(["run", "-m", *SMALL, *LOCAL, "evaluation.significance.repetitions=100,200"]) == 0
    took = time.perf_counter() - began
    out = capsys.readouterr().out
    cost = cost_of(out)
    assert cost["workers"] == 2
    assert cost["cpu"] > 1.0, "two workers import NumPy and Numba"
    assert cost["stored"] == cost["windows"] / 2, "the second cell finds the windows of the first"
    path = Path(out.split("table ", 1)[1].split()[0])
    with path.open(encoding="utf-8", newline="") as stream:
        seconds = [float(row["seconds"]) for row in csv.DictReader(stream) if row["outcome"] == "done"]
    assert sum(seconds) <= 2 * took
    snapshots = [json.loads(p.read_text(encoding="utf-8")) for p in Path("runs").glob("*linear*/snapshot.json")]
    assert sum("features" in snapshot["provenance"]["seconds"] for snapshot in snapshots) == 1


@pytest.mark.nightly
def test_progress_without_a_terminal_goes_to_standard_error_line_by_line(tmp_path: Path) -> None:
    code = "from harness.cli import command; command()"
    command = [sys.executable, "-c", code, "run", "-m", "--json", *SMALL, "model.alpha=0.1,1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout)["sorted_by"] == "rank_IC"
    (first,) = re.findall(r"^0:00:\d\d  cells 1/2, .*$", done.stderr, re.MULTILINE)
    assert re.fullmatch(r".* 0:00:\d\d left: model\.alpha=0\.1: done, [\d.]+ s of work", first)
    assert re.search(r"^0:00:\d\d  cells 2/2.*: model\.alpha=1: done, ", done.stderr, re.MULTILINE)
    assert "\x1b" not in done.stderr
