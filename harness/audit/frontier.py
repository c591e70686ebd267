"""Which past samples move a window's predictions, and which were never used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from harness.audit.replay import Replay
from harness.audit.verdict import Frontier
from harness.evaluation.predictions import Predictions
from harness.run.rolling import learning_segments
from harness.samples.interfaces import FittedAdaptation, FittedPreprocess
from harness.samples.preprocess import Pipeline, apply
from harness.samples.table import SampleTable
from harness.samples.windows import Segment, Window


@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    Attributes:
        rows: How many rows are predicted differently, or by one run only.
        of: How many rows were compared.
        time: The first such time.
        appeared: Of `rows`, those that only one of the runs predicts.
        largest: Largest absolute difference of a score; 0 when only the rows differ.
    """

    rows: int
    of: int
    time: str
    appeared: int
    largest: float

    def __str__(self) -> str:
        """Say it in one line."""
        gone = f", {self.appeared} of them in one run only" if self.appeared else ""
        return f"{self.rows} of {self.of} predictions differ from {self.time} on{gone}; by up to {self.largest:.3g}"


def first_difference(left: Predictions, right: Predictions, start: int, stop: int) -> Difference | None:
    """Return where two runs part within calendar positions [start, stop), or None when every bit agrees.

    Both must have predicted the whole period. Rows are matched by (time, instrument).
    """
    first, second = _rows(left, start, stop), _rows(right, start, stop)
    keys = np.union1d(first[0], second[0])
    scores = [_at(keys, *rows) for rows in (first, second)]
    known = [np.isin(keys, rows[0], assume_unique=True) for rows in (first, second)]
    missing = known[0] != known[1]
    differ = missing | (scores[0].view(np.uint32) != scores[1].view(np.uint32))
    if not differ.any():
        return None
    instruments = len(left.instruments)
    both = differ & ~missing
    gaps = np.abs(scores[0][both].astype(np.float64) - scores[1][both])
    return Difference(
        rows=int(differ.sum()),
        of=int(keys.size),
        time=left.calendar.format(int(keys[differ][0] // instruments)),
        appeared=int(missing.sum()),
        largest=float(np.nanmax(gaps, initial=0.0)),
    )


def _rows(predictions: Predictions, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    times = predictions.row_times
    inside = (times >= start) & (times < stop)
    keys = times[inside] * len(predictions.instruments) + predictions.codes[inside]
    return keys, predictions.score[inside]


def _at(
    keys: npt.NDArray[np.int64], own: npt.NDArray[np.int64], score: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    found = np.full(keys.size, np.nan, dtype=np.float32)
    found[np.searchsorted(keys, own)] = score
    return found


_NOTHING = Pipeline(features=(), label=(), refit="once")


@dataclass(frozen=True, eq=False)
class Learned:
    """What the windows are fitted on, and what a run that was found clean predicts.

    Attributes:
        replay: The pipeline.
        table, windows: The real samples, and the schedule.
        adaptation: Fitted on the real samples, and held.
        predictions: Of the run.
    """

    replay: Replay
    table: SampleTable
    windows: Sequence[Window]
    adaptation: FittedAdaptation
    predictions: Predictions

    def perturbed(self, index: int, start: int, stop: int) -> Predictions:
        """Return what window `index` predicts when the samples of times [start, stop) are changed.

        Processors that are fitted once, before `start`, are held, and only the changed samples processed again: the run
        is known to be clean by now, so each time depends on its own samples and on what was fitted before.
        """
        if self._held is None or start < self._learned_from.stop:
            table = perturbed(self.table, start, stop)
            return self.replay.predict_one(table, self.windows, index, self.adaptation)
        fitted, clean = self._held
        rows = clean.index.rows(start, stop)
        changed = apply(perturbed(self.table.restricted(start, stop), start, stop), fitted)
        features, label = np.array(clean.features), np.array(clean.label)
        features[rows], label[rows] = changed.features, changed.label
        table = clean.with_columns(features, clean.feature_names, label)
        return self.replay.predict_one(table, self.windows, index, self.adaptation, _NOTHING)

    @property
    def _learned_from(self) -> Segment:
        """What processors are fitted on."""
        return learning_segments(self.windows[0], self.replay.config.model)[0]

    @cached_property
    def _held(self) -> tuple[FittedPreprocess, SampleTable] | None:
        """The processors and the table that they give, when they are fitted once."""
        preprocess = self.replay.config.preprocess
        if preprocess.refit != "once":
            return None
        fitted = preprocess.fit(self.table.as_of(self.windows[0].decision), self._learned_from)
        return fitted, apply(self.table, fitted)


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
    (oldest) such time lies there. The model is fitted again at each probe; the adaptation is held.
    """
    window = learned.windows[index]
    calendar = learned.table.calendar

    @cache
    def moves(start: int, stop: int) -> bool:
        if start >= stop:
            return False
        other = learned.perturbed(index, start, stop)
        return first_difference(learned.predictions, other, window.test.start, window.test.stop) is not None

    decision, guess = window.decision, window.learn_stop - 1
    if not moves(guess, decision) and not moves(0, decision):
        return Frontier(index, calendar.format(decision), None, None, None)
    # Where a sound pipeline has its borders, two probes each confirm it.
    newest = _last(lambda at: moves(at, decision), decision, guess)
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
