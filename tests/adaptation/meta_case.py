"""A small meta-learning problem, by rows: what the sufficient statistics must agree with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.meta_task import MetaTask, Phase, Span, candidate_tasks
from baselines.adaptation.ddgda.meta_training import InnerProblem, MetaProblems, meta_problems
from baselines.adaptation.ddgda.preparation import ProxyData, Regime, linear_similarity
from baselines.adaptation.ddgda.proxy import Choice
from baselines.adaptation.ddgda.weight_model import WeightRule
from harness.samples.gram import GramBlocks
from harness.samples.table import SampleTable
from tests.adaptation.streams import Drift, Stream

Doubles = npt.NDArray[np.float64]
STEP, HISTORY, START = 10, 4, 7
RULE = WeightRule(hist_step_n=HISTORY, fill_method="max", undefined_is_best=False, plain_tail=False)


@dataclass(frozen=True, eq=False)
class Case:
    """A table, its tasks and their inner problems."""

    table: SampleTable
    problems: MetaProblems

    @property
    def first(self) -> InnerProblem:
        return self.problems.by_phase[Phase.META_TRAIN][0]

    def rows(self, start: int, stop: int) -> tuple[Doubles, Doubles]:
        """Return features and label of positions [start, stop), float64, rows with a label only."""
        rows = self.table.index.rows(start, stop)
        keep = ~np.isnan(self.table.label[rows])
        return self.table.features[rows][keep].astype(np.float64), self.table.label[rows][keep].astype(np.float64)

    def theta(self, problem: InnerProblem, weights: Doubles, alpha: float) -> Doubles:
        """Return the weighted ridge solved from rows; rows after the last block weigh like it."""
        task = problem.task
        per_time = weights[np.minimum((np.arange(len(task.train))) // STEP, weights.size - 1)]
        width = self.table.features.shape[1]
        gram, moment = alpha * np.eye(width), np.zeros(width)
        for weight, at in zip(per_time, range(task.train.start, task.train.stop), strict=True):
            x, y = self.rows(at, at + 1)
            gram += weight * x.T @ x
            moment += weight * x.T @ y
        return np.asarray(np.linalg.solve(gram, moment), dtype=np.float64)

    def correlations(self, task: MetaTask, theta: Doubles, skip_below: int = 2) -> list[float]:
        """Return the Pearson correlation of every judged time."""
        found = []
        for at in range(task.test.start, task.test.stop):
            x, y = self.rows(at, at + 1)
            if y.size >= skip_below:
                found.append(float(np.corrcoef(x @ theta, y)[0, 1]))
        return found


def case(
    drift: Drift = "gradual", *, times: int = 150, skip_below: int = 2, gaps: bool = False, dark: slice | None = None
) -> Case:
    """Return the case of a stream; with `gaps`, some labels are missing; at the times of `dark`, all."""
    table = Stream(drift, times=times, instruments=20, features=4, period=120).table(0)
    label = table.label.copy()
    if gaps:
        label[np.random.default_rng(1).random(label.size) < 0.2] = np.nan
    if dark is not None:
        label[table.index.rows(dark.start, dark.stop)] = np.nan
    table = table.with_columns(table.features.copy(), table.feature_names, label)
    span = Span(START, START + STEP * HISTORY + 8, times - 20, times - 6, STEP, table.look_ahead, STEP * HISTORY)
    tasks = tuple(
        MetaTask(t.index, t.train, t.test, Phase.META_TRAIN if t.test.stop <= times - 30 else Phase.META_TEST)
        for t in candidate_tasks(span)
    )
    blocks = GramBlocks(table.features, table.label, table.index.offsets, step=STEP, origin=START)
    similarity = linear_similarity(table.as_of(times - 1), START, blocks, step=STEP, alpha=0.05)
    choice = Choice(0, table.feature_names, len(table.feature_names))
    data = ProxyData(Regime(choice, similarity), table, blocks)
    return Case(table, meta_problems(tasks, [data], RULE, skip_below))
