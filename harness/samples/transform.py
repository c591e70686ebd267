"""Transforms of what a model learns from and of what it predicts, carried out one time after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.samples.interfaces import FittedModel, Floats
from harness.samples.plan import Batch, Transform
from harness.samples.table import AsOfView, Positions
from harness.samples.windows import Segment


def transformed(view: AsOfView, segment: Segment, transform: Transform) -> AsOfView:
    """Return a view of a segment whose features and labels a transform has changed, time after time.

    Raises:
        LookAheadError: When a label of the segment is not known at the decision.
        DataError: When the transform returns other shapes.
    """
    period = segment.start, segment.stop
    view.release(*period)
    features, label = np.array(view.features(*period)), np.array(view.label(*period))
    for rows, batch in batches(view.features(*period), view.codes(*period), view.offsets(*period), segment.start):
        features[rows] = _like(batch.features, transform.features(batch), "features")
        label[rows] = _like(label[rows], transform.label(batch, label[rows].copy()), "label")
    return view.replaced(*period, features, label)


def predicted(fitted: FittedModel, transform: Transform, times: Iterator[tuple[slice, Batch]], rows: int) -> Floats:
    """Return (rows,) float32 forecasts of a transformed model, each time done before the next is begun."""
    found = np.empty(rows, dtype=np.float32)
    for at, batch in times:
        score = np.asarray(fitted.predict(_like(batch.features, transform.features(batch), "features")))
        found[at] = _like(found[at], transform.score(batch, score), "score")
    return found


def batches(
    features: Floats, codes: npt.NDArray[np.int32], offsets: Positions, start: int
) -> Iterator[tuple[slice, Batch]]:
    """Yield the rows of each time and a copy of them, behind which lies no other time; `start` is the first time's."""
    for at, (first, last) in enumerate(itertools.pairwise(offsets.tolist())):
        rows = slice(first, last)
        own = features[rows].copy()
        own.setflags(write=False)
        yield rows, Batch(start + at, own, codes[rows].copy())


def _like(wanted: Floats, given: object, name: str) -> Floats:
    found = np.asarray(given)
    if found.shape != wanted.shape or found.dtype.kind != "f":
        what, got = "A transform must return as many numbers as it was given.", f"{found.dtype} {found.shape}"
        raise DataError(what, where=f"transform.{name}", got=got, expected=f"float32 {wanted.shape}")
    return np.ascontiguousarray(found, dtype=np.float32)
