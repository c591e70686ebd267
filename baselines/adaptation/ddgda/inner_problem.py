"""Meta-tasks as sufficient statistics: everything their inner solves and outer losses need, and no training rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from baselines.adaptation.ddgda.meta_task import USED, MetaTask, Phase
from baselines.adaptation.ddgda.preparation import ProxyData
from baselines.adaptation.ddgda.rank_correlation import LabelRanks, linear_rank_ic, rank_labels
from baselines.adaptation.ddgda.weight_model import WeightRule
from harness.errors import ConfigError
from harness.execution.threads import one_blas_thread
from harness.samples.gram import NormalEquations
from harness.samples.interfaces import Doubles, Floats
from harness.samples.table import AsOfView

_NO_SPREAD = 1e-12


@dataclass(frozen=True, eq=False)
class Judgement:
    """The test segment of a meta-task; D of its times have enough instruments. All float64 but the rows.

    Attributes:
        covariance, moment: (D, p, p) XᵀX and (D, p) Xᵀy of each time, centred.
        label_norm: (D,) root of the centred yᵀy.
        count: (D,) rows.
        pooled: Uncentred statistics of all rows, for the mean squared error.
        features, ranks: All rows, to report the rank IC.
    """

    covariance: Doubles
    moment: Doubles
    label_norm: Doubles
    count: Doubles
    pooled: NormalEquations
    features: Floats
    ranks: LabelRanks

    def rank_ic(self, theta: Doubles) -> Doubles:
        """Return (times,) the rank IC of the predictions of θ (p,)."""
        return linear_rank_ic(self.features, theta[None, :], self.ranks)[:, 0]


@dataclass(frozen=True, eq=False)
class InnerProblem:
    """θ(w) = (Σ_k w_k G_k + w_K G_tail + αI)⁻¹ (Σ_k w_k m_k + w_K m_tail), and how it is judged.

    Attributes:
        meta: (H, K) input of the weight model, K blocks.
        gram, moment: (K, p, p) and (K, p) float64 of the blocks; shared by all tasks, not copied.
        tail_gram, tail_moment: (p, p) and (p,) of the rows after the last block, which weigh like the last block.
    """

    task: MetaTask
    meta: Doubles
    gram: Doubles
    moment: Doubles
    tail_gram: Doubles
    tail_moment: Doubles
    test: Judgement


@dataclass(frozen=True, eq=False)
class MetaProblems:
    """All meta-tasks, those that cannot be judged marked, and the inner problems in time order, meta-train first."""

    tasks: tuple[MetaTask, ...]
    by_phase: dict[str, tuple[InnerProblem, ...]]


def meta_problems(
    tasks: Sequence[MetaTask], prepared: Sequence[ProxyData], rule: WeightRule, skip_below: int
) -> MetaProblems:
    """Return the inner problem of every task that is used; a `ConfigError` when no meta-train task can be judged.

    A task takes the proxy data of the newest feature choice made by its decision. Times with fewer than `skip_below`
    labelled instruments are not judged.
    """
    marked, problems = list(tasks), []
    with one_blas_thread():
        sums = [_block_sums(data) for data in prepared]
        for index, task in enumerate(tasks):
            if task.phase not in USED:
                continue
            at = max(i for i, data in enumerate(prepared) if data.regime.choice.decision <= task.decision)
            problem = _problem(task, prepared[at], sums[at], rule, skip_below)
            if problem is None:
                marked[index] = replace(task, phase=Phase.UNJUDGED)
            else:
                problems.append(problem)
    by_phase = {str(phase): tuple(p for p in problems if p.task.phase is phase) for phase in USED}
    if not by_phase[Phase.META_TRAIN]:
        text, expected = "No meta-train task can be judged.", "at most the number of labelled instruments at a time"
        raise ConfigError(text, where="adaptation.loss_skip_thresh", got=skip_below, expected=expected)
    return MetaProblems(tuple(marked), by_phase)


def _block_sums(data: ProxyData) -> tuple[Doubles, Doubles]:  # of the whole blocks, held once for every task
    found = data.regime.similarity
    first = int(np.searchsorted(data.blocks.bounds, found.start))
    whole = slice(first, first + found.values.shape[0] // found.step)
    return data.blocks.gram[whole].copy(), data.blocks.moment[whole].copy()


def _problem(
    task: MetaTask, data: ProxyData, sums: tuple[Doubles, Doubles], rule: WeightRule, skip_below: int
) -> InnerProblem | None:
    matured = min(task.test.last + data.table.look_ahead, len(data.table.calendar) - 1)
    judged = _judgement(data.table.as_of(matured), task, skip_below)
    if judged is None:
        return None
    known = data.regime.similarity.as_of(task.decision).until(task.train.stop)
    meta = rule.meta_input(known)
    count = meta.shape[1]
    tail = data.blocks.until(task.train.stop).weighted(known.start + count * known.step, task.train.stop, None)
    return InnerProblem(task, meta, sums[0][:count], sums[1][:count], tail.gram, tail.moment, judged)


def _judgement(view: AsOfView, task: MetaTask, skip_below: int) -> Judgement | None:
    start, stop = task.test.start, min(task.test.stop, view.label_stop)
    if stop <= start:
        return None
    known = view.labelled(start, stop)
    features, label, offsets = known.features(start, stop), known.label(start, stop), known.offsets(start, stop)
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
        features=features,
        ranks=rank_labels(label, offsets),
    )


def _label_norm(equations: NormalEquations) -> float:
    return float(np.sqrt(max(equations.label_square - equations.label_sum**2 / equations.weight_sum, 0.0)))
