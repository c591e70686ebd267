"""Every row that can be learned from has a weight, and no row counts for nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from my_sample_weights import MySampleWeights

from harness import Segment, Window

WINDOW = Window(index=0, train=Segment(0, 30), valid=None, test=Segment(36, 40))


def test_rows_of_the_newest_regime_and_of_steady_instruments_count_more() -> None:
    size = np.repeat(np.where(np.arange(30) < 15, 1.0, 4.0), 3) * np.tile([1.0, 1.0, 2.0], 30)
    view = SimpleNamespace(
        label=lambda start, stop: size,
        offsets=lambda start, stop: np.arange(0, 91, 3),
        codes=lambda start, stop: np.tile([0, 1, 2], 30),
    )
    weights = MySampleWeights(recent=5).plan(WINDOW, SimpleNamespace(raw=view)).weights.values.reshape(30, 3)
    assert weights.shape == (30, 3)
    assert (weights[20] > weights[0]).all()
    assert (weights[:, 0] > weights[:, 2]).all()
