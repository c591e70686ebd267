"""An adaptation of one's own with state: the past fades faster, the larger the run's own errors have been.

Replace what `plan` learns from feedback; what the next window needs goes into `state`, never into attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import History, Known, TimeWeights, Window, WindowPlan


@dataclass(frozen=True)
class MyState:
    """How fast errors are forgotten, and the past with them; the fields are the keys of the YAML file."""

    rate: float = 0.2
    half_life: float = 250.0
    block: int = 20

    def fit(self, history: History) -> MyState:
        return self

    def plan(self, window: Window, known: Known) -> WindowPlan:
        feedback, state = known.feedback, known.feedback.state
        seen, error = int(state.get("seen", np.zeros(1))[0]), state.get("error", np.ones(1))
        squares = np.square(feedback.score[seen:] - feedback.label[seen:]).astype(np.float64)
        if np.isfinite(squares).any():
            error = (1 - self.rate) * error + self.rate * np.nanmean(squares)
        starts = np.arange(window.train.start, window.learn_stop, self.block)
        age = window.learn_stop - starts
        weights = TimeWeights(starts, np.exp2(-age * float(error[0]) / self.half_life))
        return WindowPlan(weights, state={"seen": np.array([feedback.score.size]), "error": error})

    def save(self, folder: Path) -> None:
        """Write what a report should show; nothing here."""
