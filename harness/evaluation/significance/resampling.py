"""Stationary bootstrap (Politis & Romano 1994): blocks of geometric length, wrapped around the end of the series.

Series of equal length share their draws, which are made once for all of them; the mean length of the blocks may differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.evaluation.formulas import Doubles, largest_fall
from harness.execution.progress import Observer, Silent
from harness.execution.threads import one_blas_thread
from harness.store.compiled import compiled

_STAGE = "significance"
_NODES = 12
_HALF_PHASE = 0.49
_DRAWS_AT_ONCE = 1 << 20
_PATHS_AT_ONCE = 50_000  # numbers: they stay in the cache, and OpenBLAS is twice as fast with products this small

_Starts = npt.NDArray[np.int32]
_Uniforms = npt.NDArray[np.float32]


def projector(count: int, degrees: int) -> tuple[Doubles, Doubles]:
    """Return what projects series of T times on the orthonormal cosines 1 … ν, see `cosine_basis`.

    (w, n) weights of the times of a chunk in its n sums; (C, n, 1 + ν), what each adds to total and projections.
    """
    width = max(int(2.0 * _HALF_PHASE * count / (np.pi * degrees)), 1)
    chunks = -(-count // width)
    wanted = 1 + degrees
    if count * wanted <= _NODES * (count + chunks * wanted):
        return _cosines(np.arange(count, dtype=np.float64), count, degrees), np.eye(wanted)[None]
    nodes = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)  # on [−1, 1]
    local = (2.0 * np.arange(width) + 1.0) / width - 1.0
    orders = np.arange(1, _NODES)
    # Lagrange polynomials by the discrete orthogonality of Chebyshev's, which loses no digits.
    chebyshev = np.cos(orders * np.arccos(local)[:, None]) @ np.cos(orders[:, None] * np.arccos(nodes))
    times = width * (np.arange(chunks)[:, None] + (nodes + 1.0) / 2.0) - 0.5  # (C, n)
    return (1.0 + 2.0 * chebyshev) / _NODES, _cosines(times, count, degrees)


def _cosines(times: Doubles, count: int, degrees: int) -> Doubles:
    """Return (…, 1 + ν): one, and the orthonormal cosines at (…) times."""
    angles = np.pi / count * (times[..., None] + 0.5) * np.arange(1 + degrees)
    found: Doubles = np.cos(angles)
    found[..., 1:] *= np.sqrt(2.0 / count)
    return np.ascontiguousarray(found)


class Resamples:
    """What is kept of the resamples of (…, T) series by blocks of that mean length; those are never stored."""

    def __init__(self, series: Doubles, block_length: float) -> None:
        self.count = series.shape[-1]
        twice = np.concatenate((series, series), axis=-1)  # (…, 2T): no block has to wrap around
        self._twice = np.ascontiguousarray(twice)  # for another layout the kernel is compiled again
        self._leave = np.float32(1.0 / block_length)

    def add(self, rows: slice, starts: _Starts, uniforms: _Uniforms) -> None:
        """Keep what (r, T) draws make of the series as the resamples `rows`."""
        raise NotImplementedError


class Moments(Resamples):
    """Means and slow projections of the R resamples of (T, K) moments."""

    def __init__(self, moments: Doubles, degrees: int, block_length: float, repetitions: int) -> None:
        # A level adds nothing to a projection but rounding errors.
        self._level = moments.mean(axis=0)
        super().__init__((moments - self._level).T, block_length)
        self.means = np.empty((repetitions, moments.shape[1]))  # (R, K)
        self.projections = np.empty((*self.means.shape, degrees))  # (R, K, ν), on the cosines of `cosine_basis`
        self._weights, self._cosines = projector(self.count, degrees)

    def add(self, rows: slice, starts: _Starts, uniforms: _Uniforms) -> None:
        weights, cosines = self._weights, self._cosines
        (chunks, inner, outer), width = cosines.shape, len(self._twice)
        number = min(max(1, _PATHS_AT_ONCE // (width * chunks * len(weights))), len(starts))
        paths = np.zeros((number, width, chunks * len(weights)))  # zero beyond T
        sums = np.empty((len(starts), width * chunks, inner))
        with one_blas_thread():  # more threads would decide the last bits
            for first in range(0, len(starts), number):
                some = slice(first, min(first + number, len(starts)))
                filled = paths[: some.stop - some.start]
                _walk(self._twice, starts[some], uniforms[some], self._leave, filled)
                sums[some] = (filled.reshape(-1, len(weights)) @ weights).reshape(len(filled), -1, inner)
            found = sums.reshape(-1, chunks * inner) @ cosines.reshape(-1, outer)
        found = found.reshape(len(starts), width, outer)
        self.means[rows] = self._level + found[:, :, 0] / self.count
        self.projections[rows] = found[:, :, 1:]


class Falls(Resamples):
    """The largest fall of R resampled paths of (T,) returns."""

    def __init__(self, returns: Doubles, block_length: float, repetitions: int) -> None:
        super().__init__(returns, block_length)
        self.falls = np.empty(repetitions)  # (R,) ≤ 0, from an earlier peak; NaN where all of a resample are equal

    def add(self, rows: slice, starts: _Starts, uniforms: _Uniforms) -> None:
        paths = np.empty((len(starts), 1, self.count))
        _walk(self._twice[None], starts, uniforms, self._leave, paths)
        self.falls[rows] = np.where(np.ptp(paths[:, 0], axis=1) > 0.0, largest_fall(paths[:, 0]), np.nan)


def resample(wanted: Sequence[Resamples], *, repetitions: int, seed: int, observer: Observer | None = None) -> None:
    """Resample every series R times; what is wanted of it is kept in place.

    The bits depend on a series, its block length and the seed alone, not on what else is wanted. The observer is told
    of the stage ``significance``.
    """
    observer = observer or Silent()
    observer.start(_STAGE, sum(-(-repetitions // _batch(one.count)) for one in wanted))
    for count in sorted({one.count for one in wanted}):
        generator, batch = np.random.default_rng(seed), _batch(count)
        for first in range(0, repetitions, batch):
            shape = (min(batch, repetitions - first), count)
            starts = generator.integers(count, size=shape, dtype=np.int32)
            uniforms = generator.random(shape, np.float32)
            for one in wanted:
                if one.count == count:
                    one.add(slice(first, first + len(starts)), starts, uniforms)
                    observer.advance(_STAGE)
    observer.finish(_STAGE)


def _batch(count: int) -> int:
    return max(1, _DRAWS_AT_ONCE // count)


@compiled()
def _walk(
    twice: Doubles, starts: _Starts, uniforms: _Uniforms, leave: np.float32, paths: Doubles
) -> None:  # pragma: no cover
    """Write each resample of moments, given as (K, 2T), into the first T of `paths` (r, K, ≥ T)."""
    count = starts.shape[1]
    rows = np.empty(count, dtype=np.uint32)
    for r in range(starts.shape[0]):
        begin = np.int32(starts[r, 0])  # of the block, less the time at which it was entered
        rows[0] = np.uint32(begin)
        for t in range(1, count):
            leaves = np.int32(uniforms[r, t] < leave)  # no branch: short blocks end at times that nobody can foresee
            begin += leaves * (np.int32(starts[r, t] - t) - begin)
            rows[t] = np.uint32(begin + t)
        for k in range(twice.shape[0]):
            for t in range(count):
                paths[r, k, t] = twice[k, rows[t]]
