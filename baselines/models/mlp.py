"""A multilayer perceptron on torch; needs the extra ``driftbench[torch]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from baselines.models.network import Network
from harness.errors.limits import Fraction

if TYPE_CHECKING:
    import torch

# What torch calls them.
_ACTIVATIONS = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "tanh": "Tanh"}


@dataclass(frozen=True, kw_only=True)
class MLP(Network):
    """A fully connected network, trained as `Network` says.

    qlib's ``DNNModelPytorch`` differs: it draws batches with replacement, normalises within each (so that a row of
    weight 0 still counts), does not divide by the mean weight, and lowers the learning rate on a plateau.

    Attributes:
        hidden_sizes: Width of each hidden layer; empty makes a linear model.
        activation: Between the layers.
        dropout: Share of the hidden units left out in training, in [0, 1].
    """

    shape: ClassVar = ("hidden_sizes", "activation")

    hidden_sizes: tuple[Annotated[int, Ge(1), Le(65_536)], ...]
    activation: Literal["relu", "leaky_relu", "gelu", "tanh"]
    dropout: Fraction

    def build(self, feature_names: tuple[str, ...]) -> torch.nn.Module:
        from torch import nn

        layers, width = list[nn.Module](), len(feature_names)
        for size in self.hidden_sizes:
            layers += [nn.Linear(width, size), getattr(nn, _ACTIVATIONS[self.activation])(), nn.Dropout(self.dropout)]
            width = size
        return nn.Sequential(*layers, nn.Linear(width, 1))
