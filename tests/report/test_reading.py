"""Which cells a report shows, in which order, and how it compares them."""

from __future__ import annotations

import html
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.cli import main
from harness.errors import DataError, SnapshotError
from harness.evaluation.evaluate import DailySeries
from harness.report.cells import Report, command, compare, find_folders, leaderboard_rows, read_cells, stability_table
from harness.report.page import render
from harness.report.trades import holdings_table, orders_table
from harness.run.finished import FinishedRun
from harness.run.sweep_columns import caption, cell_notes


def test_the_reference_comes_first_then_the_best(report: Report) -> None:
    first, *others = report.cells
    assert "rolling_retrain" in first.name
    values = [cell.overall["rank_IC"] for cell in others]
    assert values == sorted(values, reverse=True)


def test_what_was_refused_is_told_with_its_reason(report: Report) -> None:
    assert len(report.missing) == 2
    assert all(cell.outcome == "mistaken" and "half_life" in cell.note for cell in report.missing)


def test_a_named_reference_comes_first(sweep: Path, report: Report) -> None:
    wanted = report.cells[-1].name
    assert read_cells([sweep], reference=wanted).reference.name == wanted


def test_an_unknown_reference_is_refused_with_the_names(sweep: Path) -> None:
    with pytest.raises(DataError, match="reference") as caught:
        read_cells([sweep], reference="label.horizn=5 adaptation=rolling_retrain")
    assert "did you mean" in str(caught.value)


def test_a_run_that_stands_in_two_folders_is_shown_once(sweep: Path, report: Report) -> None:
    twice = read_cells([sweep, report.cells[0].folder, report.cells[1].folder])
    assert [cell.name for cell in twice.cells] == [cell.name for cell in report.cells]


def test_runs_of_one_case_get_different_names(tmp_path: Path, report: Report) -> None:
    folders = []
    for cell in report.cells[:1]:
        for copy in ("one-aaaaaaaaaaaa", "two-bbbbbbbbbbbb"):
            folders.append(Path(shutil.copytree(cell.folder, tmp_path / copy)))
    names = [cell.name for cell in read_cells(folders).cells]
    assert len(set(names)) == 2


def test_a_sweep_that_was_moved_is_still_read(tmp_path: Path, sweep: Path, report: Report) -> None:
    moved = Path(shutil.copytree(sweep.parent, tmp_path / "elsewhere"))
    found = read_cells([moved / sweep.name])
    assert all(cell.folder.is_relative_to(moved) for cell in found.cells)
    assert len(found.cells) == len(report.cells)


def test_the_newest_sweep_is_found_and_runs_without_one(tmp_path: Path, sweep: Path, report: Report) -> None:
    assert find_folders(sweep.parent) == [sweep]
    shutil.copytree(report.reference.folder, tmp_path / "runs" / "alone")
    assert find_folders(tmp_path / "runs") == [tmp_path / "runs" / "alone"]


@pytest.mark.parametrize("content", [None, "empty"])
def test_a_folder_without_results_is_refused_with_the_next_step(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "runs"
    if content:
        folder.mkdir()
    with pytest.raises(DataError) as caught:
        find_folders(folder)
    assert "bench run" in str(caught.value)
    with pytest.raises(DataError):
        read_cells([folder])


def test_a_damaged_snapshot_is_refused(tmp_path: Path, report: Report) -> None:
    folder = Path(shutil.copytree(report.reference.folder, tmp_path / "run"))
    path = folder / "snapshot.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"IC":', '"IC ":', 1), encoding="utf-8")
    with pytest.raises(SnapshotError):
        read_cells([folder])


def with_series(cell: FinishedRun, name: str, values: np.ndarray) -> FinishedRun:
    series = DailySeries(cell.series.times, {**cell.series.values, "IC": values})
    return replace(cell, name=name, given=series)


def test_a_shifted_series_is_marked_better_and_an_equal_one_is_not(report: Report) -> None:
    cell = report.reference
    noise = np.random.default_rng(0).normal(0, 0.01, cell.series.times.size)
    better = with_series(cell, "better", cell.series["IC"] + 0.2 + noise)
    same = with_series(cell, "same", cell.series["IC"] + noise)
    shown = Report((cell, better, same), ())
    rows = {row[0].text: row[1] for row in leaderboard_rows(shown, compare(shown)).rows}
    assert (rows["better"].mark, rows["same"].mark, rows[cell.name].mark) == ("better", "", "")
    assert "p = 0.0" in rows["better"].hint


def test_a_single_cell_is_compared_with_nothing(report: Report) -> None:
    assert compare(Report((report.reference,), ())) is None


def test_cells_are_compared_within_their_scenario_with_the_plain_rolling_retrain(report: Report) -> None:
    found = compare(report)
    assert found is not None
    assert {row.name: row.reference for row in found.rows} == {
        cell.name: f"{cell.name.split()[0]} adaptation=rolling_retrain" for cell in report.cells
    }
    details = {row[0].text: row[0].detail for row in leaderboard_rows(report, found).rows}
    assert {name for name, detail in details.items() if detail.startswith("reference")} == set(found.references)
    assert f"reference of its data, label and test range ({'; '.join(found.references)})" in caption(found)


def test_notes_of_the_cells_are_below_every_table(
    report: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def noted(cell: FinishedRun, *notes: str) -> FinishedRun:
        metrics = {**cell.snapshot.metrics, "notes": list(notes)}
        return replace(cell, snapshot=replace(cell.snapshot, metrics=metrics))

    first, second, *_ = report.cells
    small = Report((noted(first, "3 days <are> undefined", "both"), noted(second, "both")), ())
    lines = [f"{first.name}: 3 days <are> undefined", "all 2 cells: both"]
    assert cell_notes((cell.name, cell.notes) for cell in small.cells) == lines
    monkeypatch.setattr("harness.cli.report.read_cells", lambda *_, **__: small)
    assert main(["leaderboard", "x"]) == 0
    assert [f"note      {line}" for line in lines] == [
        line.rstrip() for line in capsys.readouterr().out.splitlines() if line.startswith("note ")
    ]
    page = render(small)
    assert all(f"<li>Note: {html.escape(line)}</li>" in page for line in lines)


def test_cells_of_another_label_are_not_compared_and_say_so(report: Report) -> None:
    first, *others = report.cells
    alone = next(cell for cell in others if cell.look_ahead != first.look_ahead)
    pair = next(cell for cell in others if cell.look_ahead == first.look_ahead)
    small = Report((first, pair, alone), ())
    rows = leaderboard_rows(small, compare(small)).rows
    assert [row[0].text for row in rows if "not compared: another label" in row[0].detail] == [alone.name]


def test_every_view_of_a_sweep_has_the_reference_that_it_was_run_with(
    sweep: Path, tmp_path: Path, report: Report
) -> None:
    board = json.loads((sweep / "leaderboard.json").read_text(encoding="utf-8"))
    assert set(board["references"]) == {c.name for c in report.cells if c.name.endswith("rolling_retrain")}
    assert list(report.references) == board["references"]
    other = report.cells[-1].name
    folder = Path(shutil.copytree(sweep.parent, tmp_path / "runs")) / sweep.name
    (folder / "leaderboard.json").write_text(json.dumps({**board, "references": [other]}), encoding="utf-8")
    again = read_cells([folder])
    found = compare(again)
    assert found is not None
    assert again.reference.name == found.reference == other
    wanted = next(c.name for c in report.cells if c.look_ahead == report.cells[-1].look_ahead and c.name != other)
    assert read_cells([folder], reference=wanted).reference.name == wanted


def test_the_stability_table_has_a_column_per_year(report: Report) -> None:
    found = compare(report)
    assert found is not None
    table = stability_table(found)
    assert len(table.rows) == len(report.cells)
    assert {str(year) for year in np.unique(report.reference.series.times.astype("datetime64[Y]"))} <= {
        column.heading for column in table.columns
    }


def test_the_table_has_every_cell_the_oracles_and_the_intervals(report: Report) -> None:
    table = leaderboard_rows(report, compare(report))
    assert len(table.rows) == len(report.cells) + 2
    references = {row[0].text for at, row in enumerate(table.rows) if at in table.references}
    assert references == set(report.references)
    assert report.reference.name in references
    assert len(references) == 2  # one per label
    assert table.rows[0][1].detail.startswith("±")
    oracles = [row[0].text.removeprefix("oracle of ") for row in table.rows[-2:]]
    assert len({cell.horizon for cell in report.cells if cell.name in oracles}) == 2  # each says of which label it is


def test_the_last_orders_and_holdings_are_those_of_the_files(report: Report) -> None:
    cell = report.cells[1]
    orders, positions = (pd.read_parquet(cell.folder / file) for file in ("orders.parquet", "positions.parquet"))
    shown, held = orders_table(cell), holdings_table(cell)
    assert shown is not None
    assert held is not None
    last = orders[orders["datetime"] == orders["datetime"].max()]
    assert [[entry.text for entry in row[:3]] for row in shown.rows] == last[
        ["instrument", "side", "outcome"]
    ].values.tolist()
    assert [row[6].value for row in shown.rows] == last["cost"].tolist()
    last = positions[positions["datetime"] == positions["datetime"].max()]
    assert {row[0].text: row[1].value for row in held.rows} == dict(
        zip(last["instrument"], last["weight"], strict=True)
    )


def test_a_row_carries_the_command_that_makes_it_again(report: Report) -> None:
    line = command(report.reference)
    assert line is not None
    assert line.startswith("bench run ")
    assert "label.horizon=" in line
    assert "data.instruments=24" in line
