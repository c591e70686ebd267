"""Meta-learning on the past: episodes stand to each other as a window's newest known data to its test segment."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Gt, Lt

from baselines.models.intake import import_extra
from baselines.models.linear import FittedLinear, Linear
from baselines.models.mlp import MLP
from baselines.models.network import FittedNetwork, isolated_torch, pick_device
from harness.errors import RefusedError
from harness.errors.limits import Count, Natural, Positive, Seed, Threads, check_limits
from harness.samples.gram import Solution
from harness.samples.interfaces import FittedModel, History, LearnSet, Model
from harness.samples.plan import Arrays, Known, Transform, WindowPlan
from harness.samples.table import AsOfView
from harness.samples.windows import Segment, Window

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Rows:
    """The m rows of some consecutive times that have a label; `times`: (m,) how many times after the first."""

    x: torch.Tensor
    y: torch.Tensor
    times: torch.Tensor


@dataclass(frozen=True)
class Episodes:
    """The episodes of the past as of a view, on a grid of blocks from `start` on.

    Episode k learns from block k, which ends at e, and is judged on the block that begins at e + L − 1: the first time
    at which labels of all times before e are known, L being the look-ahead. It has matured when its last label has.
    """

    view: AsOfView
    start: int
    stop: int  # one past the newest time that may be learned from
    block: int

    @property
    def matured(self) -> int:
        """How many episodes have matured."""
        return max((self.stop - self.start - self.view.look_ahead + 1) // self.block - 1, 0)

    def known(self, k: int) -> Rows:
        return self._rows(self.start + k * self.block)

    def judged(self, k: int) -> Rows:
        return self._rows(self.start + (k + 1) * self.block + self.view.look_ahead - 1)

    def newest(self) -> Rows:
        """Return the newest block that may be learned from, on no grid."""
        return self._rows(max(self.stop - self.block, self.start))

    def _rows(self, start: int) -> Rows:
        import torch

        period = start, min(start + self.block, self.stop)
        features, label = self.view.features(*period), self.view.label(*period)
        kept = ~np.isnan(label)
        times = np.repeat(np.arange(period[1] - start), np.diff(self.view.offsets(*period)))
        return Rows(*(torch.from_numpy(np.ascontiguousarray(part[kept])) for part in (features, label, times)))


@dataclass(frozen=True, kw_only=True)
class MetaLearned(ABC):
    """An adaptation whose adapters are meta-learned on the past and go on learning with every episode that matures.

    In the first window: the configured model is fitted on the past before the newest `valid` share of the episodes; the
    adapters and the model learn from the episodes before these, in epochs of random order, and the epoch that does best
    on the newest is kept, which may be the one before any; then the newest are learned from too, once, in time order.
    Each later window learns from the episodes that have matured since. Networks learn without dropout here.

    Attributes:
        block: Times per side of an episode.
        valid: Share of the episodes that choose the epoch, in (0, 1).
        max_epochs, patience: Most passes over the episodes, and for how many without an improvement they go on.
        model_lr, adapter_lr: Adam's rates for the model's parameters and for the adapters', over the number of
            features: a step moves a forecast by about that much, however many features there are.
        seed: For initialisation and order; None: the run's.
        threads: A fixed number, so that results do not depend on the machine.
    """

    block: Count
    valid: Annotated[float, Gt(0), Lt(1)]
    max_epochs: Natural
    patience: Count
    model_lr: Positive
    adapter_lr: Positive
    seed: Seed | None = None
    threads: Threads = 1

    def __post_init__(self) -> None:
        check_limits(self, "adaptation")

    def fit(self, history: History) -> Follower:
        import_extra("torch")
        seed = history.seed if self.seed is None else self.seed
        return Follower(self, history.windows[0].train.start, seed)

    @abstractmethod
    def learner(self, network: torch.nn.Module, width: int) -> Any:
        """Return a module around a network of `width` features, its adapters initialised from torch's current state.

        It has `network`, ``loss(known, judged)``, and `mixes`: whether epochs join sides of different episodes.
        """

    @abstractmethod
    def transform(self, learner: Any, newest: Rows, seed: int) -> tuple[torch.nn.Module, Transform]:
        """Return what the learner makes of the newest known block: the window's network and its transform."""

    def check_model(self, model: Model) -> None:
        """Refuse a model that no gradient goes through, or whose features may not be mixed."""
        if not isinstance(model, Linear | MLP):
            what = f"{type(self).__name__} moves a model by its gradient, and knows how for two models."
            raise RefusedError(what, where="model", got=type(model).__name__, expected="linear or mlp")


@dataclass(frozen=True, eq=False)
class Follower:
    """Nothing was learned before the first window: everything is state, which goes from window to window."""

    settings: MetaLearned
    start: int
    seed: int

    def plan(self, window: Window, known: Known) -> WindowPlan:
        settings, names = self.settings, known.view.feature_names
        settings.check_model(known.model)
        episodes = Episodes(known.view, self.start, window.learn_stop, settings.block)
        with isolated_torch(self.seed, settings.threads, pick_device("cpu")):
            network = network_of(known.model, names)
            learner = settings.learner(network, len(names))
            done, state = 0, known.feedback.state
            if not state:
                done = self._begin(learner, episodes, window, known)
            optimizer = adam(settings, learner, len(names))
            if state:
                done = restore(learner, optimizer, state)
            for k in range(done, episodes.matured):
                if self.start + k * settings.block >= window.train.start:
                    step(optimizer, learner, episodes.known(k), episodes.judged(k))
            adapted, transform = settings.transform(learner, episodes.newest(), self.seed)
            fitted = fitted_of(known.model, adapted, names)
            return WindowPlan(fitted=fitted, transform=transform, state=arrays(learner, optimizer, episodes.matured))

    def _begin(self, learner: Any, episodes: Episodes, window: Window, known: Known) -> int:
        """Fit the model, meta-train on the episodes before the newest; return the number of the first not learned."""
        import torch

        settings, ahead = self.settings, known.view.look_ahead - 1
        first = episodes.matured - max(round(settings.valid * episodes.matured), 1)  # that chooses
        split = self.start + first * settings.block
        fits = (split - self.start - ahead) // settings.block - 1  # judged on labels known at the split
        if fits < 1 or split + ahead >= window.learn_stop:
            what, where = "There is too little past to learn from its episodes.", "adaptation.block"
            raise RefusedError(what, where=where, got=settings.block, expected="shorter blocks, or an earlier train")
        train = LearnSet(known.view, Segment(self.start, split))
        valid = LearnSet(known.view, Segment(split + ahead, window.learn_stop)) if known.model.needs_valid else None
        load_parameters(learner.network, known.model.fit(train, valid))
        optimizer = adam(settings, learner, len(known.view.feature_names))
        order = torch.Generator().manual_seed(self.seed)
        newest = [(episodes.known(k), episodes.judged(k)) for k in range(first, episodes.matured)]
        best, best_loss, best_epoch = copy.deepcopy(learner.state_dict()), mean_loss(learner, newest), 0
        for epoch in range(1, settings.max_epochs + 1):
            drawn = torch.randperm(fits, generator=order).tolist()
            partners = drawn[-1:] + drawn[:-1] if learner.mixes else drawn
            for own, other in zip(drawn, partners, strict=True):
                step(optimizer, learner, episodes.known(other), episodes.judged(own))
            loss = mean_loss(learner, newest)
            if loss < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(learner.state_dict()), loss, epoch
            elif epoch - best_epoch >= settings.patience:
                break
        learner.load_state_dict(best)
        return fits

    def save(self, folder: Path) -> None:
        """Write nothing."""


def adam(settings: MetaLearned, learner: Any, width: int) -> torch.optim.Optimizer:
    """Return the optimiser of the model's parameters and of all others."""
    import torch

    own = list(learner.network.parameters())
    others = [one for name, one in learner.named_parameters() if not name.startswith("network.")]
    rates = settings.model_lr / width, settings.adapter_lr / width
    return torch.optim.Adam([{"params": p, "lr": rate} for p, rate in zip((own, others), rates, strict=True)])


def step(optimizer: torch.optim.Optimizer, learner: Any, known: Rows, judged: Rows) -> None:
    """Learn from an episode, as long as both of its sides have rows."""
    import torch

    if len(known.y) and len(judged.y):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(learner.loss(known, judged))
        optimizer.step()


def mean_loss(learner: Any, episodes: Iterable[tuple[Rows, Rows]]) -> float:
    """Return the mean loss over episodes whose sides have rows; infinite without one."""
    found = [float(learner.loss(*sides).detach()) for sides in episodes if all(len(side.y) for side in sides)]
    return float(np.mean(found)) if found else np.inf


def arrays(learner: Any, optimizer: torch.optim.Optimizer, done: int) -> Arrays:
    """Return parameters, the optimiser's moments and steps, and how many episodes are done, as plain arrays."""
    import torch

    params, states = list(learner.parameters()), optimizer.state
    kept: dict[str, Any] = {"parameters": torch.nn.utils.parameters_to_vector(params).detach().numpy()}
    for name in ("exp_avg", "exp_avg_sq"):
        kept[name] = torch.cat([states[p].get(name, torch.zeros_like(p)).reshape(-1) for p in params]).numpy()
    steps = [float(states[p].get("step", 0.0)) for p in params]
    return {**kept, "steps": np.array(steps), "done": np.array([done])}


def restore(learner: Any, optimizer: torch.optim.Optimizer, state: Arrays) -> int:
    """Set what `arrays` has kept, and return how many episodes are done."""
    import torch

    params, at = list(learner.parameters()), 0
    for p, steps in zip(params, state["steps"], strict=True):
        own = {name: torch.from_numpy(np.array(state[name][at : at + p.numel()])).view_as(p) for name in _KEPT}
        with torch.no_grad():
            p.copy_(own.pop("parameters"))
        if steps:
            optimizer.state[p] = {"step": torch.tensor(float(steps)), **own}
        at += p.numel()
    return int(state["done"][0])


_KEPT = ("parameters", "exp_avg", "exp_avg_sq")


def network_of(model: Any, names: tuple[str, ...]) -> torch.nn.Module:
    """Return the configured model as a network from (m, F) to (m, 1), in the mode in which nothing is dropped."""
    from torch import nn

    if isinstance(model, MLP):
        return model.build(names).eval()
    return nn.Linear(len(names), 1, bias=model.fit_intercept)


def load_parameters(network: torch.nn.Module, fitted: Any) -> None:
    """Give the network what the configured model has learned."""
    import torch

    if isinstance(fitted, FittedNetwork):
        network.load_state_dict(fitted.network.state_dict())
        return
    values = {"weight": fitted.solution.theta[None, :], "bias": np.array([fitted.solution.intercept])}
    network.load_state_dict({name: torch.from_numpy(values[name]).float() for name in network.state_dict()})


def fitted_of(model: Any, network: torch.nn.Module, names: tuple[str, ...]) -> FittedModel:
    """Return a network as what the configured model would have fitted."""
    if isinstance(model, MLP):
        return FittedNetwork(model, copy.deepcopy(network).eval(), names)
    found = {name: value.numpy().astype(np.float64) for name, value in network.state_dict().items()}
    intercept = float(found["bias"][0]) if "bias" in found else 0.0
    return FittedLinear(names, Solution(found["weight"][0], intercept, len(names), 1.0))
