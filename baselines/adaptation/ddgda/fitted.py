"""What DDG-DA has learned: weights for any window, and the record of how it came to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baselines.adaptation.ddgda.artefacts import artefacts_of
from baselines.adaptation.ddgda.feature_choice import Choice
from baselines.adaptation.ddgda.meta_input import FillMethod, MetaInput, meta_input
from baselines.adaptation.ddgda.meta_score import MetaScore
from baselines.adaptation.ddgda.meta_split import MetaTask, Phase
from baselines.adaptation.ddgda.profile import Profile
from baselines.adaptation.ddgda.similarity import KnownSimilarity, Similarity
from baselines.adaptation.ddgda.weight_model import WeightModel
from harness.data.calendar import Calendar
from harness.errors import ConfigError
from harness.samples.interfaces import TimeWeights
from harness.samples.table import Artefact
from harness.samples.windows import Window


@dataclass(frozen=True)
class Learned:
    """How similarity becomes the input of the weight model, and its output time weights.

    Attributes:
        hist_step_n, fill_method, undefined_is_best: See `meta_input`.
        plain_tail: Rows after the last block weigh 1 instead of like the last block.
    """

    hist_step_n: int
    fill_method: FillMethod
    undefined_is_best: bool
    plain_tail: bool

    def meta(self, known: KnownSimilarity) -> MetaInput:
        """Return the input of the weight model."""
        return meta_input(known, self.hist_step_n, self.fill_method, undefined_is_best=self.undefined_is_best)


@dataclass(frozen=True, eq=False)
class Era:
    """A feature choice, the similarity measured with it, and what was fitted on the way."""

    choice: Choice
    similarity: Similarity
    learned: tuple[Artefact, ...] = ()


@dataclass(frozen=True, eq=False)
class FittedDDGDA:
    """The fitted adaptation.

    Attributes:
        model: The trained weight model.
        rule: From similarity to time weights.
        eras: In time order; a window uses the newest whose choice was made by its decision.
        tasks: Every meta-task with its use, or why it was left out.
        history: Loss and rank IC before training and after every epoch, by phase.
        windows: The windows it was fitted for; their weights are saved.
        calendar: To name positions.
        leaks: What was learned from data not known at its decision; empty in the leak-free profile.
    """

    model: WeightModel
    rule: Learned
    eras: tuple[Era, ...]
    tasks: tuple[MetaTask, ...]
    history: tuple[MetaScore, ...]
    windows: tuple[Window, ...]
    calendar: Calendar
    leaks: tuple[str, ...]

    def time_weights(self, window: Window) -> TimeWeights:
        """Return the weight of every block, from the similarity known at the window's decision.

        Raises:
            ConfigError: When the window has less history than the weight model looks back on.
        """
        meta = self.rule.meta(self._enough(window))
        starts, values = meta.block_starts, self.model.weights(meta.profile)
        if self.rule.plain_tail:
            step = self.eras[0].similarity.step
            starts, values = np.append(starts, starts[-1] + step), np.append(values, 1.0)
        return TimeWeights(starts, values)

    def notes(self) -> list[str]:
        """Return what a user should know: tasks left out, undefined similarities, leaks."""
        notes = []
        for phase, count in Counter(task.phase for task in self.tasks).items():
            if phase not in (Phase.META_TRAIN, Phase.META_TEST):
                named = [self.calendar.format(task.decision) for task in self.tasks if task.phase is phase]
                notes.append(f"{count} meta-task(s) {phase} ({named[0]} … {named[-1]})")
        for era in self.eras:
            if era.similarity.undefined:
                share = era.similarity.undefined / era.similarity.values.size
                columns = int(np.isnan(era.similarity.values).all(axis=0).sum())
                notes.append(
                    f"{era.similarity.undefined} similarities ({share:.1%}) are undefined, {columns} of "
                    f"{era.similarity.values.shape[1]} blocks wholly: their proxies or the labels are constant"
                )
        return [*notes, *(f"leak: {leak}" for leak in self.leaks)]

    def save(self, folder: Path) -> None:
        """Write weights, weight model, similarity, meta-training history and meta-tasks; `records.load` reads them."""
        from baselines.adaptation.ddgda import records

        records.save(self, folder)

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """Everything that was fitted, with the newest data it read."""
        return artefacts_of(self)

    def known(self, decision: int, stop: int) -> KnownSimilarity:
        """Return the similarity that is known at `decision`, of times before `stop`, by the features chosen by then."""
        era = max((e for e in self.eras if e.choice.decision <= decision), key=lambda e: e.choice.decision)
        return era.similarity.as_of(decision).until(stop)

    def _enough(self, window: Window) -> KnownSimilarity:
        known = self.known(window.decision, window.learn_stop)
        needed = self.rule.hist_step_n * known.step
        if known.values.shape[0] < needed:
            raise ConfigError(
                f"Window {window.index} has too little history for the weight model.",
                where="adaptation.hist_step_n",
                got=f"{known.values.shape[0]} periods of similarity",
                expected=f"at least {needed}",
            )
        return known


def named_leaks(
    rules: Profile, tasks: tuple[MetaTask, ...], first: Window, calendar: Calendar, look_ahead: int
) -> tuple[str, ...]:
    """Return one sentence for everything that a profile learns from the future of a decision."""
    used = [task for task in tasks if task.phase in (Phase.META_TRAIN, Phase.META_TEST)]
    trained = [task for task in tasks if task.phase is Phase.META_TRAIN]
    leaks = []
    if rules.learn_choice_late:
        leaks.append(
            f"features are chosen and processors fitted on data up to {calendar.format(first.train.last)}, "
            f"and used by meta-tasks from {calendar.format(used[0].decision)} on"
        )
    if rules.drop_before_scoring:
        leaks.append("the per-time z-score counts only instruments that will have a label")
    inside = [task for task in trained if task.test.stop > first.decision]
    if inside:
        leaks.append(
            f"{len(inside)} meta-training task(s) lie in the final test period, which begins "
            f"{calendar.format(first.decision)}: {', '.join(calendar.format(t.test.start) for t in inside)}"
        )
    elif trained and trained[-1].test.last + look_ahead > first.decision:
        leaks.append(
            f"meta-training is judged on labels of times up to {calendar.format(trained[-1].test.last)}, which are not "
            f"all known at the first decision on {calendar.format(first.decision)}"
        )
    return tuple(leaks)
