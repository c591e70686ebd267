"""What determines proxy data: the recipe, and for every feature choice what it may learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.feature_choice import FeatureChoice
from baselines.adaptation.ddgda.gbdt import GbdtParameters
from baselines.adaptation.ddgda.profile import Profile
from harness.samples.interfaces import History
from harness.samples.preprocess import Pipeline
from harness.samples.windows import Segment
from harness.store.records import describe

_YEAR = np.timedelta64(365, "D")


@dataclass(frozen=True)
class ProxyRecipe:
    """How proxy data and similarity are made.

    Attributes:
        choice: The features.
        preprocess: Makes the proxy features, before the per-time z-score, and the proxy label.
        sim_preprocess: Makes the data on which similarity is measured, from *all* features; None measures it on the
            proxy data.
        sim_task_model, sim_alpha, gbdt: The proxy models of the blocks.
        profile: The switches.
        seed: For LightGBM.
    """

    choice: FeatureChoice
    preprocess: Pipeline
    sim_preprocess: Pipeline | None
    sim_task_model: Literal["linear", "gbdt"]
    sim_alpha: float
    gbdt: GbdtParameters
    profile: Profile
    seed: int


@dataclass(frozen=True)
class Turn:
    """One feature choice.

    Attributes:
        at: It serves decisions from this position on.
        decision, period: What may be learned from for it: `period`, through views as of `decision`.
        last: The newest position whose rows are needed.
    """

    at: int
    decision: int
    period: Segment
    last: int

    def parts(self, recipe: ProxyRecipe, history: History) -> dict[str, object]:
        """Return what determines its proxy data, besides the data and the code."""
        return {
            "decision": self.decision,
            "period": [self.period.start, self.period.stop],
            "last": self.last,
            "recipe": describe(recipe),
            "step": history.step,
        }


def turns_of(served: Sequence[tuple[int, int]], recipe: ProxyRecipe, history: History) -> tuple[Turn, ...]:
    """Return the feature choices, in time order.

    Args:
        served: (decision, last position whose data it needs) of every meta-task and window.
        recipe, history: The rule and the past.
    """
    first = history.windows[0]
    view = history.as_of(first.decision)
    decisions = _refreshes(sorted(d for d, _ in served), view.calendar.times, recipe.choice.refresh_years)
    turns = []
    for at, until in zip(decisions, [*decisions[1:], len(view.calendar)], strict=True):
        decision, period = at, Segment(first.train.start, at - view.look_ahead + 1)
        if recipe.profile.learn_choice_late:
            decision, period = first.decision, first.train
        last = max(needed for made, needed in served if at <= made < until)
        turns.append(Turn(at, decision, period, last))
    return tuple(turns)


def _refreshes(decisions: list[int], times: npt.NDArray[np.datetime64], years: int | None) -> list[int]:
    """Return the decisions at which features are chosen: the first, and each that is `years` after the last choice."""
    chosen = decisions[:1]
    for at in decisions[1:]:
        if years is not None and times[at] - times[chosen[-1]] >= years * _YEAR:
            chosen.append(at)
    return chosen
