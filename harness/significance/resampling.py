"""Stationary bootstrap (Politis & Romano 1994): blocks of geometric length, wrapped around the end of the series."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np
import numpy.typing as npt

from harness.blas import one_blas_thread
from harness.significance.defined import Doubles

__all__ = ["automatic_block_length", "resampled_drawdowns", "resampled_moments"]

_DRAWS_AT_ONCE = 1 << 20

_Starts = npt.NDArray[np.int32]
_Uniforms = npt.NDArray[np.float32]


def automatic_block_length(series: Doubles, minimum: int) -> float:
    """Return the mean block length for a (T,) series that varies, between `minimum` and T/3.

    Politis & White (2004) as corrected by Patton, Politis & White (2009), from `arch`; the same for (T, M) series,
    where the longest counts.
    """
    from arch.bootstrap import optimal_block_length  # slow to import

    with one_blas_thread():
        longest = float(optimal_block_length(series)["stationary"].max())
    return float(min(max(longest, minimum, 1.0), series.shape[0] / 3))


def resampled_moments(
    moments: Doubles, basis: Doubles, *, block_length: float, repetitions: int, seed: int
) -> tuple[Doubles, Doubles]:
    """Resample (T, K) moments; return their means (R, K) and their projections on a (T, ν) basis (R, K, ν).

    The resamples are never stored: one pass over T accumulates what the statistics need, in a fixed order, so that
    the bits depend on nothing but the arguments.
    """
    means = np.zeros((repetitions, moments.shape[1]))
    projections = np.zeros((repetitions, moments.shape[1], basis.shape[1]))
    at = 0
    for starts, uniforms in _draws(moments.shape[0], repetitions, seed):
        rows = slice(at, at + len(starts))
        _accumulate(moments, basis, starts, uniforms, np.float32(1.0 / block_length), means[rows], projections[rows])
        at += len(starts)
    means /= moments.shape[0]
    return means, projections


def resampled_drawdowns(returns: Doubles, *, block_length: float, repetitions: int, seed: int) -> Doubles:
    """Return (R,) float64, the largest fall of each resampled path of summed (T,) returns from an earlier peak, ≤ 0."""
    falls = np.zeros(repetitions)
    at = 0
    for starts, uniforms in _draws(returns.size, repetitions, seed):
        rows = slice(at, at + len(starts))
        _fall(returns, starts, uniforms, np.float32(1.0 / block_length), falls[rows])
        at += len(starts)
    return falls


def _draws(count: int, repetitions: int, seed: int) -> Iterator[tuple[_Starts, _Uniforms]]:
    generator = np.random.default_rng(seed)
    chunk = max(1, _DRAWS_AT_ONCE // count)
    for first in range(0, repetitions, chunk):
        shape = (min(chunk, repetitions - first), count)
        yield generator.integers(count, size=shape, dtype=np.int32), generator.random(shape, dtype=np.float32)


@numba.njit(cache=True, nogil=True, inline="always")
def _next(row: int, start: int, leaves: bool, count: int) -> int:  # pragma: no cover
    if leaves:
        return start
    return row + 1 if row + 1 < count else 0


@numba.njit(cache=True, nogil=True)
def _accumulate(
    moments: Doubles,
    basis: Doubles,
    starts: _Starts,
    uniforms: _Uniforms,
    leave: np.float32,
    sums: Doubles,
    projections: Doubles,
) -> None:  # pragma: no cover
    count, width = moments.shape
    for r in range(starts.shape[0]):
        row = starts[r, 0]
        for t in range(count):
            if t > 0:
                row = _next(row, starts[r, t], uniforms[r, t] < leave, count)
            for k in range(width):
                value = moments[row, k]
                sums[r, k] += value
                for j in range(basis.shape[1]):
                    projections[r, k, j] += value * basis[t, j]


@numba.njit(cache=True, nogil=True)
def _fall(
    returns: Doubles, starts: _Starts, uniforms: _Uniforms, leave: np.float32, falls: Doubles
) -> None:  # pragma: no cover
    count = returns.size
    for r in range(starts.shape[0]):
        row = starts[r, 0]
        level = returns[row]
        peak = level
        for t in range(1, count):
            row = _next(row, starts[r, t], uniforms[r, t] < leave, count)
            level += returns[row]
            peak = max(peak, level)
            falls[r] = min(falls[r], level - peak)
