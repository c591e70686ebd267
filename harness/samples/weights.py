"""How much each sample counts: weights per block of times, or per row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import DataError
from harness.samples.table import Doubles, Positions
from harness.samples.windows import Segment


@dataclass(frozen=True, eq=False)
class TimeWeights:
    """Weights that depend on time only, constant within blocks of consecutive times.

    Attributes:
        starts: (K,) int64 increasing; block k covers positions ``starts[k] … starts[k + 1]``, the last is open-ended.
        values: (K,) float64, ≥ 0 and finite. Times before the first block take the first weight.
    """

    starts: Positions
    values: Doubles

    def __post_init__(self) -> None:
        has_shape = self.starts.ndim == 1 and self.starts.shape == self.values.shape and self.starts.size > 0
        if not has_shape or (np.diff(self.starts) <= 0).any():
            raise DataError("Time weights need one value per block, blocks in time order.", where="TimeWeights")
        if not (np.isfinite(self.values).all() and (self.values >= 0).all()):
            got = self.values.min()
            raise DataError("A time weight must be finite and not negative.", where="TimeWeights", got=got)
        self.starts.setflags(write=False)
        self.values.setflags(write=False)

    def at(self, start: int, stop: int) -> Doubles:
        """Return (stop − start,) float64, the weight of every position in [start, stop)."""
        block = np.searchsorted(self.starts, np.arange(start, stop), side="right") - 1
        return self.values[np.maximum(block, 0)]


@dataclass(frozen=True, eq=False)
class SampleWeights:
    """One weight per row of consecutive times.

    Attributes:
        start: The position of the first row's time; the rows are those that ``view.features(start, …)`` returns.
        values: (m,) float64, ≥ 0 and finite; those of rows without a label do not count.
    """

    start: int
    values: Doubles

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not (np.isfinite(self.values).all() and (self.values >= 0).all()):
            got = f"shape {self.values.shape}, {np.count_nonzero(~(self.values >= 0))} negative or missing"
            what, expected = "Sample weights must be finite and not negative, one per row.", "(m,) float64 ≥ 0"
            raise DataError(what, where="SampleWeights", got=got, expected=expected)
        self.values.setflags(write=False)

    def of_segment(self, index_offsets: Positions, segment: Segment) -> Doubles:
        """Return (m,) float64 weights of the rows of a segment; `index_offsets` (T + 1,) are those of all times."""
        start, stop = (int(index_offsets[at]) for at in (segment.start, segment.stop))
        first = int(index_offsets[min(max(self.start, 0), segment.start)])
        if not 0 <= self.start <= segment.start or stop - first > self.values.size:
            what = "Sample weights do not cover what the model learns from."
            got = f"{self.values.size} weights from position {self.start} on"
            expected = f"one for each of the {stop - start} rows of positions [{segment.start}, {segment.stop})"
            raise DataError(what, where="WindowPlan.weights", got=got, expected=expected)
        return self.values[start - first : stop - first]
