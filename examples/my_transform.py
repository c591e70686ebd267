"""An adaptation of one's own with a transform: features are measured against the other instruments of their own time.

Replace what the three methods do to one time's rows; `score` turns a forecast back into the unit of the label.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import Batch, History, Known, Window, WindowPlan


@dataclass(frozen=True)
class MyTransform:
    """How much of a time's mean is taken off, from 0 to 1; the field is the key of the YAML file."""

    share: float = 1.0
    chained = False  # no window needs another one

    def fit(self, history: History) -> MyTransform:
        return self

    def plan(self, window: Window, known: Known) -> WindowPlan:
        return WindowPlan(transform=self)

    def features(self, batch: Batch) -> Any:
        return batch.features - np.float32(self.share) * batch.features.mean(axis=0)

    def label(self, batch: Batch, label: Any) -> Any:
        return label

    def score(self, batch: Batch, score: Any) -> Any:
        return score

    def save(self, folder: Path) -> None:
        """Write what a report should show; nothing here."""
