"""Meta-training: gradient descent on the weight model through the closed form of every inner problem.

Meta-tasks come as sufficient statistics: everything their inner solves and outer losses need, and no training rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from baselines.adaptation.ddgda.meta_task import USED, MetaTask, Phase
from baselines.adaptation.ddgda.preparation import ProxyData
from baselines.adaptation.ddgda.rank_correlation import LabelRanks, linear_rank_ic, rank_labels
from baselines.adaptation.ddgda.weight_model import MetaScore, MetaTraining, WeightModel, WeightRule, WeightShape
from baselines.models.network import torch_threads
from harness.errors import ConfigError
from harness.execution.progress import Observer
from harness.execution.threads import one_blas_thread
from harness.samples.gram import NormalEquations
from harness.samples.interfaces import Doubles, Floats
from harness.samples.table import AsOfView

_STAGE = "meta-training"
_INITIAL_SCALE = 8.0
_NO_SPREAD = 1e-12


@dataclass(frozen=True, eq=False)
class Judgement:
    """The test segment of a meta-task; D of its times are judged by correlation. All float64 but the rows.

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
    tasks: Sequence[MetaTask], prepared: Sequence[ProxyData], rule: WeightRule, skip_below: int | None
) -> MetaProblems:
    """Return the inner problem of every task that is used; a `ConfigError` when no meta-train task can be judged.

    A task takes the proxy data of the newest feature choice made by its decision. Times with fewer than `skip_below`
    labelled instruments have no correlation that is judged; None judges no correlation at all, but the squared error.
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
        hint = "adaptation=ddgda_series, for sets of series, judges by squared error"
        raise ConfigError(text, where="adaptation.loss_skip_thresh", got=skip_below, expected=expected, hint=hint)
    return MetaProblems(tuple(marked), by_phase)


def _block_sums(data: ProxyData) -> tuple[Doubles, Doubles]:  # of the whole blocks, held once for every task
    found = data.regime.similarity
    first = int(np.searchsorted(data.blocks.bounds, found.start))
    whole = slice(first, first + found.values.shape[0] // found.step)
    return data.blocks.gram[whole].copy(), data.blocks.moment[whole].copy()


def _problem(
    task: MetaTask, data: ProxyData, sums: tuple[Doubles, Doubles], rule: WeightRule, skip_below: int | None
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


def _judgement(view: AsOfView, task: MetaTask, skip_below: int | None) -> Judgement | None:
    start, stop = task.test.start, min(task.test.stop, view.label_stop)
    if stop <= start:
        return None
    known = view.labelled(start, stop)
    features, label, offsets = known.features(start, stop), known.label(start, stop), known.offsets(start, stop)
    judged = []
    if skip_below is not None:
        spans = [slice(int(a), int(b)) for a, b in itertools.pairwise(offsets)]
        spans = [span for span in spans if span.stop - span.start >= skip_below]
        times = [NormalEquations.from_rows(features[span], label[span], None) for span in spans]
        judged = [equations for equations in times if _label_norm(equations) > _NO_SPREAD]
    if not (label.size if skip_below is None else judged):
        return None
    centred, width = [equations.centred() for equations in judged], features.shape[1]
    return Judgement(
        covariance=np.array([gram for gram, _ in centred]).reshape(-1, width, width),
        moment=np.array([moment for _, moment in centred]).reshape(-1, width),
        label_norm=np.array([_label_norm(equations) for equations in judged]),
        count=np.array([equations.weight_sum for equations in judged]),
        pooled=NormalEquations.from_rows(features, label, None),
        features=features,
        ranks=rank_labels(label, offsets),
    )


def _label_norm(equations: NormalEquations) -> float:
    return float(np.sqrt(max(equations.label_square - equations.label_sum**2 / equations.weight_sum, 0.0)))


class Adam:
    """Adam, by PyTorch's own function and defaults, with the bits of `torch.optim.Adam`.

    To make one of those imports PyTorch's compiler, which takes longer than all that is trained here.
    """

    def __init__(self, net: nn.Module, lr: float) -> None:
        self._lr, self._parameters = lr, list[Tensor](net.parameters())
        self._means, self._squares = ([torch.zeros_like(p) for p in self._parameters] for _ in range(2))
        self._steps = [torch.tensor(0.0) for _ in self._parameters]

    def step(self, loss: Tensor) -> None:
        """Move the parameters against the gradient of a loss."""
        gradients = list(torch.autograd.grad(loss, self._parameters))
        with torch.no_grad():
            adam(
                self._parameters,
                gradients,
                self._means,
                self._squares,
                [],
                self._steps,
                lr=self._lr,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                weight_decay=0.0,
                amsgrad=False,
                maximize=False,
            )


class WeightNet(nn.Module):
    """The weight model in torch, float64: the same function as `WeightModel.weights`, with gradients."""

    def __init__(self, start: WeightModel) -> None:
        super().__init__()
        self.shape = start.shape
        self.coefficients = nn.Parameter(torch.tensor(start.coefficients, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(start.bias, dtype=torch.float64))
        self.scale = nn.Parameter(torch.tensor(start.scale, dtype=torch.float64))

    def forward(self, meta: Tensor) -> Tensor:
        score = self.coefficients @ meta + self.bias
        score = (score - score.mean()) * self.scale
        bound = self.shape.clip_weight
        if bound is None:
            return torch.exp(score)
        if self.shape.method == "tanh":
            return torch.exp(torch.tanh(score) * math.log(bound))
        if self.shape.method == "clamp":
            return torch.exp(score).clamp(1.0 / bound, bound)
        logistic = torch.sigmoid(score)
        return logistic / logistic.mean()

    def frozen(self) -> WeightModel:
        coefficients = self.coefficients.detach().numpy().copy()
        return WeightModel(coefficients, float(self.bias.detach()), float(self.scale.detach()), self.shape)


def initial_weight_model(hist_step_n: int, shape: WeightShape, seed: int) -> WeightModel:
    """Return the state before training: coefficients near 1/H, bias 0, scale 8.

    The noise is one hundredth of the usual initialisation of a linear layer, drawn in float32 from a generator of its
    own, so that a seed gives the published initial state.
    """
    noise = torch.empty(1, hist_step_n)
    nn.init.kaiming_uniform_(noise, a=math.sqrt(5), generator=torch.Generator().manual_seed(seed))
    start = (1.0 / hist_step_n + noise * 0.01).reshape(-1).double().numpy()
    return WeightModel(coefficients=start, bias=0.0, scale=_INITIAL_SCALE, shape=shape)


def solve(problem: InnerProblem, weights: Tensor, alpha: float) -> Tensor:
    """Return θ(w), (p,)."""
    width = problem.moment.shape[1]
    gram, tail_gram = _shared(problem.gram), _shared(problem.tail_gram)
    gram = (weights @ gram.reshape(-1, width * width)).reshape(width, width) + weights[-1] * tail_gram
    moment = weights @ _shared(problem.moment) + weights[-1] * _shared(problem.tail_moment)
    penalty = alpha * torch.eye(width, dtype=torch.float64)
    theta, info = torch.linalg.solve_ex(gram + penalty, moment)
    if info:
        text = "An inner problem has no unique solution: some proxy features are linearly dependent."
        raise ConfigError(text, where="adaptation.alpha", got=alpha, expected="a positive ridge penalty")
    solution: Tensor = theta
    return solution


def ic_loss(test: Judgement, theta: Tensor, *, shrink: bool) -> Tensor:
    """Return minus the mean correlation over the judged times whose predictions by θ (p,) vary; 0 when none do.

    With `shrink` each correlation is multiplied by (n − 1)/n, as in qlib.
    """
    count = _shared(test.count)
    square = (_shared(test.covariance) @ theta) @ theta
    varies = square > _NO_SPREAD**2 * (count - 1)
    if not bool(varies.any()):
        return (theta * 0.0).sum()
    norm = torch.sqrt(torch.where(varies, square, torch.ones_like(square)))
    correlation = (_shared(test.moment) @ theta) / (norm * _shared(test.label_norm))
    if shrink:
        correlation = correlation * (count - 1) / count
    return -correlation[varies].mean()


def mse(test: Judgement, theta: Tensor) -> Tensor:
    """Return the mean squared error over all rows of the test segment."""
    pooled = test.pooled
    square = theta @ _shared(pooled.gram) @ theta - 2.0 * _shared(pooled.moment) @ theta + pooled.label_square
    error: Tensor = square / pooled.weight_sum
    return error


def _shared(values: Doubles) -> Tensor:
    return torch.from_numpy(values)  # not copied


def train(
    phases: Mapping[str, Sequence[InnerProblem]],
    start: WeightModel,
    setting: MetaTraining,
    observer: Observer,
    *,
    shrink: bool = False,
) -> tuple[WeightModel, tuple[MetaScore, ...]]:
    """Return the weight model, trained from `start`, and the history of its scores.

    Of the `phases`, each with its tasks in time order, the first trains; the others are only scored after every epoch.
    Raises `ConfigError` when an inner problem has no unique solution: a singular Gram matrix and no penalty.
    """
    tasks = {phase: members for phase, members in phases.items() if members}
    trained = next(iter(phases))
    net = WeightNet(start)
    optimiser = Adam(net, setting.lr)
    history: list[MetaScore] = []
    observer.start(_STAGE, setting.max_epoch)
    with torch_threads(1):
        for phase, members in tasks.items():
            history.append(MetaScore("unweighted", 0, phase, *_score(members, None, setting, shrink)))
            history.append(MetaScore("initial", 0, phase, *_score(members, net, setting, shrink)))
        for epoch in range(1, setting.max_epoch + 1):
            for phase, members in tasks.items():
                update = optimiser if phase == trained else None
                history.append(MetaScore("trained", epoch, phase, *_score(members, net, setting, shrink, update)))
            observer.advance(_STAGE)
    observer.finish(_STAGE, f"{trained} loss {history[0].loss:.4f} unweighted")
    return net.frozen(), tuple(history)


def _score(
    tasks: Sequence[InnerProblem],
    net: WeightNet | None,
    setting: MetaTraining,
    shrink: bool,
    optimiser: Adam | None = None,
) -> tuple[float, float]:
    """Return mean loss and mean rank IC; with an optimiser, update after every task."""
    losses, rank_ics = [], []
    with torch.set_grad_enabled(optimiser is not None):
        for task in tasks:
            weights = torch.ones(task.moment.shape[0], dtype=torch.float64) if net is None else net(_shared(task.meta))
            theta = solve(task, weights, setting.alpha)
            is_ic = setting.criterion == "ic_loss"
            loss = ic_loss(task.test, theta, shrink=shrink) if is_ic else mse(task.test, theta)
            if optimiser is not None:
                optimiser.step(loss)
            losses.append(float(loss.detach()))
            rank_ics.append(task.test.rank_ic(theta.detach().numpy()))
    every = np.concatenate(rank_ics)
    defined = every[~np.isnan(every)]
    return float(np.mean(losses)), float(defined.mean()) if defined.size else math.nan
