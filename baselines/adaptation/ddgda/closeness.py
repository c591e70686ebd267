"""How near many forecasts come to one label, at every time: similarity by error, for sets of series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baselines.adaptation.ddgda.rank_correlation import Offsets, Span, over_times, rows_of, score_rows
from harness.samples.chunks import Rows
from harness.samples.interfaces import Doubles, Floats
from harness.store.compiled import compiled

_FARTHEST = -1.0


@dataclass(frozen=True, eq=False)
class Labels:
    """(n,) float32 labels without NaN, in time order, and the (T + 1,) offsets of each time among them."""

    offsets: Offsets
    label: Floats


def known_labels(label: Floats, offsets: Offsets) -> Labels:
    """Return the labels of (n,) rows as they are compared."""
    return Labels(offsets, np.ascontiguousarray(label, dtype=np.float32))


def linear_closeness(features: Rows, coefficients: Doubles, labels: Labels) -> Doubles:
    """Return (T, K) float64, 1 minus the mean squared error at every time of K linear forecasts, not below −1.

    For labels of variance 1 that is 1 for a perfect forecast and 0 for one as good as their mean: the scale of a rank
    correlation, and as there none is so bad that it outweighs all others. NaN where a time has no row. Arguments and
    precision as in `linear_rank_ic`.
    """
    weights = np.ascontiguousarray(coefficients.T, dtype=np.float32)
    result = np.full((labels.offsets.size - 1, weights.shape[1]), np.nan)

    def task(span: Span) -> None:
        rows, first = rows_of(features, labels.offsets, span)
        _closeness_at_times(rows, first, weights, labels.offsets, labels.label, span, result)

    over_times(task, len(features), result)
    return result


def closeness(predictions: Floats, labels: Labels) -> Doubles:
    """Return (T,) float64, the same of (n,) predictions."""
    column = np.ascontiguousarray(predictions, dtype=np.float32).reshape(-1, 1)
    return linear_closeness(column, np.ones((1, 1)), labels)[:, 0]


@compiled()
def _closeness_at_times(
    features: Floats, begin: int, weights: Floats, offsets: Offsets, label: Floats, span: Span, result: Doubles
) -> None:
    models = weights.shape[1]
    for t in range(span[0], span[1]):
        first, last = offsets[t], offsets[t + 1]
        if last == first:
            continue
        scores = np.empty((last - first, models), dtype=np.float32)
        score_rows(features[first - begin : last - begin], weights, scores)
        for k in range(models):
            total = 0.0
            for i in range(last - first):
                error = np.float64(scores[i, k]) - np.float64(label[first + i])
                total += error * error
            result[t, k] = max(1.0 - total / (last - first), _FARTHEST)
