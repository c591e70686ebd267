"""One meta-task as sufficient statistics: everything its inner solve and its outer loss need, and no training rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.meta_input import MetaInput
from baselines.adaptation.ddgda.meta_split import MetaTask
from baselines.adaptation.ddgda.rank_correlation import LabelRanks, linear_rank_ic
from harness.samples.gram import GramBlocks, NormalEquations
from harness.samples.table import AsOfView

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_NO_SPREAD = 1e-12


@dataclass(frozen=True, eq=False)
class Judgement:
    """The judged times of a meta-task; D of them have enough instruments. All float64.

    Attributes:
        covariance: (D, p, p) XᵀX of each time, centred.
        moment: (D, p) Xᵀy of each time, centred.
        label_norm: (D,) root of the centred yᵀy.
        count: (D,) rows.
        pooled: Uncentred statistics of all rows of the test segment, for the mean squared error.
    """

    covariance: Doubles
    moment: Doubles
    label_norm: Doubles
    count: Doubles
    pooled: NormalEquations


@dataclass(frozen=True, eq=False)
class RankedTest:
    """Rows of a test segment, to report the rank IC of an inner solution."""

    features: Floats
    ranks: LabelRanks

    def rank_ic(self, theta: Doubles) -> Doubles:
        """Return (times,) the rank IC of the predictions of θ (p,)."""
        return linear_rank_ic(self.features, theta[None, :], self.ranks)[:, 0]


@dataclass(frozen=True, eq=False)
class InnerProblem:
    """θ(w) = (Σ_k w_k G_k + w_K G_tail + αI)⁻¹ (Σ_k w_k m_k + w_K m_tail), and how it is judged.

    Attributes:
        task: Where it lies on the calendar.
        meta: Input of the weight model, K blocks.
        gram, moment: (K, p, p) and (K, p) float64 of the blocks; shared by all tasks, not copied.
        tail_gram, tail_moment: (p, p) and (p,) of the rows after the last block, which weigh like the last block.
        test: Statistics of the test segment.
        ranked: Its rows, to report the rank IC.
    """

    task: MetaTask
    meta: MetaInput
    gram: Doubles
    moment: Doubles
    tail_gram: Doubles
    tail_moment: Doubles
    test: Judgement
    ranked: RankedTest


@dataclass(frozen=True, eq=False)
class BlockSums:
    """The statistics of all blocks from `start` on, held once for every task.

    Attributes:
        blocks: The service they come from, for what lies between borders.
        start, step: Block k covers [start + k·step, start + (k + 1)·step).
        gram, moment: (K, p, p) and (K, p) float64, contiguous.
    """

    blocks: GramBlocks
    start: int
    step: int
    gram: Doubles
    moment: Doubles

    @classmethod
    def of(cls, blocks: GramBlocks, start: int, stop: int, step: int) -> BlockSums:
        """Return the whole blocks in [start, stop)."""
        first = int(np.searchsorted(blocks.bounds, start))
        whole = slice(first, first + (stop - start) // step)
        return cls(blocks, start, step, blocks.gram[whole].copy(), blocks.moment[whole].copy())

    def learn(self, task: MetaTask, meta: MetaInput, judged: Judgement, ranked: RankedTest) -> InnerProblem:
        """Return the inner problem of a task: its K blocks, and the rows after them up to the task's own purge."""
        count = meta.block_starts.size
        tail = self.blocks.until(task.train.stop).weighted(self.start + count * self.step, task.train.stop, None)
        return InnerProblem(task, meta, self.gram[:count], self.moment[:count], tail.gram, tail.moment, judged, ranked)


def judgement(view: AsOfView, task: MetaTask, skip_below: int) -> Judgement | None:
    """Return the statistics of every judged time of a task's test segment; None when no time can be judged."""
    stop = min(task.test.stop, view.label_stop)
    if stop <= task.test.start:
        return None
    known = view.labelled(task.test.start, stop)
    features, label = known.features(task.test.start, stop), known.label(task.test.start, stop)
    offsets = known.offsets(task.test.start, stop)
    spans = [slice(int(a), int(b)) for a, b in itertools.pairwise(offsets)]
    times = [NormalEquations.from_rows(features[s], label[s], None) for s in spans if s.stop - s.start >= skip_below]
    judged = [equations for equations in times if _label_norm(equations) > _NO_SPREAD]
    if not judged:
        return None
    centred = [equations.centred() for equations in judged]
    return Judgement(
        covariance=np.stack([gram for gram, _ in centred]),
        moment=np.stack([moment for _, moment in centred]),
        label_norm=np.array([_label_norm(equations) for equations in judged]),
        count=np.array([equations.weight_sum for equations in judged]),
        pooled=NormalEquations.from_rows(features, label, None),
    )


def _label_norm(equations: NormalEquations) -> float:
    return float(np.sqrt(max(equations.label_square - equations.label_sum**2 / equations.weight_sum, 0.0)))
