"""A model of one's own: the covariance of each feature with the label, shrunk.

Replace what `fit` learns and what `predict` makes of it; the fields of the class are the keys of its YAML file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from harness import ConfigError, LearnSet


@dataclass(frozen=True)
class FittedMyModel:
    """What was learned."""

    covariance: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return one score for each row of `features` (m, F); a higher one is a better instrument."""
        return np.nan_to_num(features) @ self.covariance

    def save(self, folder: Path) -> None:
        """Write what `load` needs, without pickle."""
        np.save(folder / "covariance.npy", self.covariance)


@dataclass(frozen=True)
class MyModel:
    """How to fit: parameters only, so that one instance serves every window."""

    shrinkage: float = 0.1

    # True asks for a validation segment, to stop early on.
    needs_valid: ClassVar[bool] = False
    # False makes the harness refuse adaptations that weight, instead of ignoring their weights.
    supports_weights: ClassVar[bool] = True
    # True learns from the validation segment too, as nothing is stopped early: from everything known at the decision.
    include_valid: ClassVar[bool] = True
    # How many threads OpenMP and BLAS may use in `fit` and `predict`.
    threads: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.shrinkage < 1.0:
            raise ConfigError(
                "Impossible shrinkage.", where="model.shrinkage", got=self.shrinkage, expected="0 ≤ shrinkage < 1"
            )

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedMyModel:
        """Learn from `train`: everything in it is known at the decision time, nothing else is to be had."""
        weights = np.ones(train.label.size) if train.weights is None else train.weights
        covariance = np.nan_to_num(train.features).T @ (weights * train.label) / weights.sum()
        return FittedMyModel((1.0 - self.shrinkage) * covariance)

    def load(self, folder: Path) -> FittedMyModel:
        """Read what `save` wrote."""
        return FittedMyModel(np.load(folder / "covariance.npy", allow_pickle=False))
