"""The weight model: from the recent similarity of a block to the weight of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError

Doubles = npt.NDArray[np.float64]
ClipMethod = Literal["tanh", "clamp", "sigmoid"]


@dataclass(frozen=True)
class WeightShape:
    """How a score u becomes a weight, for a bound c = `clip_weight`.

    ``tanh``: c to the power tanh(u), so between 1/c and c. ``clamp``: eᵘ cut to [1/c, c]. ``sigmoid``: logistic(u)
    scaled to a mean of 1, whatever c. With `clip_weight` None: eᵘ.
    """

    method: ClipMethod
    clip_weight: float | None

    def __post_init__(self) -> None:
        """Refuse a bound that is none."""
        if self.clip_weight is not None and not 1.0 < self.clip_weight < np.inf:
            raise ConfigError(
                "A weight cannot be kept within this bound.",
                where="adaptation.clip_weight",
                got=self.clip_weight,
                expected="a number above 1, or null for no bound",
            )


@dataclass(frozen=True, eq=False)
class WeightModel:
    """A trained weight model: u = scale · (aᵀP + bias − mean over blocks), w = shape(u).

    Attributes:
        coefficients: (H,) float64, a: one per history step, oldest first.
        bias: Cancelled by the mean; kept because the published model has it.
        scale: k.
        shape: From u to w.
    """

    coefficients: Doubles
    bias: float
    scale: float
    shape: WeightShape

    def weights(self, profile: Doubles) -> Doubles:
        """Return (K,) float64 weights of the K blocks of an (H, K) meta input."""
        score = self.coefficients @ profile + self.bias
        score = (score - score.mean()) * self.scale
        bound = self.shape.clip_weight
        weights: Doubles
        if bound is None:
            weights = np.exp(score)
        elif self.shape.method == "tanh":
            weights = np.exp(np.tanh(score) * np.log(bound))
        elif self.shape.method == "clamp":
            weights = np.clip(np.exp(score), 1.0 / bound, bound)
        else:
            logistic = 0.5 * (1.0 + np.tanh(0.5 * score))
            weights = logistic / logistic.mean()
        return weights
