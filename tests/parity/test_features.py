"""Alpha158 against the recorded pyqlib run: 12 instruments, late listings and delistings among them, 34,096 rows.

Both compute elementwise operators between float32 series in float32 and everything rolling in float64, so that nearly
all values agree to the bit. What remains is pandas' own rounding: its rolling sums are updated from window to window,
ours are computed from the values of each window alone.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from harness.data.panel import Panel
from harness.features.engine import FeatureMatrix, compute_features
from harness.features.expression import parse
from harness.features.feature_set import Alpha158
from harness.samples.table import RowIndex, index_rows
from tests.parity.oracle import FEATURES, ORACLE, on_rows, oracle_panel, read_json, requires_oracle

pytestmark = requires_oracle

# Largest absolute difference allowed per group of factors, in the factor's own unit (measured: the comment).
EXACT = 0.0
TOLERANCE = {
    "STD": 1e-8,  # 1.9e-9: one float32 rounding of a spread of 0.03, in few values
    "RSQR": 1e-8,  # 1.2e-10
    # 4.5e-13; pandas subtracts products of means, and NumPy's float32 logarithm differs in its last bit between CPUs
    "CORR": 1e-6,
    "CORD": 1e-6,  # 0; the same logarithm
    "CNTD": 1e-15,  # 5.6e-17: a zero that pandas' running means miss
}


@lru_cache(maxsize=1)
def alpha() -> tuple[Panel, RowIndex, FeatureMatrix, pd.DataFrame]:
    """Return the recorded instruments of the market, our features at qlib's rows, and the recorded ones."""
    frame = pd.read_parquet(ORACLE / "alpha158.parquet")
    whole = oracle_panel()
    chosen = np.flatnonzero(np.isin(whole.instruments, frame["instrument"].unique()))
    panel = Panel(
        calendar=whole.calendar,
        instruments=tuple(whole.instruments[i] for i in chosen),
        fields={name: np.ascontiguousarray(values[:, chosen]) for name, values in whole.fields.items()},
        membership=np.ascontiguousarray(whole.membership[:, chosen]),
    )
    index = index_rows(panel, listed=True)
    return panel, index, compute_features(panel, Alpha158().feature_set(), index.offsets, index.codes), frame


def test_names_and_expressions_are_those_of_qlib() -> None:
    recorded = read_json("alpha158_expressions.json")
    ours = Alpha158().feature_set()
    assert list(ours.names) == list(recorded)
    assert list(ours.parsed()) == [parse(text) for text in recorded.values()]


def test_no_recorded_row_is_left_uncompared() -> None:
    panel, index, matrix, frame = alpha()
    start, stop = panel.calendar.span(*FEATURES)
    assert index.rows(start, stop).stop - index.rows(start, stop).start == len(frame)
    assert matrix.dropped == ()
    assert matrix.values.shape == (len(index.codes), 158)


@pytest.mark.parametrize("name", Alpha158().feature_set().names)
def test_each_factor_equals_the_recorded_one(name: str) -> None:
    panel, index, matrix, frame = alpha()
    start, stop = panel.calendar.span(*FEATURES)
    recorded = on_rows(frame, name, panel, index, start, stop)
    ours = matrix.values[index.rows(start, stop), matrix.names.index(name)]
    group = re.sub(r"\d+$", "", name)
    np.testing.assert_allclose(ours, recorded, rtol=0.0, atol=TOLERANCE.get(group, EXACT))
