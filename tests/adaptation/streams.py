"""Synthetic streams whose answer is known: small cross-sections whose linear coefficients drift, predictably or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.execution.progress import Silent
from harness.samples.interfaces import History
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Schedule, Segment, Window, walk_forward

Drift = Literal["none", "abrupt", "gradual", "recurring"]


@dataclass(frozen=True)
class Stream:
    """What a stream looks like; the drift is a property of the market, never of a method.

    Attributes
    ----------
    drift
        ``none``: constant coefficients. ``abrupt``: they are drawn anew at random times (on average every `period`
        times). ``gradual``: they turn slowly in a plane, once in `period` times. ``recurring``: a few fixed regimes
        follow each other cyclically, `period` times for a cycle.
    times, instruments, features
        Size.
    period
        Times per cycle.
    noise
        Deviation of the label's noise; the signal has deviation 1.
    look_ahead
        When labels mature.
    """

    drift: Drift
    times: int = 1600
    instruments: int = 40
    features: int = 6
    period: int = 480
    noise: float = 3.0
    look_ahead: int = 6

    def coefficients(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return (T, F) unit-length coefficients."""
        basis: npt.NDArray[np.float64] = np.linalg.qr(rng.standard_normal((self.features, self.features)))[0]
        t = np.arange(self.times)
        if self.drift == "none":
            return np.repeat(basis[:1], self.times, axis=0)
        if self.drift == "gradual":
            angle = 2 * np.pi * t / self.period
            turned: npt.NDArray[np.float64] = np.cos(angle)[:, None] * basis[0] + np.sin(angle)[:, None] * basis[1]
            return turned
        if self.drift == "recurring":
            return np.asarray(basis[(t * 4 // self.period) % 4])
        changes = np.flatnonzero(rng.random(self.times) < 1.0 / self.period)
        draws = rng.standard_normal((changes.size + 1, self.features))
        draws /= np.linalg.norm(draws, axis=1, keepdims=True)
        regimes: npt.NDArray[np.float64] = draws[np.searchsorted(changes, t, side="right")]
        return regimes

    def table(self, seed: int) -> SampleTable:
        """Return a stream as a sample table; labels of the last `look_ahead` times are missing."""
        rng = np.random.default_rng(seed)
        theta = self.coefficients(rng)
        n = self.times * self.instruments
        features = rng.standard_normal((n, self.features)).astype(np.float32)
        offsets = np.arange(self.times + 1, dtype=np.int64) * self.instruments
        signal = np.einsum("nf,nf->n", features, np.repeat(theta, self.instruments, axis=0))
        label = (signal + self.noise * rng.standard_normal(n)).astype(np.float32)
        label[offsets[self.times - self.look_ahead] :] = np.nan
        return SampleTable(
            calendar=Calendar(np.datetime64("2000-01-03") + np.arange(self.times)),
            instruments=tuple(f"I{i:03d}" for i in range(self.instruments)),
            index=RowIndex(offsets, np.tile(np.arange(self.instruments, dtype=np.int32), self.times)),
            features=features,
            feature_names=tuple(f"f{i}" for i in range(self.features)),
            label=label,
            look_ahead=self.look_ahead,
        )


def schedule(table: SampleTable, *, train: int, step: int) -> tuple[Window, ...]:
    """Return expanding windows without valid that begin after `train` times and end with the last known label."""
    stop = len(table.calendar) - table.look_ahead
    return walk_forward(
        Schedule(train=Segment(0, train), valid=None, test=Segment(train, stop), step=step, look_ahead=table.look_ahead)
    )


def history_of(table: SampleTable, windows: tuple[Window, ...], step: int, seed: int = 0) -> History:
    """Return the history of an experiment on a table."""
    return History(
        as_of=table.as_of,
        windows=windows,
        segment=Segment(windows[0].train.start, windows[-1].learn_stop),
        step=step,
        seed=seed,
        observer=Silent(),
    )
