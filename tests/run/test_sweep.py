"""A sweep: the cells of all combinations, none counted twice, none stopping another, one honest table."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import ExperimentConfig
from harness.errors import ConfigError, DataError, UnknownKeyError
from harness.execution.progress import PlainObserver
from harness.report.leaderboard import leaderboard, write_leaderboard
from harness.run.experiment import ExperimentResult
from harness.run.status import State, record_of
from harness.run.sweep import Cell, CellProgress, Outcome, plan_sweep, run_sweep
from harness.snapshots.provenance import Cost
from harness.snapshots.snapshot import Snapshot


def chosen(*overrides: str) -> list[dict[str, str]]:
    return [cell.chosen for cell in plan_sweep(overrides)]


def test_every_combination_is_a_cell_and_the_last_key_varies_fastest() -> None:
    assert chosen("windows.step=20,40", "model.alpha=0.1,1") == [
        {"windows.step": step, "model.alpha": alpha} for step in ("20", "40") for alpha in ("0.1", "1")
    ]


def test_a_key_that_does_not_apply_multiplies_nothing() -> None:
    cells = chosen("adaptation=rolling_retrain,gf_exp", "adaptation.half_life=100,200,300")
    assert cells == [
        {"adaptation": "rolling_retrain"},
        *({"adaptation": "gf_exp", "adaptation.half_life": value} for value in ("100", "200", "300")),
    ]


def test_a_key_inside_a_section_that_does_not_exist_everywhere_holds_where_it_applies() -> None:
    plain, learned = plan_sweep(["adaptation=rolling_retrain,ddgda", "adaptation.gbdt.rounds=5"])
    assert "adaptation.gbdt.rounds=5" not in plain.overrides
    assert "adaptation.gbdt.rounds=5" in learned.overrides


def test_a_fixed_key_holds_where_it_applies() -> None:
    plain, weighted = plan_sweep(["adaptation=rolling_retrain,gf_exp", "adaptation.half_life=100"])
    assert "adaptation.half_life=100" not in plain.overrides
    assert "adaptation.half_life=100" in weighted.overrides


@pytest.mark.parametrize("override", ["windows.stp=1,2", "windows.stp=1"])
def test_a_key_that_applies_nowhere_is_a_mistake(override: str) -> None:
    with pytest.raises(UnknownKeyError, match=r"windows\.stp"):
        plan_sweep([override, "model.alpha=0.1,1"])


@pytest.mark.parametrize(
    ("given", "alphas"),
    [
        (["model.alpha=0.1,1", "model.alpha=2,3,4"], ["2", "3", "4"]),
        (["model.alpha=0.1,1", "model.alpha=2"], ["2"]),
        (["model.alpha=2", "model.alpha=0.1,1"], ["0.1", "1"]),
        (["+model.alpha=0.1,1", "model.alpha=2,3"], ["2", "3"]),
    ],
)
def test_the_last_that_is_said_of_a_key_holds_swept_or_not(given: list[str], alphas: list[str]) -> None:
    cells = plan_sweep(given)
    assert [float(alpha) for alpha in alphas] == [cell.config.model.alpha for cell in cells]  # type: ignore[union-attr]


def test_an_added_key_keeps_its_sign() -> None:
    cells = plan_sweep(["+features.add.A=$close,$open"])
    assert [cell.overrides for cell in cells] == [("+features.add.A=$close",), ("+features.add.A=$open",)]


def test_an_impossible_value_refuses_its_cell_alone() -> None:
    fine, refused = plan_sweep(["model.alpha=0.1,-1"])
    assert fine.reason is None
    assert refused.config is None
    assert "alpha" in str(refused.reason)


def test_nothing_swept_is_one_cell() -> None:
    assert chosen("windows.step=40") == [{}]


def test_an_override_that_cannot_be_read_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        plan_sweep(["nonsense"])


def result_with(config: ExperimentConfig, **metrics: float | None) -> ExperimentResult:
    snapshot = Snapshot("s", "c", {}, {"overall": metrics, "oracle": {"IC": 0.9, "rank_IC": 0.8}}, {})
    return ExperimentResult(config, (), snapshot, Path("runs/x"), reused=False)


@pytest.fixture
def ended() -> tuple[Cell, ...]:
    cells = plan_sweep(["windows.step=10,20,30,40,0"])

    def run_cell(config: ExperimentConfig) -> ExperimentResult:
        match config.windows.step:
            case 10:
                return result_with(config, IC=0.1, rank_IC=0.2)
            case 20:
                raise DataError("Too little | history.", where="windows")
            case 30:
                raise ZeroDivisionError("a bug of the model")
            case _:
                return result_with(config, IC=0.3, rank_IC=0.1)

    return run_sweep(cells, run_cell, lambda _: None)


def test_a_cell_that_fails_or_is_refused_stops_no_other(ended: tuple[Cell, ...]) -> None:
    assert [e.outcome for e in ended] == [
        *(Outcome.DONE, Outcome.MISTAKEN, Outcome.FAILED, Outcome.DONE, Outcome.MISTAKEN)
    ]
    assert "ZeroDivisionError: a bug of the model" in str(ended[2].trace)


def test_the_table_is_sorted_best_first_then_the_oracle_then_what_did_not_run(ended: tuple[Cell, ...]) -> None:
    steps = [row.name for row in leaderboard(ended).rows]
    assert steps == ["windows.step=10", "windows.step=40", "oracle", *(f"windows.step={s}" for s in (20, 30, 0))]
    by_ic = leaderboard(ended, sort_by="IC")
    assert by_ic.rows[0].name == "windows.step=40"
    assert re.findall(r"\*\*(.+?)\*\*", by_ic.to_markdown()) == ["0.3000", "0.2000"]


def test_an_undefined_metric_sorts_last_and_is_never_best(ended: tuple[Cell, ...]) -> None:
    first = ended[0]
    assert first.result is not None
    undefined = replace(first, result=result_with(first.result.config, IC=None, rank_IC=None))
    board = leaderboard([undefined, ended[3]])
    assert [row.name for row in board.rows[:2]] == ["windows.step=40", "windows.step=10"]
    (line,) = [line for line in board.to_markdown().splitlines() if "windows.step=10" in line]
    assert "**" not in line


def test_every_form_of_the_table_says_the_same(ended: tuple[Cell, ...]) -> None:
    board = leaderboard(ended)
    rows = list(csv.DictReader(io.StringIO(board.to_csv())))
    assert [row["cell"] for row in rows] == [row.name for row in board.rows]
    assert rows[0]["IC"] == "0.1"
    assert [row["name"] for row in json.loads(board.to_json())["rows"]] == [row.name for row in board.rows]
    lines = board.to_markdown().splitlines()
    assert lines[2] == "| windows.step=10 | 0.1000 | **0.2000** |"
    pipes = {line.replace("\\|", "").count("|") for line in lines}
    assert pipes == {4}


def test_a_row_says_what_a_window_took_and_what_a_step_of_one_would(ended: tuple[Cell, ...]) -> None:
    first = ended[0]
    assert first.result is not None
    snapshot = replace(first.result.snapshot, provenance={"window_seconds": {"first": 2.0, "later": 0.25}})
    known = replace(first, result=replace(first.result, snapshot=snapshot, cost=Cost(windows=4)))
    board = leaderboard([known, *ended[1:]])
    row = next(row for row in board.rows if row.name == first.name)
    assert (row.per_window, row.at_step_1) == (0.25, 2.0 + 0.25 * (4 * 10 - 1))
    assert [column.heading for column in board.table().columns[-3:]] == ["seconds", "s / window", "at step 1"]
    assert board.to_markdown().splitlines()[2].endswith("| 0.250 | 12 |")
    assert not any("step 1" in column.heading for column in leaderboard(ended).table().columns)


def test_the_ladder_runs_every_adaptation_but_the_one_that_leaks() -> None:
    cells = plan_sweep(["experiment=ladder"])
    files = (Path(__file__).resolve().parents[2] / "conf" / "adaptation").glob("*.yaml")
    names = {path.stem for path in files if not path.stem.endswith("_series")}  # settings for one kind of data
    assert {cell.chosen["adaptation"] for cell in cells} == names - {"ddgda_qlib"}
    assert cells[0].chosen["adaptation"] == "rolling_retrain"


def test_the_table_and_the_tracebacks_are_written_to_the_same_place_twice(
    ended: tuple[Cell, ...], tmp_path: Path
) -> None:
    folder = write_leaderboard(leaderboard(ended), ended, tmp_path)
    assert write_leaderboard(leaderboard(ended), ended, tmp_path) == folder
    assert "Traceback" in (folder / "failure-002.txt").read_text(encoding="utf-8")
    assert len(list(folder.iterdir())) == 4


def grid(folder: Path, params: str = "model.alpha: 0.1,1\n      adaptation: rolling_retrain,gf_exp") -> Path:
    """Write an experiment with axes of its own."""
    text = f"# @package _global_\nhydra:\n  sweeper:\n    params:\n      {params}\nwindows:\n  step: 40\n"
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment/grid.yaml").write_text(text, encoding="utf-8")
    return folder


def test_an_experiment_brings_its_own_axes(tmp_path: Path) -> None:
    cells = plan_sweep(["experiment=grid"], search_path=[grid(tmp_path)])
    assert [cell.name for cell in cells] == [
        f"model.alpha={alpha} adaptation={how}" for alpha in ("0.1", "1") for how in ("rolling_retrain", "gf_exp")
    ]
    assert all(cell.config is not None and cell.config.windows.step == 40 for cell in cells)


def test_the_command_line_fixes_replaces_and_adds_axes(tmp_path: Path) -> None:
    given = ["experiment=grid", "adaptation=gf_exp", "model.alpha=range(1,3)", "adaptation.half_life=50,60"]
    cells = plan_sweep(given, search_path=[grid(tmp_path)])
    assert [cell.chosen for cell in cells] == [
        {"model.alpha": alpha, "adaptation.half_life": life} for alpha in ("1", "2") for life in ("50", "60")
    ]


def test_an_axis_of_a_file_that_applies_nowhere_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UnknownKeyError, match=r"model\.alhpa"):
        plan_sweep(["experiment=grid"], search_path=[grid(tmp_path, "model.alhpa: 1,2")])


def test_files_that_are_swept_over_have_no_axes_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="axes of its own"):
        plan_sweep(["experiment=grid,quick"], search_path=[grid(tmp_path)])


def test_cells_that_run_elsewhere_are_reported_when_they_end_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.sweep._LOOK", 0.01)
    cells = plan_sweep(["model.alpha=1,10", f"output.store={tmp_path}/store"])
    lines: list[str] = []
    progress = CellProgress(cells, PlainObserver(lines.append))
    with progress.elsewhere(cells):
        assert cells[0].config is not None
        record_of(tmp_path / "store").count(cells[0].config, State.DONE, windows=9, done=9, running=0)
        while not any("model.alpha=1: done" in line for line in lines):
            time.sleep(0.01)
    for cell in cells:
        progress.ended(cell)
    counted = [re.search(r"cells (\d)/2.*: (model.alpha=\d+): done", line) for line in lines]
    assert [found.groups() for found in counted if found] == [("1", "model.alpha=1"), ("2", "model.alpha=10")]
