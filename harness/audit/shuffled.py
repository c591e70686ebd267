"""Labels dealt out anew at each time: what learns from them can predict nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.evaluation import formulas as metrics
from harness.evaluation.predictions import Predictions
from harness.samples.table import SampleTable


@dataclass(frozen=True)
class Chance:
    """A mean rank IC and how far it lies from 0 in standard errors."""

    rank_ic: float
    error: float

    @property
    def z(self) -> float:
        """The rank IC in standard errors."""
        return self.rank_ic / self.error


def shuffled(table: SampleTable, seed: int) -> SampleTable:
    """Return the table with its labels permuted among the labelled rows of each time, independently."""
    rng = np.random.Generator(np.random.PCG64(seed))
    label = np.array(table.label)
    known = np.flatnonzero(~np.isnan(label))
    times = np.searchsorted(table.index.offsets, known, side="right") - 1
    dealt = known[np.lexsort((rng.random(known.size), times))]
    label[known] = table.label[dealt]
    return replace(table, label=label)


def chance(predictions: Predictions) -> Chance | None:
    """Return the mean rank IC against labels that were dealt at random; None when no time can be judged.

    Given the scores, the rank ICs of times are independent, with mean 0 and variance 1 / (n − 1) for n instruments
    without ties: the standard error is exact, whatever the scores are.
    """
    daily = metrics.rank_ic(predictions.score, predictions.label, predictions.offsets)
    both = ~(np.isnan(predictions.score) | np.isnan(predictions.label))
    before = np.concatenate([[0], np.cumsum(both)])
    counts: npt.NDArray[np.int64] = np.diff(before[predictions.offsets])
    judged = ~np.isnan(daily) & (counts > 1)
    if not judged.any():
        return None
    error = float(np.sqrt(np.sum(1.0 / (counts[judged] - 1))) / judged.sum())
    return Chance(float(daily[judged].mean()), error)
