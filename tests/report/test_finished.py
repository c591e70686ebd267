"""A finished run is read in one place, and no file of it before it is asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError
from harness.report.cells import Report
from harness.run.finished import FinishedRun, FinishedSweep, folders_under, read_finished


def test_all_but_the_snapshot_is_read_when_it_is_asked_for(report: Report, tmp_path: Path) -> None:
    source = report.reference
    shutil.copy(source.folder / "snapshot.json", tmp_path)
    run = FinishedRun.read(tmp_path)
    assert run.snapshot == source.snapshot
    assert (run.name, run.horizon, run.adaptation_file("weights.parquet")) == (
        source.snapshot.case,
        source.horizon,
        None,
    )
    with pytest.raises(DataError):
        _ = run.series
    shutil.copy(source.folder / "series.parquet", tmp_path)
    assert np.array_equal(run.series.times, source.series.times)
    assert "IC" in run.series
    assert run.at("IC", source.series.times[3:5]).tolist() == source.series["IC"][3:5].tolist()


def test_a_sweep_names_its_cells_and_where_their_runs_lie(sweep: Path, report: Report) -> None:
    found = read_finished(sweep)
    assert isinstance(found, FinishedSweep)
    assert {run.name for run in found.runs} == {cell.name for cell in report.cells}
    assert [row.outcome for row in found.rows if row.folder is None] == ["mistaken", "mistaken"]
    assert found.references == report.references
    sweeps, runs = folders_under(sweep.parent)
    assert sweeps == [sweep]
    assert {run.resolve() for run in runs} >= {cell.folder.resolve() for cell in report.cells}


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": [1]}', '{"rows": [{"name": "a"}]}'])
def test_a_table_that_cannot_be_read_says_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "leaderboard.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="table of the sweep cannot be read"):
        read_finished(tmp_path)


def test_a_folder_that_holds_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(DataError, match="neither a sweep nor a run"):
        read_finished(tmp_path)
