"""An adaptation of one's own with a weight per row: what is steady, and as volatile as the newest times, counts more.

Replace what `plan` makes of the views in `known`: everything in them was known at the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import History, Known, SampleWeights, Window, WindowPlan


@dataclass(frozen=True)
class MySampleWeights:
    """How rows are weighted; the fields are the keys of the YAML file."""

    recent: int = 20
    other_regime: float = 0.5
    chained = False  # no window needs another one

    def fit(self, history: History) -> MySampleWeights:
        return self

    def plan(self, window: Window, known: Known) -> WindowPlan:
        start, stop = window.train.start, window.learn_stop
        size = np.abs(np.nan_to_num(known.raw.label(start, stop))).astype(np.float64)
        times = np.repeat(np.arange(stop - start), np.diff(known.raw.offsets(start, stop)))
        by_time = np.bincount(times, size, stop - start) / np.maximum(np.bincount(times, minlength=stop - start), 1)
        is_wild, codes = by_time > np.median(by_time), known.raw.codes(start, stop)
        same = is_wild[times] == (is_wild[-self.recent :].mean() > 0.5)
        by_name = np.bincount(codes, size) / np.maximum(np.bincount(codes), 1)
        return WindowPlan(SampleWeights(start, np.where(same, 1.0, self.other_regime) / (by_name[codes] + size.mean())))

    def save(self, folder: Path) -> None:
        """Write what a report should show; nothing here."""
