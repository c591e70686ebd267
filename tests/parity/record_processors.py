"""Recipe of ``processors_qlib.json``: run it with a Python that has pyqlib 0.9.7 and pandas 2.3.

python -m tests.parity.record_processors > tests/parity/processors_qlib.json
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
from qlib.data.dataset import processor as qlib_processor

from tests.parity.record_shape import COLUMNS, FIT_TIMES, INSTRUMENTS, TIMES


def frame() -> pd.DataFrame:
    """Return a table with gaps, ties, infinities, a constant column, and one time at which nothing varies."""
    rng = np.random.default_rng(5)
    values = rng.normal(1.0, 2.0, (TIMES * INSTRUMENTS, COLUMNS)).astype(np.float32)
    values[rng.random(values.shape) < 0.15] = np.nan
    values[3, 0] = values[4, 0]
    values[:, 2] = np.where(np.isnan(values[:, 2]), np.nan, 0.5)
    values[8, 1] = 40.0
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=TIMES), [f"I{i}" for i in range(INSTRUMENTS)]],
        names=["datetime", "instrument"],
    )
    columns = pd.MultiIndex.from_product([["feature"], ["a", "b", "c"]])
    return pd.DataFrame(values, index=index, columns=columns)


def with_infinities(table: pd.DataFrame) -> pd.DataFrame:
    table = table.copy()
    table.iloc[2, 0], table.iloc[9, 1], table.iloc[10, 1] = np.inf, -np.inf, np.inf
    return table


def main() -> None:
    fit = {"fit_start_time": "2020-01-01", "fit_end_time": f"2020-01-0{FIT_TIMES}", "fields_group": "feature"}
    cases = {
        "RobustZScoreNorm": (qlib_processor.RobustZScoreNorm(**fit), frame()),
        "ZScoreNorm": (qlib_processor.ZScoreNorm(**fit), frame()),
        "MinMaxNorm": (qlib_processor.MinMaxNorm(**fit), frame()),
        "Fillna": (qlib_processor.Fillna("feature", 7.5), frame()),
        "CSRankNorm": (qlib_processor.CSRankNorm("feature"), frame()),
        "CSZScoreNorm": (qlib_processor.CSZScoreNorm("feature"), frame()),
        "CSZScoreNorm-robust": (qlib_processor.CSZScoreNorm("feature", method="robust"), frame()),
        "CSZFillna": (qlib_processor.CSZFillna("feature"), frame()),
        "ProcessInf": (qlib_processor.ProcessInf(), with_infinities(frame())),
        "TanhProcess": (qlib_processor.TanhProcess(), frame()),
    }
    recorded = {}
    for name, (processor, table) in cases.items():
        before = table.copy()
        processor.fit(table.copy())
        after = processor(table)
        recorded[name] = {"before": _listed(before), "after": _listed(after)}
    json.dump(recorded, sys.stdout, sort_keys=True)
    sys.stdout.write("\n")


def _listed(table: pd.DataFrame) -> list[list[float]]:
    return table.to_numpy(dtype=float).tolist()


if __name__ == "__main__":
    main()
