"""Steps across the instruments of one time; they learn nothing. Statistics are float64, missing values are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from harness.samples.preprocess.processor import Doubles, Floats, Offsets, Processor, State
from harness.samples.preprocess.statistics import median
from harness.store.compiled import compiled

_RANK_SCALE = 3.46  # brings a uniform distribution on (−½, ½) to about unit deviation: √12


@dataclass(frozen=True)
class CSRankNorm(Processor):
    """(r − 0.5) · 3.46, with r the rank across instruments as a share of their number (qlib: CSRankNorm).

    Equal values share the mean of their ranks; missing values are not ranked and stay missing.
    """

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Rank in place."""
        _rank_norm(values, offsets, _RANK_SCALE)


@dataclass(frozen=True)
class CSZScoreNorm(Processor):
    """Normalise across instruments (qlib: CSZScoreNorm).

    Attributes
    ----------
    method
        ``zscore``: (x − mean) / standard deviation (of a sample). ``robust``: (x − median) / MAD / 1.4826, clipped at
        ±3. Where that divisor is 0 the result is missing.
    """

    method: Literal["zscore", "robust"] = "zscore"

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Normalise in place."""
        times = _Times(offsets)
        if self.method == "zscore":
            present = times.sums(~np.isnan(values))
            with np.errstate(invalid="ignore", divide="ignore"):
                centred = values - times.spread(times.sums(values) / present)  # (m, F) float64
                deviation = np.sqrt(times.sums(centred**2) / (present - 1))
                deviation[times.constant(values)] = np.nan
                values[:] = centred / times.spread(deviation)
            return
        for rows in times.slices():
            for column in values[rows].T:
                _robust_zscore(column)


@dataclass(frozen=True)
class CSZFillna(Processor):
    """Replace missing features by the mean across instruments; missing where nobody has a value (qlib: CSZFillna)."""

    for_label = False

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Fill in place."""
        _replace_by_mean(values, offsets, np.isnan(values))


@dataclass(frozen=True)
class ProcessInf(Processor):
    """Replace infinite values by the mean of the finite ones across instruments (qlib: ProcessInf)."""

    keeps_unit: ClassVar[bool] = True

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Replace in place."""
        _replace_by_mean(values, offsets, np.isinf(values))


class _Times:
    """Sums over the rows of each time that has rows, and back."""

    def __init__(self, offsets: Offsets) -> None:
        counts = np.diff(offsets)
        self._starts = offsets[:-1][counts > 0]
        self._counts = counts[counts > 0]

    def sums(self, values: np.ndarray[Any, Any]) -> Doubles:
        """Return (times, F) float64 sums, missing values left out."""
        present = np.where(np.isnan(values), 0.0, values) if values.dtype != bool else values
        total: Doubles = np.add.reduceat(present.astype(np.float64, copy=False), self._starts, axis=0)
        return total

    def constant(self, values: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (times, F) bool: all values that are not missing are equal."""
        least = np.fmin.reduceat(values, self._starts, axis=0)
        same: np.ndarray[Any, np.dtype[np.bool_]] = least == np.fmax.reduceat(values, self._starts, axis=0)
        return same

    def spread(self, per_time: Doubles) -> Doubles:
        """Return (m, F): the value of its time for every row."""
        return np.repeat(per_time, self._counts, axis=0)

    def slices(self) -> list[slice]:
        return [slice(int(a), int(a + n)) for a, n in zip(self._starts, self._counts, strict=True)]


def _replace_by_mean(values: Floats, offsets: Offsets, where: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    if not where.any():
        return
    times = _Times(offsets)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = times.sums(np.where(finite, values, np.float32(np.nan))) / times.sums(finite)
    np.copyto(values, times.spread(mean).astype(np.float32), where=where)


def _robust_zscore(column: Floats) -> None:
    column -= np.float32(median(column))
    spread = np.float32(median(np.abs(column)) * 1.4826)
    if spread > 0:
        column /= spread
        np.clip(column, np.float32(-3.0), np.float32(3.0), out=column)
    else:
        column[:] = np.nan


@compiled()
def _rank_norm(values: Floats, offsets: Offsets, scale: float) -> None:
    for t in range(offsets.size - 1):
        start, stop = offsets[t], offsets[t + 1]
        for j in range(values.shape[1]):
            rows = start + np.flatnonzero(~np.isnan(values[start:stop, j]))
            column = np.empty(rows.size, dtype=np.float32)
            for i in range(rows.size):
                column[i] = values[rows[i], j]
            order = np.argsort(column)
            first = 0
            while first < rows.size:
                last = first
                while last + 1 < rows.size and column[order[last + 1]] == column[order[first]]:
                    last += 1
                share = (first + last + 2) / 2.0 / rows.size  # the mean of ranks first + 1 … last + 1
                for i in range(first, last + 1):
                    values[rows[order[i]], j] = (share - 0.5) * scale
                first = last + 1
