"""Predictions made on an unrelated future must know nothing of the real one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.evaluation.predictions import Predictions
from harness.features.expression import look_back
from harness.features.feature_set import FeatureSet

Doubles = npt.NDArray[np.float64]

_LONGEST = 250


@dataclass(frozen=True)
class Association:
    """How strongly scores go with labels, against reassigning instruments at random.

    Attributes
    ----------
    ic
        Mean per-time correlation.
    z
        The statistic in standard deviations over all permutations of instruments, each held for all times.
    times
        How many times were compared.
    """

    ic: float
    z: float
    times: int


def memory_of(features: FeatureSet) -> int:
    """Return how many times after the cut a feature may still show the real market; at most 250, beyond it fades."""
    backs = [look_back(expression) for expression in features.parsed()]
    return min(max((_LONGEST if back is None else back for back in backs), default=0), _LONGEST)


def association(scores: Predictions, labels: Predictions, start: int) -> Association | None:
    """Return how scores of one run go with the labels of another, from calendar position `start` on.

    Both are standardised at each time. Holding a permutation for all times keeps every autocorrelation, so that mean
    and variance of the statistic are exact for exchangeable instruments (Hoeffding, *A combinatorial central limit
    theorem*, 1951), however slowly scores and labels move.

    Returns None when nothing can be compared.
    """
    stop = min(scores.stop, labels.stop)
    if start >= stop:
        return None
    left = _standardised(scores, scores.score, start, stop)
    right = _standardised(labels, labels.label, start, stop)
    times = int((left.any(axis=1) & right.any(axis=1)).sum())
    if times == 0:
        return None
    pairs = left.T @ right  # (N, N): instrument of the score, instrument of the label
    n = pairs.shape[0]
    spread = pairs - pairs.mean(axis=0) - pairs.mean(axis=1)[:, None] + pairs.mean()
    deviation = float(np.sqrt(np.square(spread).sum() / (n - 1)))
    if deviation == 0.0:
        return None
    excess = float(np.trace(pairs) - pairs.sum() / n)
    norm = float(np.sqrt(np.square(left).sum() * np.square(right).sum()))
    return Association(ic=float(np.trace(pairs)) / norm, z=excess / deviation, times=times)


def _standardised(predictions: Predictions, values: npt.NDArray[np.float32], start: int, stop: int) -> Doubles:
    """Return (stop − start, N) values with mean 0 and length 1 at each time; 0 where there is none."""
    times = predictions.row_times
    inside = (times >= start) & (times < stop) & np.isfinite(values)
    dense = np.full((stop - start, len(predictions.instruments)), np.nan)
    dense[times[inside] - start, predictions.codes[inside]] = values[inside]
    known = ~np.isnan(dense)
    mean = np.where(known, dense, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    centred = np.where(known, dense - mean[:, None], 0.0)
    length = np.sqrt(np.square(centred).sum(axis=1))
    # What is left of a constant time is rounding error.
    defined = length > 1e-6 * np.sqrt(np.square(np.where(known, dense, 0.0)).sum(axis=1))
    return np.where(defined[:, None], centred / np.where(defined, length, 1.0)[:, None], 0.0)
