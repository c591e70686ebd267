"""What an adaptation asks for is remembered, whatever it does with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from harness.config import compose_config
from harness.data.calendar import Calendar
from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.samples.table import FitRecord, Reads, RowIndex, SampleTable, ViewLog


def table(times: int = 20, look_ahead: int = 3) -> SampleTable:
    return SampleTable(
        calendar=Calendar(np.arange("2020-01-01", times, dtype="datetime64[D]").astype("datetime64[ns]")),
        instruments=("A",),
        index=RowIndex(np.arange(times + 1), np.zeros(times, dtype=np.int32)),
        features=np.ones((times, 2), dtype=np.float32),
        feature_names=("a", "b"),
        label=np.zeros(times, dtype=np.float32),
        look_ahead=look_ahead,
    )


def test_reads_are_told_per_decision_in_time_order() -> None:
    log = ViewLog(table())
    later, first, again = log.as_of(12), log.as_of(10), log.as_of(10)
    later.features(0, 5)
    first.label(0, 4)
    again.label(2, 8)
    again.features(0, 3)
    assert log.fit_records("adaptation") == (
        FitRecord("adaptation", 10, Reads(feature=2, label_known=10)),
        FitRecord("adaptation", 12, Reads(feature=4, label_known=-1)),
    )


def test_a_run_leaves_what_its_adaptation_read(tmp_path: Path) -> None:
    output = [f"output.store={tmp_path / 'store'}", f"output.runs={tmp_path / 'runs'}"]
    size = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
    result = run(compose_config([*size, *output]), Silent())
    assert json.loads((result.folder / "artefacts.json").read_text(encoding="utf-8")) == {"views": [], "artefacts": []}
