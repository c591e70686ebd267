"""Proceed (Zhao and Shen, KDD 2025): the model is adapted to the shift between known data and what is predicted."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baselines.adaptation.episodes import MetaLearned, Rows
from baselines.models.mlp import MLP
from baselines.models.network import isolated_torch, pick_device
from harness.errors import RefusedError
from harness.errors.limits import Count, Seed, Threads
from harness.samples.interfaces import Model
from harness.samples.plan import Batch, Transform
from harness.samples.table import Floats

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Proceed(MetaLearned):
    """Labels are late, so what a model was last fitted on has another concept than what it predicts: estimate how.

    The concept of the newest known block is the mean of E(x, y) over its rows, that of a predicted time the mean of
    E′(x) over the time's own rows; both encoders have one hidden layer. From their difference δ a bottleneck that all
    layers share makes coefficients for every layer, about 1:

        (α_l, β_l) = 1 + V_l σ(U δ + b_l),   layer l: z ↦ β_l ⊙ (W_l (α_l ⊙ z) + c_l)

    V_l starts as 0, so the model starts as it is. Encoders, bottleneck and model are meta-learned, see `MetaLearned`:
    in epochs the known block of one episode meets the later block of another, so that drifts of many kinds are learned
    from; then in time order, with the gap that labels leave. By the paper: arXiv 2412.08435, with an MLP as model.

    Attributes:
        concept: Width of a concept, and of the encoders' hidden layer.
        bottleneck: Width of the bottleneck.
    """

    concept: Count
    bottleneck: Count

    def check_model(self, model: Model) -> None:
        if not isinstance(model, MLP):
            what = "Proceed scales what goes into and out of each layer of a multilayer perceptron."
            raise RefusedError(what, where="model", got=type(model).__name__, expected="mlp")

    def learner(self, network: torch.nn.Module, width: int) -> torch.nn.Module:
        return _learner(self, network, width)

    def transform(self, learner: Any, newest: Rows, seed: int) -> tuple[torch.nn.Module, Transform]:
        import torch

        with torch.no_grad():
            known = learner.known_concept(newest) if len(newest.y) else None
        return learner.network, Adapted(copy.deepcopy(learner), known, self.threads, seed)


@dataclass(frozen=True, eq=False)
class Adapted:
    """Scores every time by the model that is adapted to the time's own features."""

    learner: Any
    known: torch.Tensor | None  # (concept,) of the newest known block; None where it has no label
    threads: Threads
    seed: Seed

    def features(self, batch: Batch) -> Floats:
        return batch.features

    def label(self, batch: Batch, label: Floats) -> Floats:
        return label

    def score(self, batch: Batch, score: Floats) -> Floats:
        import torch

        if self.known is None or not len(score):
            return score
        with torch.no_grad(), isolated_torch(self.seed, self.threads, pick_device("cpu")):
            x = torch.tensor(batch.features)  # it is read-only, which torch would warn of
            found: Floats = self.learner.predict(self.known, x, torch.zeros(len(x), dtype=torch.int64)).numpy()
            return found


def _learner(settings: Proceed, network: Any, width: int) -> torch.nn.Module:
    import torch
    from torch import nn
    from torch.nn.functional import mse_loss

    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    concept, bottleneck = settings.concept, settings.bottleneck

    def encoder(inputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, concept), nn.ReLU(), nn.Linear(concept, concept))

    class Learner(nn.Module):
        mixes = True

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.known, self.own = encoder(width + 1), encoder(width)
            self.down = nn.Linear(concept, bottleneck, bias=False)
            self.biases = nn.Parameter(torch.zeros(len(layers), bottleneck))
            sizes = [(layer.in_features, layer.out_features) for layer in layers]
            self.up = nn.ParameterList([nn.Parameter(torch.zeros(bottleneck, a + b)) for a, b in sizes])

        def known_concept(self, known: Rows) -> torch.Tensor:
            found: torch.Tensor = self.known(torch.cat([known.x, known.y[:, None]], 1)).mean(0)
            return found

        def predict(self, known: torch.Tensor, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
            """Return (m,) scores; `times`: (m,) numbers of the rows' times, each of which is adapted to alone."""
            count = int(times.max()) + 1
            sums = torch.zeros(count, concept).index_add(0, times, self.own(x))
            rows = torch.zeros(count).index_add(0, times, torch.ones(len(x)))
            drift = self.down(sums / rows.clamp(min=1)[:, None] - known)  # (times, bottleneck)
            at, z = 0, x
            for layer in self.network:
                if isinstance(layer, nn.Linear):
                    scale = 1 + torch.sigmoid(drift + self.biases[at]) @ self.up[at]
                    into, out = scale[times].split([layer.in_features, layer.out_features], 1)
                    z, at = out * layer(into * z), at + 1
                else:
                    z = layer(z)
            return z.squeeze(1)

        def loss(self, known: Rows, judged: Rows) -> torch.Tensor:
            return mse_loss(self.predict(self.known_concept(known), judged.x, judged.times), judged.y)

    return Learner()
