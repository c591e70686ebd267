"""The input of the weight model: the recent similarity of every block, masked, centred and filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.similarity import KnownSimilarity

Doubles = npt.NDArray[np.float64]
FillMethod = Literal["max", "maxseg", "zero"]


@dataclass(frozen=True, eq=False)
class MetaInput:
    """What the weight model sees of one task or window.

    Attributes:
        profile: (H, K) float64, mean centred similarity of each history step, oldest first, to each block.
        block_starts: (K,) int64 positions.
        masked, undefined: How many of the H·step × K cells overlap the block's own labels, and how many have no defined
            similarity.
    """

    profile: Doubles
    block_starts: npt.NDArray[np.int64]
    masked: int
    undefined: int


def meta_input(
    known: KnownSimilarity, hist_step_n: int, fill_method: FillMethod, *, undefined_is_best: bool
) -> MetaInput:
    """Return the meta input from the similarity known at a decision (qlib's ``MetaTaskDS``).

    Cells whose time lies in [block start, block end + look_ahead − 1] share labels with the block and are masked. Of
    each of the last H·step times the mean over the other cells is subtracted; then a masked cell takes

    - ``max``: the largest value of its time,
    - ``maxseg``: the largest of the means, over the block's masked times, of the blocks known at all of them,
    - ``zero``: nothing.

    Args:
        known: At least H·step rows.
        hist_step_n: H.
        fill_method: As above.
        undefined_is_best: Treat an undefined cell like a masked one, as qlib does; otherwise it is neutral: the mean of
            its time.
    """
    rows = hist_step_n * known.step
    values = known.values[-rows:]
    masked = overlap(known)[-rows:]
    missing = np.isnan(values)
    absent = masked | missing
    centred = np.where(absent, np.nan, values)
    centred -= _mean(centred, axis=1)[:, None]
    if not undefined_is_best:
        centred[missing & ~masked] = 0.0
    filled = _fill(centred, fill_method)
    steps = filled.reshape(hist_step_n, known.step, -1)
    return MetaInput(
        profile=np.ascontiguousarray(steps.mean(axis=1)),
        block_starts=known.block_starts,
        masked=int(masked.sum()),
        undefined=int((missing & ~masked).sum()),
    )


def overlap(known: KnownSimilarity) -> npt.NDArray[np.bool_]:
    """Return (rows, K), whether the label at a time shares times with the labels that the block's proxy learned."""
    time = np.arange(known.values.shape[0])[:, None]
    first = (known.block_starts - known.start)[None, :]
    return (time >= first) & (time < first + known.step + known.look_ahead - 1)


def _fill(centred: Doubles, method: FillMethod) -> Doubles:
    absent = np.isnan(centred)
    if method == "max":
        best = np.max(np.where(absent, -np.inf, centred), axis=1, initial=-np.inf)
        centred = np.where(absent, best[:, None], centred)
    elif method == "maxseg":
        centred = np.where(absent, _best_by_period(centred, absent)[None, :], centred)
    return np.where(np.isfinite(centred), centred, 0.0)


def _best_by_period(centred: Doubles, absent: npt.NDArray[np.bool_]) -> Doubles:
    """Return (K,) the largest mean, over the times at which a block is absent, of the blocks present at all of them."""
    best = np.full(centred.shape[1], np.nan)
    for block in np.flatnonzero(absent.any(axis=0)):
        period = centred[absent[:, block]]
        complete = period[:, ~np.isnan(period).any(axis=0)]
        if complete.shape[1]:
            best[block] = complete.mean(axis=0).max()
    return best


def _mean(values: Doubles, axis: int) -> Doubles:
    count = np.maximum((~np.isnan(values)).sum(axis=axis), 1)
    mean: Doubles = np.nansum(values, axis=axis) / count
    return mean
