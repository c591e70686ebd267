"""Meta-tasks and their data put together: the inner problems, by phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from baselines.adaptation.ddgda.fitted import Learned
from baselines.adaptation.ddgda.inner_problem import BlockSums, InnerProblem, RankedTest, judgement
from baselines.adaptation.ddgda.meta_split import MetaTask, Phase
from baselines.adaptation.ddgda.preparation import ProxyData
from baselines.adaptation.ddgda.rank_correlation import rank_labels
from harness.errors import ConfigError
from harness.execution.threads import one_blas_thread
from harness.samples.table import AsOfView

_USED = (Phase.META_TRAIN, Phase.META_TEST)


@dataclass(frozen=True, eq=False)
class MetaProblems:
    """The inner problems of meta-training.

    Attributes:
        tasks: All meta-tasks; those that cannot be judged are marked.
        by_phase: Problems in time order, meta-train first.
    """

    tasks: tuple[MetaTask, ...]
    by_phase: dict[str, tuple[InnerProblem, ...]]


def meta_problems(
    tasks: Sequence[MetaTask], prepared: Sequence[ProxyData], rule: Learned, skip_below: int
) -> MetaProblems:
    """Return the inner problem of every task that is used.

    Args:
        tasks: With their phases.
        prepared: Proxy data per feature choice; a task takes the newest choice made by its decision.
        rule: From similarity to meta input.
        skip_below: Times with fewer labelled instruments are not judged.

    Raises:
        ConfigError: When no meta-train task can be judged.
    """
    marked, problems = [], []
    with one_blas_thread():
        sums = [_sums(data) for data in prepared]
        for task in tasks:
            if task.phase not in _USED:
                marked.append(task)
                continue
            at = max(i for i, data in enumerate(prepared) if data.choice.decision <= task.decision)
            problem = _problem(task, prepared[at], sums[at], rule, skip_below)
            marked.append(task if problem is not None else replace(task, phase=Phase.UNJUDGED))
            problems += [] if problem is None else [problem]
    by_phase = {str(phase): tuple(p for p in problems if p.task.phase is phase) for phase in _USED}
    if not by_phase[Phase.META_TRAIN]:
        raise ConfigError(
            "No meta-train task can be judged.",
            where="adaptation.loss_skip_thresh",
            got=skip_below,
            expected="at most the number of labelled instruments at a time",
        )
    return MetaProblems(tuple(marked), by_phase)


def _problem(task: MetaTask, data: ProxyData, sums: BlockSums, rule: Learned, skip_below: int) -> InnerProblem | None:
    matured = min(task.test.last + data.table.look_ahead, len(data.table.calendar) - 1)
    view = data.table.as_of(matured)
    judged = judgement(view, task, skip_below)
    if judged is None:
        return None
    known = data.similarity.as_of(task.decision).until(task.train.stop)
    return sums.learn(task, rule.meta(known), judged, _ranked(view, task))


def _ranked(view: AsOfView, task: MetaTask) -> RankedTest:
    start, stop = task.test.start, min(task.test.stop, view.label_stop)
    rows = view.labelled(start, stop)
    return RankedTest(rows.features(start, stop), rank_labels(rows.label(start, stop), rows.offsets(start, stop)))


def _sums(data: ProxyData) -> BlockSums:
    start, rows = data.similarity.start, data.similarity.values.shape[0]
    return BlockSums.of(data.blocks, start, start + rows, data.similarity.step)
