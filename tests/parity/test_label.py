"""The label against the recorded pyqlib run: all 300 instruments, 901,094 rows, equal to the bit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.features.engine import compute_expression
from harness.features.expression import parse
from harness.features.feature_set import ForwardReturn
from harness.samples.table import index_rows
from tests.parity.oracle import FEATURES, LABEL, LOOK_AHEAD, ORACLE, on_rows, oracle_panel, requires_oracle

pytestmark = requires_oracle


def test_the_label_of_horizon_20_is_qlibs_to_the_bit() -> None:
    label = ForwardReturn(20)
    assert parse(label.expression_text) == parse(LABEL)
    assert label.look_ahead == LOOK_AHEAD
    panel = oracle_panel()
    index = index_rows(panel, listed=True)
    start, stop = panel.calendar.span(*FEATURES)
    recorded = pd.read_parquet(ORACLE / "label_h20.parquet")
    expected = on_rows(recorded, "label", panel, index, start, stop)
    dense = compute_expression(panel, label.expression_text)
    ours = dense[index.times(start, stop), index.codes[index.rows(start, stop)]]
    assert len(ours) == len(recorded)
    np.testing.assert_array_equal(ours, expected)
