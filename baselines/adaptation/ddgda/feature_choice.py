"""Which features the proxies see: the most important ones of a booster, as of the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numba

from baselines.adaptation.ddgda.gbdt import GbdtParameters, fit_booster, important_features
from baselines.adaptation.ddgda.proxy import known_rows
from harness.samples.preprocess import Pipeline, apply
from harness.samples.table import Artefact, AsOfView
from harness.samples.windows import Segment


@dataclass(frozen=True)
class FeatureChoice:
    """How the proxy features are chosen.

    Attributes:
        names: The choice itself, when it was made by hand.
        count: How many; None takes all. Nothing is fitted in either case.
        importance: Of the booster: number of splits, or total gain.
        preprocess: Makes the booster's features and label.
        gbdt: The booster.
        refresh_years: Choose anew after so many years; None chooses once.
    """

    names: tuple[str, ...] | None
    count: int | None
    importance: Literal["split", "gain"]
    preprocess: Pipeline
    gbdt: GbdtParameters
    refresh_years: int | None


@dataclass(frozen=True)
class Choice:
    """Features chosen at one time.

    Attributes:
        decision: It serves decisions from this position on.
        names: Most important first.
        used: How many of them the booster used at all; the rest only fill up the number, in the table's order.
    """

    decision: int
    names: tuple[str, ...]
    used: int


@dataclass(frozen=True)
class Chosen:
    """A choice, and what was read to make it."""

    choice: Choice
    learned: Artefact


def choose_features(view: AsOfView, period: Segment, rule: FeatureChoice, seed: int) -> Choice:
    """Return the most important features of a booster fitted on `period`, through a view as of the choice."""
    names = view.feature_names
    if rule.names is not None:
        return Choice(view.decision, rule.names, len(rule.names))
    if rule.count is None or rule.count >= len(names):
        return Choice(view.decision, names, len(names))
    raw = known_rows(view, period.start)
    data = apply(raw, rule.preprocess.fit(raw.as_of(view.decision), period))
    known = data.as_of(view.decision).labelled(period.start, period.stop)
    booster = fit_booster(
        known.features(period.start, period.stop),
        known.label(period.start, period.stop),
        rule.gbdt,
        seed=seed,
        threads=numba.get_num_threads(),
    )
    chosen, used = important_features(booster, known.feature_names, rule.count, rule.importance)
    return Choice(view.decision, chosen, used)
