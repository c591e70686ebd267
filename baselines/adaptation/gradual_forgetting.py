"""Gradual forgetting: a fixed decay of the weight with age, GF-Lin and GF-Exp of the DDG-DA paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.errors import ConfigError
from harness.errors.limits import Positive, Share, check_limits
from harness.samples.interfaces import History, TimeWeights
from harness.samples.table import Positions
from harness.samples.windows import Window


@dataclass(frozen=True)
class GradualForgetting:
    """Weights that fall with age, in blocks of `step` periods counted from the first train time.

    The learning period of a window holds blocks 0 … K − 1, the newest perhaps unfinished; block k has age K − 1 − k.

    ``linear`` (Koychev, *Gradual forgetting for adaptation to concept drift*, 2000): from 1 + `fade` for the newest
    block evenly down to 1 − `fade` for the oldest, 1 on average.

    ``exponential`` (Klinkenberg, *Learning drifting concepts: example selection vs. example weighting*, 2004):
    ½ to the power of age · step / `half_life`.

    Attributes:
        kind: The shape of the decay.
        fade: ``linear`` only: share of its weight that the oldest block loses, in (0, 1].
        half_life: ``exponential`` only: periods (trading days of daily data) in which the weight halves, > 0.

    Raises:
        ConfigError: When the number that `kind` needs is missing or impossible, or the other one is given.
    """

    kind: Literal["linear", "exponential"]
    fade: Share | None = None
    half_life: Positive | None = None

    def __post_init__(self) -> None:
        check_limits(self, "adaptation")
        needed, other = ("fade", "half_life") if self.kind == "linear" else ("half_life", "fade")
        kind, given = f"{self.kind.capitalize()} forgetting", getattr(self, other)
        if getattr(self, needed) is None:
            expected = "a number in (0, 1]" if self.kind == "linear" else "a positive number of periods"
            text, where = f"{kind} needs `{needed}`.", f"adaptation.{needed}"
            raise ConfigError(text, where=where, got=None, expected=expected)
        if given is not None:
            where = f"adaptation.{other}"
            raise ConfigError(f"{kind} does not know `{other}`.", where=where, got=given, expected="null")

    def fit(self, history: History) -> Decay:
        return Decay(self, history.windows[0].train.start, history.step)


@dataclass(frozen=True)
class Decay:
    """A decay on a grid of blocks of `step` times, the first at calendar position `start`."""

    rule: GradualForgetting
    start: int
    step: int

    def time_weights(self, window: Window) -> TimeWeights:
        starts = block_starts(window, self.start, self.step)
        if self.rule.fade is not None:
            oldest, newest = 1.0 - self.rule.fade, 1.0 + self.rule.fade
            return TimeWeights(starts, np.linspace(oldest, newest, starts.size) if starts.size > 1 else np.ones(1))
        age = np.arange(starts.size, dtype=np.float64)[::-1]
        return TimeWeights(starts, np.exp2(-age * self.step / (self.rule.half_life or np.inf)))

    def save(self, folder: Path) -> None:
        """Write nothing: the weights follow from the configuration."""


def block_starts(window: Window, start: int, block: int) -> Positions:
    """Return (K,) int64 starts of the blocks of a window's learning period, on a grid from position `start` on."""
    first = (window.train.start - start) // block
    return np.arange(start + first * block, window.learn_stop, block, dtype=np.int64)
