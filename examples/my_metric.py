"""A metric of one's own: how often an instrument lands on the side of the median on which its score put it.

Replace what `compute` returns: one number per test time. The metric is their mean, overall, per window and per year,
with an interval that allows for labels that overlap.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness import Predictions


@dataclass(frozen=True)
class MyMetric:
    """The fields are the keys of the YAML file; `name` and `direction` are asked for."""

    name: str = "hit_rate"
    direction: Literal["higher", "lower", "none"] = "higher"

    def compute(self, predictions: Predictions) -> np.ndarray:
        """Return (S,) float64, one value per test time, NaN where it is undefined."""
        values = np.full(predictions.times.size, np.nan)
        for at, (start, stop) in enumerate(itertools.pairwise(predictions.offsets)):
            score, label = predictions.score[start:stop], predictions.label[start:stop]
            known = ~(np.isnan(score) | np.isnan(label))
            if known.sum() > 1:
                above = [values[known] > np.median(values[known]) for values in (score, label)]
                values[at] = np.mean(above[0] == above[1])
        return values
