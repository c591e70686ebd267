"""Incremental learning: continue the model of the window before on the newest block alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.samples.interfaces import History
from harness.samples.plan import Known, WindowPlan
from harness.samples.windows import Segment, Window


@dataclass(frozen=True)
class Incremental:
    """Fit on the whole past once, then go on in every window with the times that have been learned from by none before.

    How a model goes on is its own affair, see its `fit_from`: linear regression adds the block's sums, boosting grows
    further trees or moves the leaves, a network descends further.
    """

    def fit(self, history: History) -> Continued:
        return Continued()


@dataclass(frozen=True)
class Continued:
    """Nothing was learned: what is new follows from what the window before has learned from."""

    def plan(self, window: Window, known: Known) -> WindowPlan:
        learned, train = known.feedback.learned, window.train
        if learned is None:
            return WindowPlan(start_from="previous")
        if train.stop <= learned.stop:
            return WindowPlan(refit=False)
        newest = Segment(max(learned.stop, train.start), train.stop)
        return WindowPlan(learn=newest, start_from="previous")

    def save(self, folder: Path) -> None:
        """Write nothing."""
