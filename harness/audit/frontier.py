"""The frontier: which learning times move the predictions of a window, found by changing samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from harness.audit.differences import first_difference
from harness.audit.replay import Replay
from harness.audit.verdict import Frontier
from harness.evaluation.predictions import Predictions
from harness.samples import preprocess
from harness.samples.table import SampleTable

_NO_PROCESSORS = preprocess.Pipeline(features=(), label=(), refit="once")


def frontier(replay: Replay, index: int) -> Frontier:
    """Return the newest and the oldest learning time that moves a prediction of window `index` of a clean replay.

    Found by bisection: perturbing everything from a time on (up to it) moves a prediction exactly when the newest
    (oldest) such time lies there. The model is fitted again at each probe; the adaptation is held.
    """
    window, date = replay.windows[index], replay.date

    @cache
    def moves(start: int, stop: int) -> bool:
        if start >= stop:
            return False
        other = _perturbed(replay, index, start, stop)
        return first_difference(replay.predictions, other, window.test.start, window.test.stop) is not None

    decision, guess = window.decision, window.learn_stop - 1
    if not moves(guess, decision) and not moves(0, decision):
        return Frontier(index, date(decision), None, None, None)
    # Where a sound pipeline has its borders, two probes each confirm it.
    newest = _farthest(lambda at: moves(at, decision), 0, decision, guess)
    oldest = _farthest(lambda at: moves(0, at + 1), newest, -1, window.train.start)
    allowed = decision - replay.real.table.look_ahead - replay.config.windows.embargo
    return Frontier(index, date(decision), date(newest), date(oldest), allowed - newest)


def _perturbed(replay: Replay, index: int, start: int, stop: int) -> Predictions:
    """Return what window `index` predicts when the samples of times [start, stop) are changed."""
    # Processors that are fitted once, before `start`, are held, and only the changed samples processed again: the run
    # is known to be clean by now, so each time depends on its own samples and on what was fitted before.
    table, held = replay.real.table, None
    if replay.fitted_once is None or start < replay.fitted_once[0]:
        table = perturbed(table, start, stop)
    else:
        _, fitted, clean = replay.fitted_once
        rows = clean.index.rows(start, stop)
        changed = preprocess.apply(perturbed(table.restricted(start, stop), start, stop), fitted)
        features, label = np.array(clean.features), np.array(clean.label)
        features[rows], label[rows] = changed.features, changed.label
        table, held = clean.with_columns(features, clean.feature_names, label), _NO_PROCESSORS
    return replay.predict_one(table, index, replay.real.adaptation, held)


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


def _farthest(holds: Callable[[int], bool], inside: int, outside: int, guess: int) -> int:
    """Return the last position on the way from `inside`, where it `holds`, to `outside`, where it does not any more."""
    probes = [guess + (1 if inside < outside else -1), guess]
    while abs(outside - inside) > 1:
        at = probes.pop() if probes else (inside + outside) // 2
        if min(inside, outside) < at < max(inside, outside):
            inside, outside = (at, outside) if holds(at) else (inside, at)
    return inside
