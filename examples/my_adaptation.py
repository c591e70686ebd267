"""An adaptation of one's own: the last `recent` times count fully, all before them only a share.

Replace what `fit` learns from history and what `time_weights` makes of it for a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import ConfigError, History, TimeWeights, Window


@dataclass(frozen=True)
class MyAdaptation:
    """How past samples are weighted; the fields are the keys of the YAML file."""

    recent: int = 240
    share: float = 0.25

    def __post_init__(self) -> None:
        if self.recent < 1:
            raise ConfigError("Nothing is recent.", where="adaptation.recent", got=self.recent, expected="≥ 1 time")
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError("Impossible share.", where="adaptation.share", got=self.share, expected="0 ≤ share ≤ 1")

    def fit(self, history: History) -> FittedMyAdaptation:
        """Learn from history before any window is predicted; `history.as_of(t)` is what was known at position t."""
        return FittedMyAdaptation(self.recent, self.share)


@dataclass(frozen=True)
class FittedMyAdaptation:
    """What was learned: here nothing but the two numbers."""

    recent: int
    share: float

    def time_weights(self, window: Window) -> TimeWeights:
        """Return one weight per block of times: before and after the border."""
        border = window.learn_stop - self.recent
        if border <= window.train.start:
            return TimeWeights(np.array([window.train.start]), np.array([1.0]))
        return TimeWeights(np.array([window.train.start, border]), np.array([self.share, 1.0]))

    def save(self, folder: Path) -> None:
        """Write what a report should show; nothing here."""
