"""Large errors make the past fade faster, and what the next window needs is in the state."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from my_state import MyState

from harness import Segment, Window

WINDOW = Window(index=1, train=Segment(0, 100), valid=None, test=Segment(106, 110))


def test_the_past_fades_faster_after_large_errors() -> None:
    plans = []
    for error in (0.1, 3.0):
        feedback = SimpleNamespace(score=np.zeros(50), label=np.full(50, error), state={})
        plans.append(MyState().plan(WINDOW, SimpleNamespace(feedback=feedback)))
    assert plans[1].weights.values[0] < plans[0].weights.values[0]
    assert plans[1].state["seen"] == [50]
    assert plans[1].state["error"] > plans[0].state["error"]
