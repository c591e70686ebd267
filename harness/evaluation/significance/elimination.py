"""One model after another leaves the confidence set: by studentised resamples, or as `arch` does it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.evaluation.significance.defined import Doubles, is_constant
from harness.evaluation.significance.long_run import cosine_basis, cosine_degrees
from harness.evaluation.significance.resampling import Moments, resample
from harness.execution.threads import one_blas_thread

Elimination = tuple[npt.NDArray[np.int64], list[float]]  # columns, the first eliminated first, and their p-values

_AT_ONCE = 1 << 20
_STILL = 1e-18  # a resampled difference does not vary when its variance is that share of the series' own


def studentised_elimination(
    losses: Doubles, *, block_length: float, look_ahead: int, repetitions: int, seed: int
) -> Elimination:
    """Eliminate by the largest pairwise t-value T_R, each resample divided by its own standard errors.

    Parameters
    ----------
    losses
        (T, M) losses, M ≥ 2, of which no two differ by a constant.
    block_length, repetitions, seed
        Of the stationary bootstrap.
    look_ahead
        Of the label behind the losses.
    """
    relative = np.ascontiguousarray(losses - losses.mean(axis=1, keepdims=True))
    magnitude = float(np.abs(losses).max())
    moving = [column for column in relative.T if not is_constant(column, magnitude)]
    degrees = int(np.median([cosine_degrees(column, look_ahead) for column in moving]))
    centre = relative.mean(axis=0)
    own = np.einsum("tm,tj->mj", relative - centre, cosine_basis(len(relative), degrees))
    variance = _pairwise_variance(own[None], len(relative))[0]
    observed = _ratios((centre[:, None] - centre)[None], variance[None], np.zeros_like(variance))[0]
    kept = Moments(relative, degrees, block_length)
    resample([kept], repetitions=repetitions, seed=seed)
    means, projections = kept.means - centre, kept.projections
    resampled = np.empty((repetitions, *observed.shape))  # (R, M, M)
    chunk = max(1, _AT_ONCE // observed.size)
    for first in range(0, repetitions, chunk):
        rows = slice(first, first + chunk)
        difference = means[rows, :, None] - means[rows, None, :]
        resampled[rows] = _ratios(difference, _pairwise_variance(projections[rows], len(relative)), _STILL * variance)
    return _one_by_one(observed, resampled)


def peer_elimination(
    losses: Doubles, *, block_length: float, repetitions: int, seed: int, method: Literal["R", "max"]
) -> Elimination:
    """Eliminate as `arch.bootstrap.MCS` does, with standard errors that are the same in every resample."""
    from arch.bootstrap import MCS  # slow to import

    # The size does not touch the p-values; arch takes whole block lengths only.
    peer = MCS(losses, 0.5, reps=repetitions, block_size=max(1, round(block_length)), method=method, seed=seed)
    with one_blas_thread():
        peer.compute()
    return peer.pvalues.index.to_numpy(dtype=np.int64), peer.pvalues["Pvalue"].tolist()


def _pairwise_variance(projections: Doubles, count: int) -> Doubles:
    """Return (r, M, M) squared standard errors of row minus column, from (r, M, ν) projections."""
    variance = np.zeros((len(projections), projections.shape[1], projections.shape[1]))
    for j in range(projections.shape[2]):
        variance += np.square(projections[:, :, None, j] - projections[:, None, :, j])
    variance /= projections.shape[2] * count
    return variance


def _ratios(difference: Doubles, variance: Doubles, least: Doubles) -> Doubles:
    """Return (r, M, M) t-values, 0 on the diagonal; infinite where the difference does not vary beyond `least`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = difference / np.sqrt(variance)
    ratios = np.where(variance > least, ratios, np.inf)
    ratios[:, np.arange(ratios.shape[1]), np.arange(ratios.shape[1])] = 0.0
    return ratios


def _one_by_one(observed: Doubles, resampled: Doubles) -> Elimination:
    left = np.arange(len(observed))
    order: list[int] = []
    p_values: list[float] = []
    while left.size > 1:
        inner = observed[np.ix_(left, left)]
        largest = resampled[:, left[:, None], left].max(axis=(1, 2))
        p_value = (1 + int((largest >= inner.max()).sum())) / (len(resampled) + 1)
        worst = int(inner.argmax()) // left.size
        order.append(int(left[worst]))
        p_values.append(max(p_value, p_values[-1] if p_values else 0.0))
        left = np.delete(left, worst)
    return np.array([*order, left[0]], dtype=np.int64), [*p_values, 1.0]
