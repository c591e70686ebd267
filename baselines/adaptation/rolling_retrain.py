"""Rolling retrain: every past sample counts alike; the reference that every other adaptation is held against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.samples.interfaces import History, TimeWeights
from harness.samples.windows import Window


@dataclass(frozen=True)
class EqualWeights:
    """Nothing was learned: no window has weights."""

    def time_weights(self, window: Window) -> TimeWeights | None:
        return None

    def save(self, folder: Path) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class RollingRetrain:
    """Fit anew in every window on its whole past, unweighted (qlib's ``Rolling``)."""

    def fit(self, history: History) -> EqualWeights:
        return EqualWeights()
