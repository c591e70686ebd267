"""Our DDG-DA on the market of the recorded pyqlib run (100 instruments), and the recording itself."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from baselines.adaptation.ddgda.adaptation import DDGDA
from baselines.adaptation.ddgda.weight_model import WeightModel, WeightShape
from harness.execution.progress import Silent
from harness.features.engine import compute_expression, compute_features
from harness.features.feature_set import Alpha158
from harness.samples.interfaces import History
from harness.samples.table import RowIndex, SampleTable, index_rows
from harness.samples.windows import Schedule, Segment, Window, walk_forward
from tests.adaptation.configured import configured as configured_yaml
from tests.parity import oracle

CONF = Path(__file__).resolve().parents[2] / "conf"
FOLDER = "ddgda_linear_csi100"
HISTORY_STEPS = 30
BLOCKS_SCORED = 155  # blocks that end by the last recorded time


def configured(name: str, **changes: Any) -> DDGDA:
    """Return conf/adaptation/<name>.yaml with some keys changed."""
    adaptation = configured_yaml(name, **changes)
    assert isinstance(adaptation, DDGDA)
    return adaptation


@lru_cache(maxsize=1)
def windows() -> tuple[Window, ...]:
    calendar = oracle.oracle_calendar()
    train, valid, test = (Segment(*calendar.span(*dates)) for dates in (oracle.TRAIN, oracle.VALID, oracle.TEST))
    return walk_forward(Schedule(train, valid, test, oracle.STEP, oracle.LOOK_AHEAD, purge_valid=False))


@lru_cache(maxsize=1)
def raw_table() -> SampleTable:
    """Return Alpha158 and the label of the 100 instruments, rows as in qlib, within the recorded feature dates."""
    panel = oracle.oracle_panel("csi100")
    start, stop = panel.calendar.span(*oracle.FEATURES)
    whole = index_rows(panel, listed=True)
    rows = whole.rows(start, stop)
    index = RowIndex(np.clip(whole.offsets, rows.start, rows.stop) - rows.start, np.array(whole.codes[rows]))
    matrix = compute_features(panel, Alpha158().feature_set(), index.offsets, index.codes)
    label = compute_expression(panel, oracle.LABEL)[index.times(0, len(panel.calendar)), index.codes]
    return SampleTable(panel.calendar, panel.instruments, index, matrix.values, matrix.names, label, oracle.LOOK_AHEAD)


def history(table: SampleTable) -> History:
    return History(
        as_of=table.as_of,
        windows=windows(),
        segment=Segment(windows()[0].train.start, windows()[-1].learn_stop),
        step=oracle.STEP,
        seed=43,
        observer=Silent(),
    )


@lru_cache(maxsize=1)
def recorded_proxy() -> SampleTable:
    """Return the recorded proxy data: label and the 30 chosen features, all there already."""
    frame = pd.read_parquet(oracle.ORACLE / FOLDER / "proxy_fea_label.parquet")
    calendar = oracle.oracle_calendar()
    positions = oracle.calendar_positions(frame["datetime"])
    instruments = tuple(sorted(frame["instrument"].unique()))
    names = tuple(frame.columns[3:])
    return SampleTable(
        calendar=calendar,
        instruments=instruments,
        index=RowIndex(
            np.searchsorted(positions, np.arange(len(calendar) + 1)).astype(np.int64),
            np.searchsorted(np.array(instruments), frame["instrument"].to_numpy(dtype=np.str_)).astype(np.int32),
        ),
        features=frame.loc[:, list(names)].to_numpy(dtype=np.float32, copy=True),
        feature_names=names,
        label=frame["label"].to_numpy(dtype=np.float32, copy=True),
        look_ahead=oracle.LOOK_AHEAD,
    )


@lru_cache(maxsize=1)
def recorded_similarity() -> npt.NDArray[np.float64]:
    """Return (times, blocks) the recorded matrix, blocks in time order, those that end by the last time."""
    frame = pd.read_parquet(oracle.ORACLE / FOLDER / "data_ic_df.parquet").set_index("datetime")
    values: npt.NDArray[np.float64] = frame[sorted(frame.columns)].to_numpy()
    return values[:, :BLOCKS_SCORED]


def recorded_weight_model() -> WeightModel:
    """Return the recorded trained weight model."""
    state = np.load(oracle.ORACLE / FOLDER / "meta_state_dict.npz")
    return WeightModel(
        coefficients=state["twm.linear.weight"].astype(np.float64).ravel(),
        bias=float(state["twm.linear.bias"][0]),
        scale=float(state["twm.k"][0]),
        shape=WeightShape("tanh", 2.0),
    )


def recorded_history() -> dict[str, list[float]]:
    """Return every recorded metric per epoch."""
    record = json.loads((oracle.ORACLE / FOLDER / "meta_metric_history.json").read_text())
    return {name: [value for _, value in points] for name, points in record.items()}
