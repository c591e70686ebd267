"""Inside a test segment: whether the scores of earlier rows are the same whatever rows are predicted with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.samples.interfaces import FittedModel
from harness.samples.plan import WindowPlan
from harness.samples.table import SampleTable
from harness.samples.windows import Segment, Window

Scores = npt.NDArray[np.float32]
Predict = Callable[[FittedModel, WindowPlan, SampleTable, Window], Scores]

_GOLDEN = 0.6180339887498949  # spreads the splits of successive windows over their segments
_ROUNDING = 1e-5  # of the spread of the scores: another shape of a matrix product rounds otherwise
_SPLITS = 2


def differs(left: npt.NDArray[Any], right: npt.NDArray[Any], spread: float) -> bool:
    """Return whether scores part by more than rounding, relative to `spread`, or in what is missing."""
    gone = np.isnan(left) != np.isnan(right)
    with np.errstate(invalid="ignore"):
        apart = np.abs(left.astype(np.float64) - right.astype(np.float64)) > _ROUNDING * spread
    return bool((gone | apart).any())


def spread_of(scores: npt.NDArray[Any]) -> float:
    """Return the standard deviation of what is known of the scores; their size where they are all alike."""
    known = np.asarray(scores, dtype=np.float64)[np.isfinite(scores)]
    spread = float(known.std()) if known.size else 0.0
    return spread or float(np.abs(known).max(initial=0.0))


def dividing(predict: Predict, found: list[tuple[int, str]]) -> Predict:
    """Return how a window is predicted, and predicted again in two parts, and with other later rows.

    Where the scores of earlier rows are others then, the window's index and what was done are appended to `found`. A
    transform may go on learning from one time to the next, and sees no two together: it is left alone.
    """

    def divided(fitted: FittedModel, plan: WindowPlan, table: SampleTable, window: Window) -> Scores:
        scores = predict(fitted, plan, table, window)
        if plan.transform is None:
            spread, first = spread_of(scores), int(table.index.offsets[window.test.start])
            for at in _splits(window):
                row = int(table.index.offsets[at]) - first
                for how, again in _again(lambda *asked: predict(fitted, plan, *asked), table, window, at):
                    if differs(scores[:row], again[:row], spread):
                        found.append((window.index, how))
                        return scores
        return scores

    return divided


def _splits(window: Window) -> list[int]:
    """Return times at which the segment is divided, others for every window; none where it has one time only."""
    borders = range(window.test.start + 1, window.test.stop)
    at = [(window.index + 0.5 + k / _SPLITS) * _GOLDEN % 1.0 for k in range(_SPLITS)]
    return sorted({borders[int(share * len(borders))] for share in at}) if borders else []


def _again(
    predict: Callable[[SampleTable, Window], Scores], table: SampleTable, window: Window, at: int
) -> Iterator[tuple[str, Scores]]:
    test = window.test
    yield "the batch is predicted in two parts", predict(table, replace(window, test=Segment(test.start, at)))
    own = table.restricted(test.start, test.stop)
    other = np.array(own.features)
    later = own.index.rows(at, test.stop)
    other[later] = other[later][::-1] * np.float32(1.5)
    yield (
        "the later rows of the batch are others",
        predict(own.with_columns(other, own.feature_names, own.label), window),
    )
