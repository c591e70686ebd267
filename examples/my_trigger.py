"""An adaptation of one's own with a trigger: the model is kept until its newest matured errors are larger than before.

Replace the alarm: `known.feedback` holds forecasts with labels that have matured, and nothing newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import History, Known, Window, WindowPlan


@dataclass(frozen=True)
class MyTrigger:
    """When to fit anew; the fields are the keys of the YAML file."""

    recent: int = 20
    ratio: float = 1.05

    def fit(self, history: History) -> MyTrigger:
        return self

    def plan(self, window: Window, known: Known) -> WindowPlan:
        feedback = known.feedback
        squares = np.square(feedback.score - feedback.label).astype(np.float64)
        newest = int(feedback.offsets[max(feedback.offsets.size - 1 - self.recent, 0)])
        before, now = squares[:newest], squares[newest:]
        if feedback.learned is None or not (np.isfinite(before).any() and np.isfinite(now).any()):
            return WindowPlan(refit=feedback.learned is None)
        return WindowPlan(refit=bool(np.nanmean(now) > self.ratio * np.nanmean(before)))

    def save(self, folder: Path) -> None:
        """Write what a report should show; nothing here."""
