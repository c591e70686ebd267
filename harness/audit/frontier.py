"""Which past samples move a window's predictions, and which were never used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.audit.agreement import first_difference
from harness.audit.replay import Replay, alone
from harness.audit.verdict import Frontier
from harness.interfaces import FittedAdaptation
from harness.samples import SampleTable
from harness.windows import Window

__all__ = ["Learned", "frontier", "perturbed"]


@dataclass(frozen=True, eq=False)
class Learned:
    """What the windows are fitted on: the table, and an adaptation fitted on it, which is held."""

    replay: Replay
    table: SampleTable
    windows: Sequence[Window]
    adaptation: FittedAdaptation


def perturbed(table: SampleTable, start: int, stop: int) -> SampleTable:
    """Return the table with the samples of times [start, stop) changed.

    At each time the labels are handed on from each labelled row to the next, and every feature grows by an eighth.
    """
    rows = table.index.rows(start, stop)
    features, label = np.array(table.features), np.array(table.label)
    features[rows] *= np.float32(1.125)
    for time in range(start, stop):
        own = table.index.rows(time, time + 1)
        known = own.start + np.flatnonzero(~np.isnan(label[own]))
        label[known] = np.roll(label[known], 1)
    return replace(table, features=features, label=label)


def frontier(learned: Learned, index: int) -> Frontier:
    """Return the newest and the oldest learning time that moves a prediction of window `index`.

    Found by bisection: perturbing everything from a time on (up to it) moves a prediction exactly when the newest
    (oldest) such time lies there. The processors and the model are fitted again at each probe; the adaptation is held.
    """
    window = learned.windows[index]
    calendar = learned.table.calendar
    chosen = alone(learned.windows, index)
    clean = learned.replay.predict(learned.table, chosen, learned.adaptation)

    def moves(start: int, stop: int) -> bool:
        if start >= stop:
            return False
        other = learned.replay.predict(perturbed(learned.table, start, stop), chosen, learned.adaptation)
        return first_difference(clean, other, window.test.start, window.test.stop) is not None

    decision = window.decision
    if not moves(0, decision):
        return Frontier(index, calendar.format(decision), None, None, None)
    # Where a sound pipeline has its borders, two probes each confirm it.
    newest = _last(lambda at: moves(at, decision), decision, guess=window.learn_stop - 1)
    oldest = _first(lambda at: moves(0, at + 1), newest, guess=window.train.start)
    allowed = decision - learned.table.look_ahead - learned.replay.config.windows.embargo
    return Frontier(
        window=index,
        decision=calendar.format(decision),
        newest=calendar.format(newest),
        oldest=calendar.format(oldest),
        waste=allowed - newest,
    )


def _last(holds: Callable[[int], bool], stop: int, guess: int) -> int:
    """Return the largest position below `stop` at which `holds`; it holds at 0 and, once it fails, fails onwards."""
    low, high = 0, stop
    if holds(guess):
        low = guess
        if guess + 1 >= stop or not holds(guess + 1):
            return guess
    else:
        high = guess
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _first(holds: Callable[[int], bool], stop: int, guess: int) -> int:
    """Return the smallest position up to `stop` at which `holds`; it holds at `stop` and, once it holds, onwards."""
    low, high = -1, stop
    if holds(guess):
        high = guess
        if guess == 0 or not holds(guess - 1):
            return guess
    else:
        low = guess
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
