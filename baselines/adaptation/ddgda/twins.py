"""Leaky twins of DDG-DA: each with one leak that an implementation may well have, to be priced. Never for results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from baselines.adaptation.ddgda.adaptation import DDGDA
from baselines.adaptation.ddgda.fitted import FittedDDGDA
from baselines.adaptation.ddgda.meta_split import MetaTask, Span
from baselines.adaptation.ddgda.preparation import ProxyData
from baselines.adaptation.ddgda.profile import Profile
from baselines.adaptation.ddgda.similarity import KnownSimilarity, Similarity
from harness.samples.interfaces import Adaptation, History

_ALL_BUT_ONE = 0.999  # of the meta-tasks, however few


def leaky_twins(honest: DDGDA) -> Mapping[str, Adaptation]:
    """Return name → DDG-DA with that leak; none for a profile that leaks as it is."""
    rules = honest.rules
    if rules != Profile():
        return {}
    unpurged = replace(rules, count_survivors=True)
    everything = replace(honest, segments=_ALL_BUT_ONE)
    return {
        "DDG-DA: features chosen at the first test, for earlier meta-tasks": LeakyDDGDA(
            honest, replace(rules, learn_choice_late=True)
        ),
        "DDG-DA: z-scores of those that will have a label": LeakyDDGDA(
            honest, replace(rules, drop_before_scoring=True)
        ),
        "DDG-DA: meta-labels not purged at the first decision": LeakyDDGDA(honest, unpurged),
        "DDG-DA: meta-training in the test period": LeakyDDGDA(everything, replace(unpurged, judge_in_test=True)),
        "DDG-DA: similarity unmasked where labels overlap": LeakyDDGDA(honest, rules, "unmasked"),
        "DDG-DA: similarity to times not yet known": LeakyDDGDA(honest, rules, "early"),
    }


@dataclass(frozen=True)
class LeakyDDGDA:
    """DDG-DA with a leak; it cannot be read back from the store, and so is fitted in every run.

    Attributes:
        honest: What it is a twin of.
        rules: The switches of the profile.
        similarity: ``honest``; ``unmasked``: cells that share labels with their block count; ``early``: a step and a
            look-ahead of similarity from after the decision is known.
    """

    honest: DDGDA
    rules: Profile
    similarity: str = "honest"

    def fit(self, history: History) -> FittedDDGDA:
        """Learn as DDG-DA does, but for the leak."""
        given = {field.name: getattr(self.honest, field.name) for field in fields(self.honest)}
        return _Leaking(**given, switches=self.rules, similarity=self.similarity).fit(history)


@dataclass(frozen=True)
class _Leaking(DDGDA):
    switches: Profile
    similarity: str

    @property
    def rules(self) -> Profile:
        return self.switches

    def _prepared(self, tasks: tuple[MetaTask, ...], span: Span, history: History) -> Sequence[ProxyData]:
        prepared = super()._prepared(tasks, span, history)
        return [replace(data, similarity=_leaking(data.similarity, self.similarity)) for data in prepared]


def _leaking(found: Similarity, how: str) -> Similarity:
    kinds = {"honest": Similarity, "unmasked": _Unmasked, "early": _Early}
    return kinds[how](found.start, found.step, found.look_ahead, found.values)


class _Unmasked(Similarity):
    """Says that labels do not overlap, so that nothing is masked."""

    def as_of(self, decision: int) -> KnownSimilarity:
        known = super().as_of(decision)
        return replace(known, look_ahead=1 - known.step)


class _Early(Similarity):
    """Is known before its time."""

    def as_of(self, decision: int) -> KnownSimilarity:
        return _EarlyKnown(self.start, self.step, self.look_ahead, self.values)


class _EarlyKnown(KnownSimilarity):
    def until(self, stop: int) -> KnownSimilarity:
        """Return rows of later times too, to the blocks that end by `stop`."""
        learned = (stop - self.start) // self.step
        rows = min(stop - self.start + self.step + self.look_ahead, self.values.shape[0])
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values[:rows, :learned])
