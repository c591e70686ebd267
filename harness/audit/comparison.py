"""How two runs are compared: bit by bit, and with what chance gives."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.evaluation import formulas
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_expression
from harness.samples.table import SampleTable

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def differ(left: Floats, right: Floats) -> npt.NDArray[np.bool_]:
    """Return where two arrays of one shape are not the same bits; every NaN counts as the same."""
    different: npt.NDArray[np.bool_] = left.view(np.uint32) != right.view(np.uint32)
    return different & ~(np.isnan(left) & np.isnan(right))


def first_difference(left: Predictions, right: Predictions, start: int, stop: int) -> str | None:
    """Return where two runs part within calendar positions [start, stop), in words, or None when every bit agrees.

    Both must have predicted the whole period. Rows are matched by (time, instrument).
    """
    scores = [_dense(run, run.score, start, stop) for run in (left, right)]
    known = [~np.isnan(_dense(run, np.zeros_like(run.score), start, stop)) for run in (left, right)]
    missing = known[0] != known[1]
    different = missing | differ(scores[0], scores[1])
    if not different.any():
        return None
    both = different & ~missing
    largest = np.nanmax(np.abs(scores[0][both].astype(np.float64) - scores[1][both]), initial=0.0)
    time = left.calendar.format(start + int(np.argmax(different.any(axis=1))))
    gone = f", {missing.sum()} of them in one run only" if missing.any() else ""
    count = (known[0] | known[1]).sum()
    return f"{different.sum()} of {count} predictions differ from {time} on{gone}; by up to {largest:.3g}"


def _dense(predictions: Predictions, values: Floats, start: int, stop: int) -> Floats:
    """Return (stop − start, N) values of one per predicted row; NaN where there is none."""
    times = predictions.row_times
    inside = (times >= start) & (times < stop)
    dense = np.full((stop - start, len(predictions.instruments)), np.float32(np.nan))
    dense[times[inside] - start, predictions.codes[inside]] = values[inside]
    return dense


def label_of(panel: Panel, expression: str, times: npt.NDArray[np.int64], codes: npt.NDArray[np.int32]) -> Floats:
    """Return (n,) float32, the label of every row (time, instrument) from the panel alone; NaN where there is none."""
    label = compute_expression(panel, expression)[times, codes]
    return np.where(np.isfinite(label), label, np.float32(np.nan))


def shuffled(table: SampleTable, seed: int) -> SampleTable:
    """Return the table with its labels permuted among the labelled rows of each time, independently."""
    rng = np.random.Generator(np.random.PCG64(seed))
    label = np.array(table.label)
    known = np.flatnonzero(~np.isnan(label))
    times = np.searchsorted(table.index.offsets, known, side="right") - 1
    label[known] = table.label[known[np.lexsort((rng.random(known.size), times))]]
    return replace(table, label=label)


def chance(predictions: Predictions) -> tuple[float, float] | None:
    """Return the mean rank IC against permuted labels and its standard error; None when no time can be judged.

    Given the scores, the rank ICs of times are independent, with mean 0 and variance 1 / (n − 1) for n instruments
    without ties: the standard error is exact, whatever the scores are.
    """
    daily = formulas.rank_ic(predictions.score, predictions.label, predictions.offsets)
    both = ~(np.isnan(predictions.score) | np.isnan(predictions.label))
    counts: npt.NDArray[np.int64] = np.diff(np.concatenate([[0], np.cumsum(both)])[predictions.offsets])
    judged = ~np.isnan(daily) & (counts > 1)
    if not judged.any():
        return None
    return float(daily[judged].mean()), float(np.sqrt(np.sum(1.0 / (counts[judged] - 1))) / judged.sum())


class Association(NamedTuple):
    """How scores go with labels at `times` times: mean IC, and that in deviations over permutations of instruments."""

    ic: float
    z: float
    times: int


def association(scores: Predictions, labels: Predictions, start: int) -> Association | None:
    """Return how scores of one run go with the labels of another, from calendar position `start` on.

    Both are standardised at each time. Holding a permutation for all times keeps every autocorrelation, so that mean
    and variance of the statistic are exact for exchangeable instruments (Hoeffding, *A combinatorial central limit
    theorem*, 1951), however slowly scores and labels move. None when nothing can be compared.
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


def _standardised(predictions: Predictions, values: Floats, start: int, stop: int) -> Doubles:
    """Return (stop − start, N) values with mean 0 and length 1 at each time; 0 where there is none."""
    given = _dense(predictions, values, start, stop).astype(np.float64)
    known = np.isfinite(given)
    dense = np.where(known, given, 0.0)
    mean = dense.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    centred = np.where(known, dense - mean[:, None], 0.0)
    length = np.sqrt(np.square(centred).sum(axis=1))
    # What is left of a constant time is rounding error.
    defined = length > 1e-6 * np.sqrt(np.square(dense).sum(axis=1))
    return np.where(defined[:, None], centred / np.where(defined, length, 1.0)[:, None], 0.0)
