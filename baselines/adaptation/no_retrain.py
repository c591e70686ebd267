"""No retraining: the model of the first window for ever; what drift costs whoever does nothing about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.samples.interfaces import History
from harness.samples.plan import Known, WindowPlan
from harness.samples.windows import Window


@dataclass(frozen=True)
class NoRetrain:
    """Fit once, before the first test, and predict every window with that model."""

    def fit(self, history: History) -> FirstModel:
        return FirstModel()


@dataclass(frozen=True)
class FirstModel:
    """Nothing was learned: only the first window fits."""

    def plan(self, window: Window, known: Known) -> WindowPlan:
        return WindowPlan(refit=known.feedback.learned is None)

    def save(self, folder: Path) -> None:
        """Write nothing."""
