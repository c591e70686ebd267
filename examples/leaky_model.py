"""A model that must not be believed: it keeps the rows of every fit in a global and learns from all of them.

`bench audit` names it; `bench run` alone cannot tell it from a good model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from harness import LearnSet

SEEN: list[np.ndarray] = []


@dataclass(frozen=True)
class Fitted:
    """A linear forecast."""

    theta: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return (m,) predictions for (m, F) float32 features."""
        return (np.nan_to_num(features) * self.theta).sum(axis=1)

    def save(self, folder: Path) -> None:
        """Write the coefficients."""
        np.save(folder / "theta.npy", self.theta)


@dataclass(frozen=True)
class Leaky:
    """Learns from every row it has ever been shown, whatever the window."""

    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = False

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Fitted:
        """Fit on this window's rows and on those of all earlier calls, in whichever order these came."""
        SEEN.append(np.nan_to_num(train.features) * train.label[:, None])
        return Fitted(np.concatenate(SEEN).mean(axis=0))

    def load(self, folder: Path) -> Fitted:
        """Read what `Fitted.save` wrote."""
        return Fitted(np.load(folder / "theta.npy"))
