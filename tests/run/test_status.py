"""The record of a process: what it counts, when it is written, and how long it stays."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config import ExperimentConfig, compose_config
from harness.errors import RefusedError
from harness.execution.progress import Silent
from harness.execution.task import Task
from harness.run.dispatch import _Standing
from harness.run.status import CellStatus, Record, State, read_statuses, windows_of
from harness.store.care import leftovers
from harness.store.locks import STATUS, lease_of


@pytest.fixture(scope="module")
def configs() -> list[ExperimentConfig]:
    return [compose_config([f"model.alpha={alpha}", "windows.step=40"]) for alpha in (1, 10, 100)]


def written(root: Path, record: Record) -> list[CellStatus]:
    record._write()
    return read_statuses(root)[-1].cells


def test_windows_are_counted_by_what_the_observer_is_told(tmp_path: Path, configs: list[ExperimentConfig]) -> None:
    record = Record(tmp_path)
    record.plan(configs)
    with record.running(configs[0], Silent()) as watching:
        watching.start("table", 1)
        assert written(tmp_path, record)[0].stage == "table"
        watching.finish("table")
        watching.start("windows", 5)
        watching.advance("windows", 2)
        watching.estimate("windows", 5, 30.0, at_least=False)
        first, *others = written(tmp_path, record)
        (status,) = read_statuses(tmp_path)
    assert (first.name, first.state, first.windows, first.done, first.running) == (
        *("model.alpha=1", State.RUNNING),
        *(5, 2, 1),
    )
    assert [cell.state for cell in others] == [State.WAITING] * 2
    # No cell has ended so far, so that what the other two will take is not known.
    assert status.at_least
    assert status.left == pytest.approx(30.0, abs=1.0)


def test_what_cells_took_that_were_computed_says_how_long_the_others_will_take(
    tmp_path: Path, configs: list[ExperimentConfig]
) -> None:
    record = Record(tmp_path)
    record.plan(configs)
    with record.running(configs[0], Silent()) as watching:
        watching._began -= 8.0
        watching.ended(5, 5)
    with record.running(configs[1], Silent()) as watching:
        watching.ended(5, 1)  # from the store: it says nothing
    left, at_least = record._left(0.0)
    assert left == pytest.approx(8.0, abs=1.0)
    assert not at_least


def test_a_rule_refuses_and_a_bug_fails_and_ctrl_c_stops(tmp_path: Path, configs: list[ExperimentConfig]) -> None:
    record = Record(tmp_path)
    record.plan(configs)
    for config, error in zip(configs, (RefusedError("too short"), ValueError(), KeyboardInterrupt()), strict=True):
        with pytest.raises(type(error)), record.running(config, Silent()):
            raise error
    cells = written(tmp_path, record)
    assert [cell.state for cell in cells] == [State.REFUSED, State.FAILED, State.STOPPED]
    assert [cell.reason for cell in cells] == ["too short", "ValueError", ""]


def test_nothing_is_written_after_the_last_cell_has_ended(tmp_path: Path, configs: list[ExperimentConfig]) -> None:
    record = Record(tmp_path)
    record.plan(configs[:2])
    record._due = time.monotonic() + 60.0  # as when the last writing took three seconds
    with record.running(configs[0], Silent()) as watching:
        watching.start("windows", 5)
    late = record._timer
    assert late is not None  # one more cell waits, and what was told is written with it
    assert read_statuses(tmp_path)[-1].cells[0].state is State.WAITING
    with record.running(configs[1], Silent()):
        pass
    assert [cell.state for cell in read_statuses(tmp_path)[-1].cells] == [State.DONE] * 2
    assert late.finished.is_set()
    before = next(tmp_path.glob(f"{STATUS}*.json")).read_bytes()
    record._write_late()  # of a timer that was on its way
    assert next(tmp_path.glob(f"{STATUS}*.json")).read_bytes() == before


def test_the_windows_of_a_cell_that_has_ended_do_not_wait() -> None:
    cell = CellStatus("0", "a", windows=9, done=3, running=1)
    assert windows_of([cell]) == {"waiting": 5, "running": 1, "done": 3, "failed": 0, "stopped": 0}
    failed = replace(cell, state=State.FAILED, running=0, failed=1)
    assert windows_of([failed]) == {"waiting": 0, "running": 0, "done": 3, "failed": 1, "stopped": 5}


def test_a_cell_that_another_process_runs_stands_as_it_does_there(
    tmp_path: Path, configs: list[ExperimentConfig]
) -> None:
    parent, child = Record(tmp_path), Record(tmp_path)
    assert child._path is not None
    child._path = child._path.with_name(f"{STATUS}lease-child.json")
    child._status.began += 1.0
    parent.plan(configs)
    with child.running(configs[1], Silent()) as watching:
        watching.start("windows", 7)
        child._write()
        parent._write()
        found = read_statuses(tmp_path)[0].cells
    assert [(cell.state, cell.windows) for cell in found] == [("waiting", 0), ("running", 7), ("waiting", 0)]


def test_a_store_that_cannot_be_written_has_no_record(tmp_path: Path, configs: list[ExperimentConfig]) -> None:
    (tmp_path / "store").write_text("a file", encoding="utf-8")
    record = Record(tmp_path / "store")
    record.plan(configs)
    with record.running(configs[0], Silent()) as watching:
        watching.start("windows", 7)
    assert read_statuses(tmp_path / "store") == ()


def test_the_last_ten_records_of_ended_processes_are_kept_and_gc_takes_the_old_ones(tmp_path: Path) -> None:
    for at in range(14):
        path = tmp_path / f"{STATUS}lease-elsewhere-{at}-{at}-0.json"
        path.write_text("{}", encoding="utf-8")
        os.utime(path, (at, at))
    living = Record(tmp_path)
    living._write()
    assert living._path is not None
    kept = sorted(path.name for path in tmp_path.glob(f"{STATUS}lease-elsewhere*"))
    assert kept == sorted(f"{STATUS}lease-elsewhere-{at}-{at}-0.json" for at in range(4, 14))
    assert {path.name for path in leftovers(tmp_path) if path.name.startswith(STATUS)} == set(kept)
    assert read_statuses(tmp_path)[0].process == os.getpid()  # what is no record is left out
    assert lease_of(tmp_path, os.getpid()).name == json.loads(living._path.read_text())["lease"]


class Experiment:
    """One on its way, as far as its counts go."""

    def __init__(self, config: ExperimentConfig) -> None:
        self.pipeline = SimpleNamespace(config=config, windows=range(3))
        self.left, self.given_up = Counter({"window": 3, "result": 1}), False


def test_workers_are_taken_to_do_what_goes_first(tmp_path: Path, configs: list[ExperimentConfig]) -> None:
    record = Record(tmp_path)
    one, other = (Experiment(config) for config in configs[:2])
    standing = _Standing(record, 2)
    waiting: Any = {f"{name}-{at}": [(of, None)] for name, of in (("a", one), ("b", other)) for at in range(3)}
    waiting["first"] = [(other, None)]
    for name in waiting:
        standing.submitted(Task(name, "", 9 if name == "first" else 1), is_window=name != "first")

    def counts(name: str, of: Any) -> list[tuple[str, int, int]]:
        waiting.pop(name, None)
        standing.ended(name, of, waiting)
        return [(cell.state, cell.done, cell.running) for cell in written(tmp_path, record)]

    assert counts("", [one, other]) == [("running", 0, 1), ("running", 0, 0)]
    other.left["window"] -= 1  # the store had it
    assert counts("first", [other]) == [("running", 0, 2), ("waiting", 1, 0)]
    one.left["window"] -= 1
    assert counts("a-0", [one]) == [("running", 1, 2), ("waiting", 1, 0)]
    one.left.clear()
    assert counts("a-1", [one])[0] == ("done", 3, 1)
    other.given_up = True
    assert counts("b-0", [other])[1] == ("running", 0, 1)
