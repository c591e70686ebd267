"""The recorded pyqlib run that parity tests compare with; read where it lies, never copied."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel
from harness.samples.table import RowIndex

ORACLE = Path(__file__).resolve().parents[3] / "shared" / "oracle"
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "factor")

# The scenario of every recorded run: dates of the features, of the learning segments and of the test range.
FEATURES = ("2008-01-01", "2020-08-01")
TRAIN = ("2008-01-01", "2014-12-31")
VALID = ("2015-01-01", "2016-12-31")
TEST = ("2017-01-01", "2020-08-01")
LABEL = "Ref($close, -21) / Ref($close, -1) - 1"
LOOK_AHEAD = 21
STEP = 20

requires_oracle = pytest.mark.skipif(
    not (ORACLE / "README.md").is_file(),
    reason="the recorded pyqlib run is not beside this checkout (../shared/oracle)",
)


@lru_cache(maxsize=2)
def oracle_panel(universe: str = "csi300") -> Panel:
    """Return the oracle's market: every instrument, members by the spans of `universe` (csi300 or csi100)."""
    frame = pd.read_parquet(ORACLE / "market" / "panel.parquet")
    calendar = oracle_calendar()
    instruments = tuple(sorted(frame["instrument"].unique()))
    times = calendar_positions(frame["datetime"])
    codes = np.searchsorted(np.array(instruments), frame["instrument"].to_numpy(dtype=np.str_))
    fields = {}
    for name in FIELDS:
        values = np.full((len(calendar), len(instruments)), np.nan, dtype=np.float32)
        values[times, codes] = frame[name].to_numpy(dtype=np.float32)
        fields[name] = values
    index = pd.read_parquet(ORACLE / "market" / "index.parquet")
    close = np.full(len(calendar), np.nan, dtype=np.float32)
    close[calendar_positions(index["datetime"])] = index["close"].to_numpy(dtype=np.float32)
    return Panel(
        calendar=calendar,
        instruments=instruments,
        fields=fields,
        membership=_membership(universe, calendar, instruments),
        benchmark=Benchmark("SH000300", close),
        name=f"oracle-{universe}",
    )


@lru_cache(maxsize=1)
def oracle_calendar() -> Calendar:
    """Return the oracle's trading days."""
    text = (ORACLE / "market" / "calendar_day.txt").read_text().split()
    return Calendar(np.array(text, dtype="datetime64[ns]"))


def calendar_positions(times: pd.Series) -> npt.NDArray[np.int64]:
    """Return the calendar position of each time of a recorded frame."""
    return np.searchsorted(oracle_calendar().times, times.to_numpy(dtype="datetime64[ns]")).astype(np.int64)


def on_rows(frame: pd.DataFrame, column: str, panel: Panel, index: RowIndex, start: int, stop: int) -> npt.NDArray[Any]:
    """Return a recorded column at the rows of positions [start, stop), NaN where it has no such row."""
    dense = np.full((len(panel.calendar), len(panel.instruments)), np.nan, dtype=np.float32)
    codes = np.searchsorted(np.array(panel.instruments), frame["instrument"].to_numpy(dtype=np.str_))
    dense[calendar_positions(frame["datetime"]), codes] = frame[column].to_numpy(dtype=np.float32)
    values: npt.NDArray[Any] = dense[index.times(start, stop), index.codes[index.rows(start, stop)]]
    return values


def read_json(*parts: str) -> Any:
    """Return a recorded JSON file."""
    return json.loads(ORACLE.joinpath(*parts).read_text())


def _membership(universe: str, calendar: Calendar, instruments: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    member = np.zeros((len(calendar), len(instruments)), dtype=bool)
    column = {code: at for at, code in enumerate(instruments)}
    for line in (ORACLE / "market" / f"{universe}.txt").read_text().splitlines():
        code, first, last = line.split()
        start, stop = calendar.span(first, last)
        member[start:stop, column[code]] = True
    return member
