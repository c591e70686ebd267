"""Every processor against pyqlib 0.9.7 on one small table (`record_processors.py` is the recipe); tolerance 2e-6.

Intended difference: none of these processors may process a label where qlib would make one up (Fillna, CSZFillna).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from harness.data.calendar import Calendar
from harness.samples.preprocess import Pipeline, Processor, apply
from harness.samples.processors import (
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    Fillna,
    MinMaxNorm,
    ProcessInf,
    RobustZScoreNorm,
    TanhProcess,
    ZScoreNorm,
)
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Segment
from tests.parity.record_shape import FIT_TIMES, INSTRUMENTS, TIMES

RECORDED = json.loads((Path(__file__).parent / "processors_qlib.json").read_text(encoding="utf-8"))
OURS: dict[str, Processor] = {
    "RobustZScoreNorm": RobustZScoreNorm(),
    "ZScoreNorm": ZScoreNorm(),
    "MinMaxNorm": MinMaxNorm(),
    "Fillna": Fillna(7.5),
    "CSRankNorm": CSRankNorm(),
    "CSZScoreNorm": CSZScoreNorm(),
    "CSZScoreNorm-robust": CSZScoreNorm(method="robust"),
    "CSZFillna": CSZFillna(),
    "ProcessInf": ProcessInf(),
    "TanhProcess": TanhProcess(),
}


def table_of(values: npt.NDArray[Any]) -> SampleTable:
    rows = TIMES * INSTRUMENTS
    return SampleTable(
        calendar=Calendar(np.datetime64("2020-01-01") + np.arange(TIMES)),
        instruments=tuple(f"I{i}" for i in range(INSTRUMENTS)),
        index=RowIndex(
            np.arange(0, rows + 1, INSTRUMENTS, dtype=np.int64), np.tile(np.arange(INSTRUMENTS, dtype=np.int32), TIMES)
        ),
        features=values.astype(np.float32),
        feature_names=("a", "b", "c"),
        label=np.zeros(rows, dtype=np.float32),
        look_ahead=1,
    )


def test_every_recorded_processor_is_compared() -> None:
    assert sorted(RECORDED) == sorted(OURS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_processor_computes_what_qlib_computes(name: str) -> None:
    table = table_of(np.array(RECORDED[name]["before"]))
    fitted = Pipeline((OURS[name],), (), "once").fit(table.as_of(FIT_TIMES - 1), Segment(0, FIT_TIMES))
    ours = apply(table, fitted).features
    np.testing.assert_allclose(ours, np.array(RECORDED[name]["after"]), rtol=2e-6, atol=2e-6)
