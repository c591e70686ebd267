"""The recorded rolling retrain's predictions, as the records that our evaluation takes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from harness.evaluation.predictions import Predictions
from tests.parity.oracle import ORACLE, oracle_panel, read_json


@lru_cache(maxsize=1)
def recorded_predictions() -> Predictions:
    """Return qlib's scores and raw labels of the 45 windows of RR[Linear]."""
    panel = oracle_panel()
    keys = ["datetime", "instrument"]
    score = pd.read_parquet(ORACLE / "rr_linear" / "pred.parquet")
    label = pd.read_parquet(ORACLE / "rr_linear" / "label.parquet")
    frame = score.merge(label, on=keys, validate="one_to_one")
    starts = np.array([w["test"][0] for w in read_json("rr_linear", "segments.json")], dtype="datetime64[ns]")
    frame["window"] = np.searchsorted(starts, frame["datetime"].to_numpy(), side="right") - 1
    return Predictions.from_frame(frame, panel.calendar, panel.instruments)
