"""From history to proxy data and similarity, as of each feature choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.gbdt import GbdtParameters, fit_booster, gbdt_similarity, important_features
from baselines.adaptation.ddgda.profile import Profile
from baselines.adaptation.ddgda.proxy import known_rows, standardised
from baselines.adaptation.ddgda.similarity import Similarity, linear_similarity
from harness.interfaces import History
from harness.normal_equations import GramBlocks
from harness.preprocess import Pipeline, apply
from harness.samples import AsOfView, SampleTable
from harness.view_log import Artefact
from harness.windows import Segment

__all__ = ["Choice", "FeatureChoice", "ProxyData", "ProxyRecipe", "choose_features", "prepare", "prepare_all"]

_YEAR = np.timedelta64(365, "D")


@dataclass(frozen=True)
class FeatureChoice:
    """How the proxy features are chosen.

    Attributes
    ----------
    names
        The choice itself, when it was made by hand.
    count
        How many; None takes all. Nothing is fitted in either case.
    importance
        Of the booster: number of splits, or total gain.
    preprocess
        Makes the booster's features and label.
    gbdt
        The booster.
    refresh_years
        Choose anew after so many years; None chooses once.
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

    Attributes
    ----------
    decision
        It serves decisions from this position on.
    names
        Most important first.
    used
        How many of them the booster used at all; the rest only fill up the number, in the table's order.
    """

    decision: int
    names: tuple[str, ...]
    used: int


@dataclass(frozen=True)
class ProxyRecipe:
    """How proxy data and similarity are made.

    Attributes
    ----------
    choice
        The features.
    preprocess
        Makes the proxy features, before the per-time z-score, and the proxy label.
    sim_preprocess
        Makes the data on which similarity is measured, from *all* features; None measures it on the proxy data.
    sim_task_model, sim_alpha, gbdt
        The proxy models of the blocks.
    profile
        The switches.
    seed
        For LightGBM.
    """

    choice: FeatureChoice
    preprocess: Pipeline
    sim_preprocess: Pipeline | None
    sim_task_model: Literal["linear", "gbdt"]
    sim_alpha: float
    gbdt: GbdtParameters
    profile: Profile
    seed: int


@dataclass(frozen=True, eq=False)
class ProxyData:
    """What one feature choice gives.

    Attributes
    ----------
    choice
        The features.
    table
        Their rows, z-scored at every time; labels that were not known when it was made are NaN.
    blocks
        Gram blocks of the table.
    similarity
        Of the blocks.
    learned
        The choice and the processors, with what their views recorded.
    """

    choice: Choice
    table: SampleTable
    blocks: GramBlocks
    similarity: Similarity
    learned: tuple[Artefact, ...] = ()


@dataclass(frozen=True)
class _Learning:
    """What may be learned from for one choice: `period`, through views as of `decision`."""

    decision: int
    period: Segment


def prepare_all(served: Sequence[tuple[int, int]], recipe: ProxyRecipe, history: History) -> tuple[ProxyData, ...]:
    """Return proxy data per feature choice, in time order.

    Parameters
    ----------
    served
        (decision, last position whose data it needs) of every meta-task and window.
    recipe, history
        The rule and the past.
    """
    first = history.windows[0]
    view = history.as_of(first.decision)
    decisions = _refreshes(sorted(d for d, _ in served), view.calendar.times, recipe.choice.refresh_years)
    prepared = []
    for at, until in zip(decisions, [*decisions[1:], len(view.calendar)], strict=True):
        learning = _Learning(at, Segment(first.train.start, at - view.look_ahead + 1))
        if recipe.profile.learn_choice_late:
            learning = _Learning(first.decision, first.train)
        last = max(needed for decision, needed in served if at <= decision < until)
        data = prepare(learning.decision, learning.period, last, recipe, history)
        learned = tuple(replace(artefact, decision=at) for artefact in data.learned)
        prepared.append(replace(data, choice=replace(data.choice, decision=at), learned=learned))
    return tuple(prepared)


def prepare(decision: int, period: Segment, last: int, recipe: ProxyRecipe, history: History) -> ProxyData:
    """Return proxy data and similarity from one feature choice.

    Parameters
    ----------
    decision, period
        Features are chosen and processors fitted on `period`, through views as of `decision`.
    last
        Rows up to this position are made. Each depends on its own time and on what was fitted, so it may be newer.
    recipe, history
        The rule and the past; block 0 begins with `period`.
    """
    start, newest, seen = period.start, history.as_of(last), history.as_of(decision)
    choice = choose_features(seen, period, recipe.choice, recipe.seed)
    learned = [Artefact("feature choice", decision, seen.reads)]
    _tell(choice, history)
    raw = known_rows(newest, start, None if choice.names == newest.feature_names else choice.names)
    data = apply(raw, recipe.preprocess.fit(fitted_on := raw.as_of(decision), period))
    learned.append(Artefact("proxy processors", decision, fitted_on.reads))
    table = standardised(data.labelled if recipe.profile.drop_before_scoring else data)
    blocks = _blocks(table, start, history.step)
    compared, compared_blocks = table, blocks
    if recipe.sim_preprocess is not None:
        raw = known_rows(newest, start)
        compared = apply(raw, recipe.sim_preprocess.fit(fitted_on := raw.as_of(decision), period))
        learned.append(Artefact("similarity processors", decision, fitted_on.reads))
        compared_blocks = _blocks(compared, start, history.step)
    view = compared.as_of(last)
    if recipe.sim_task_model == "linear":
        similarity = linear_similarity(view, start, compared_blocks, step=history.step, alpha=recipe.sim_alpha)
    else:
        similarity = gbdt_similarity(
            view, start, history.step, recipe.gbdt, seed=recipe.seed, observer=history.observer
        )
    return ProxyData(choice, table, blocks, similarity, tuple(learned))


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


def _blocks(table: SampleTable, start: int, step: int) -> GramBlocks:
    return GramBlocks(table.features, table.label, table.index.offsets, step=step, origin=start)


def _refreshes(decisions: list[int], times: npt.NDArray[np.datetime64], years: int | None) -> list[int]:
    """Return the decisions at which features are chosen: the first, and each that is `years` after the last choice."""
    chosen = decisions[:1]
    for at in decisions[1:]:
        if years is not None and times[at] - times[chosen[-1]] >= years * _YEAR:
            chosen.append(at)
    return chosen


def _tell(choice: Choice, history: History) -> None:
    if choice.used < len(choice.names):
        history.observer.notice(
            f"DDG-DA: the feature choice used only {choice.used} of {len(choice.names)} features; "
            "the others fill up the number in the table's order"
        )
