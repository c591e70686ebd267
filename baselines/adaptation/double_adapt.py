"""DoubleAdapt (Zhao, Kong and Shen, KDD 2023): data and model are adapted to each other, by meta-learning."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baselines.adaptation.episodes import MetaLearned, Rows
from baselines.models.network import isolated_torch, pick_device
from harness.errors.limits import Count, NonNegative, Positive, Seed, Threads
from harness.samples.plan import Batch, Transform
from harness.samples.table import Floats

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DoubleAdapt(MetaLearned):
    """Incremental learning in which features, label and the model's starting point are learned to suit each other.

    N heads, with prototypes p_i, transform features and label, and forecasts back:

        s_i(x) ∝ exp(cos(x, p_i) / τ)
        G(x) = x + Σ s_i (W_i x + b_i),   H(y | x) = Σ s_i (γ_i y + β_i),   H⁻¹(ŷ | x) = Σ s_i (ŷ − β_i) / γ_i

    A window's model starts at φ and takes `inner_steps` gradient steps on the newest known block, transformed: θ. It
    forecasts H⁻¹(f(G(x); θ) | x). φ and the heads are meta-learned, see `MetaLearned`, so that the squared error of
    that forecast in the block after the gap is small, plus `reg` times the mean of (H(y) − y)² over the known block.

    First order: θ counts as φ plus a constant, so no second derivatives are taken, and the heads learn from the
    forecast side and from `reg`. Heads start as identity, and γ is the exponential of a parameter, so that H⁻¹ exists.
    By the paper: arXiv 2306.09862; what begins with random parameters there begins with the configured model's fit.

    Attributes:
        heads: N.
        temperature: τ.
        reg: Strength of what holds H near the identity.
        inner_lr: Rate of the gradient steps from φ to θ, over the mean of |G(x)|²: below 1 it is stable for a linear
            model, whatever the features.
        inner_steps: How many.
    """

    heads: Count
    temperature: Positive
    reg: NonNegative
    inner_lr: Positive
    inner_steps: Count

    def learner(self, network: torch.nn.Module, width: int) -> torch.nn.Module:
        return _learner(self, network, width)

    def transform(self, learner: Any, newest: Rows, seed: int) -> tuple[torch.nn.Module, Transform]:
        network = copy.deepcopy(learner.network)  # the learner's own is φ, which stays
        if len(newest.y):
            network.load_state_dict(learner.adapted(newest))
        return network, Heads(learner, self.threads, seed)


@dataclass(frozen=True, eq=False)
class Heads:
    """The transform of features, label and score."""

    learner: Any
    threads: Threads
    seed: Seed

    def features(self, batch: Batch) -> Floats:
        return self._on(batch, self.learner.features)

    def label(self, batch: Batch, label: Floats) -> Floats:
        return self._on(batch, self.learner.label, label)

    def score(self, batch: Batch, score: Floats) -> Floats:
        return self._on(batch, self.learner.score, score)

    def _on(self, batch: Batch, change: Any, *values: Floats) -> Floats:
        import torch

        with torch.no_grad(), isolated_torch(self.seed, self.threads, pick_device("cpu")):
            # The batch is read-only, which torch would warn of.
            found: Floats = change(torch.tensor(batch.features), *(torch.tensor(one).float() for one in values)).numpy()
            return found


def _learner(settings: DoubleAdapt, network: torch.nn.Module, width: int) -> torch.nn.Module:
    import torch
    from torch import nn
    from torch.func import functional_call
    from torch.nn.functional import cosine_similarity, mse_loss

    heads = settings.heads

    class Learner(nn.Module):
        mixes = False

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.prototypes = nn.Parameter(torch.randn(heads, width))
            self.weight = nn.Parameter(torch.zeros(heads, width, width))
            self.bias = nn.Parameter(torch.zeros(heads, width))
            self.log_gamma, self.beta = (nn.Parameter(torch.zeros(heads)) for _ in range(2))

        def shares(self, x: torch.Tensor) -> torch.Tensor:
            near = cosine_similarity(x[:, None, :], self.prototypes[None, :, :], dim=-1)  # (m, N)
            return torch.softmax(near / settings.temperature, dim=1)

        def features(self, x: torch.Tensor) -> torch.Tensor:
            changed = torch.einsum("nfg,mg->mnf", self.weight, x) + self.bias
            return x + (self.shares(x)[:, :, None] * changed).sum(1)

        def label(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (self.shares(x) * (self.log_gamma.exp() * y[:, None] + self.beta)).sum(1)

        def score(self, x: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
            return (self.shares(x) * (score[:, None] - self.beta) / self.log_gamma.exp()).sum(1)

        def predict(self, theta: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = functional_call(self.network, theta, (x,))
            return found.squeeze(1)

        def adapted(self, known: Rows) -> dict[str, torch.Tensor]:
            """θ: the parameters after the gradient steps from φ on the known block."""
            with torch.no_grad():
                x, y = self.features(known.x), self.label(known.x, known.y)
            theta = {name: value.detach().clone() for name, value in self.network.named_parameters()}
            rate = settings.inner_lr / float(x.square().sum(1).mean().clamp(min=1e-12))
            for _ in range(settings.inner_steps):
                theta = {name: value.requires_grad_() for name, value in theta.items()}
                loss = mse_loss(self.predict(theta, x), y)
                slopes = torch.autograd.grad(loss, list(theta.values()))
                moved = zip(theta.items(), slopes, strict=True)
                theta = {name: (value - rate * slope).detach() for (name, value), slope in moved}
            return theta

        def loss(self, known: Rows, judged: Rows) -> torch.Tensor:
            theta = self.adapted(known)
            moving = {name: theta[name] + (one - one.detach()) for name, one in self.network.named_parameters()}
            score = self.score(judged.x, self.predict(moving, self.features(judged.x)))
            return mse_loss(score, judged.y) + settings.reg * mse_loss(self.label(known.x, known.y), known.y)

    return Learner()
