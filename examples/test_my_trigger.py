"""The first window fits, a calm one keeps the model, and an alarm fits anew."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from my_trigger import MyTrigger

from harness import Segment, Window

WINDOW = Window(index=1, train=Segment(0, 100), valid=None, test=Segment(106, 110))


def refits(label: list[float], learned: Segment | None) -> bool:
    found = np.array(label)
    feedback = SimpleNamespace(
        score=np.zeros(found.size), label=found, offsets=np.arange(found.size + 1), learned=learned
    )
    return bool(MyTrigger(recent=5).plan(WINDOW, SimpleNamespace(feedback=feedback)).refit)


def test_it_fits_first_and_when_errors_have_grown() -> None:
    assert refits([], None)
    assert not refits([1.0] * 20, WINDOW.train)
    assert refits([1.0] * 15 + [2.0] * 5, WINDOW.train)
