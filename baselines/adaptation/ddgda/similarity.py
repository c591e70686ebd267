"""How well a proxy model of each past block ranks the instruments at every other time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.rank_correlation import linear_rank_ic, rank_labels
from harness.errors import ConfigError, LookAheadError
from harness.execution.threads import one_blas_thread
from harness.samples.gram import GramBlocks
from harness.samples.table import AsOfView
from harness.samples.windows import Segment
from harness.samples.windows import blocks as split_blocks

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KnownSimilarity:
    """The part of a similarity matrix that is known at one decision.

    Attributes:
        start: Calendar position of the first row.
        step: Times per block; block k covers [start + k·step, start + (k + 1)·step).
        look_ahead: A label at s is known at s + look_ahead.
        values: (rows, K) float64 rank IC; NaN where a proxy's predictions or the labels are constant.
    """

    start: int
    step: int
    look_ahead: int
    values: Doubles

    def until(self, stop: int) -> KnownSimilarity:
        """Return the rows of times before `stop` and the columns of blocks that end by then.

        Raises:
            LookAheadError: When a label before `stop` is not known.
        """
        rows = stop - self.start
        if rows > self.values.shape[0]:
            raise LookAheadError(
                "This similarity is not known at the decision time.",
                got=f"rows up to position {stop - 1}",
                expected=f"rows up to position {self.start + self.values.shape[0] - 1}",
            )
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values[:rows, : rows // self.step])

    @property
    def block_starts(self) -> npt.NDArray[np.int64]:
        """(K,) int64 first position of every block."""
        return self.start + self.step * np.arange(self.values.shape[1], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The whole similarity matrix, reached through `as_of` like a sample table; fields as in `KnownSimilarity`.

    A cell depends on the rows of its time and of its block only, so that cutting it is the same as not having known.
    """

    start: int
    step: int
    look_ahead: int
    values: Doubles

    def as_of(self, decision: int) -> KnownSimilarity:
        """Return the rows and columns whose labels are all known at the close of `decision`."""
        stop = min(decision - self.look_ahead + 1, self.start + self.values.shape[0])
        rows = max(stop - self.start, 0)
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values[:rows, : rows // self.step])

    @property
    def undefined(self) -> int:
        """Number of undefined cells."""
        return int(np.isnan(self.values).sum())


def linear_similarity(view: AsOfView, start: int, blocks: GramBlocks, *, step: int, alpha: float) -> Similarity:
    """Return the similarity by one ridge proxy per block, fitted from the shared Gram blocks.

    Args:
        view: Proxy data; every row of [start, label_stop) is scored.
        start: First position of block 0.
        blocks: Statistics of the same rows, with a border at `start`.
        step: Times per block.
        alpha: Ridge penalty; no intercept, as features and label are centred at every time.
    """
    stop = view.label_stop
    known = view.labelled(start, stop)
    with one_blas_thread():
        solved = [blocks.weighted(b.start, b.stop, None).ridge(alpha) for b in whole_blocks(start, stop, step)]
    proxies = np.stack([solution.theta for solution in solved])
    ranks = rank_labels(known.label(start, stop), known.offsets(start, stop))
    values = linear_rank_ic(known.features(start, stop), proxies, ranks)
    return Similarity(start, step, view.look_ahead, values)


def whole_blocks(start: int, stop: int, step: int) -> tuple[Segment, ...]:
    """Return the blocks of `step` times from `start` that end by `stop`.

    Raises:
        ConfigError: When there is none.
    """
    whole = start + (stop - start) // step * step
    if whole <= start:
        raise ConfigError(
            "The history is shorter than one block.",
            where="windows.step",
            got=f"{max(stop - start, 0)} periods with a known label",
            expected=f"at least {step}",
        )
    return split_blocks(start, whole, step)
