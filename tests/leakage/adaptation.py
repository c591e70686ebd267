"""Leaks in what weights the past: own adaptations, and every step of DDG-DA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import baselines.adaptation.ddgda.adaptation as ddgda
import baselines.adaptation.ddgda.meta_task as meta_task
import baselines.adaptation.ddgda.preparation as preparation
from baselines.adaptation.ddgda.fitted import FittedDDGDA
from baselines.adaptation.ddgda.meta_task import MetaTask, Phase, Span
from baselines.adaptation.ddgda.preparation import KnownSimilarity, Similarity
from baselines.adaptation.ddgda.proxy import choose_features
from harness.audit.cost import ProcessorsOfAllTimes, whole_table
from harness.samples.interfaces import History, TimeWeights
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment, Window
from tests.leakage.mutant import Change, Mutant
from tests.leakage.parts import Weighted

Patch = Callable[[pytest.MonkeyPatch], None]

SMALL = (
    "adaptation.hist_step_n=3",
    "adaptation.max_epoch=2",
    "adaptation.loss_skip_thresh=5",
    "adaptation.fea_imp_n=3",
    "adaptation.choice_gbdt.rounds=3",
    "adaptation.choice_gbdt.num_leaves=6",
    "adaptation.choice_gbdt.max_depth=3",
    # On so few rows no split would pay for the default's penalties.
    "adaptation.choice_gbdt.lambda_l1=0",
    "adaptation.choice_gbdt.lambda_l2=1",
)
POINT_IN_TIME = ("adaptation=ddgda", *SMALL)
QLIB = ("adaptation=ddgda_qlib", *SMALL)


@dataclass(frozen=True)
class Oracle:
    """Weights the newer past by what the window's own test period turned out to be; `how` it gets there."""

    how: str

    def fit(self, history: History) -> Weighted:
        calendar = history.as_of(history.windows[0].decision).calendar
        last = history.windows[-1].decision
        weights = {}
        for window in history.windows:
            after = min(window.test.last + 6, len(calendar) - 1)
            if self.how == "weights from a view after the test segment":
                view = history.as_of(after)
            elif self.how == "weights from the table behind the view":
                view = whole_table(history.as_of(window.decision)).as_of(after)
            else:
                view = history.as_of(last)
            start = max(view.label_stop - 20, window.train.start)
            label = view.labelled(start, view.label_stop).label(start, view.label_stop)
            weights[window.index] = float(np.exp(np.mean(label)))
        return Weighted(weights)


ORACLES = (
    "weights from a view after the test segment",
    "weights from the table behind the view",
    "weights tuned up to the last decision",
)


WEIGHTS: dict[int, float] = {}


@dataclass(frozen=True)
class Remembering:
    """Learns the weights of the first market that it sees, its future included, and uses them ever after."""

    def fit(self, history: History) -> Weighted:
        if not WEIGHTS:
            table = whole_table(history.as_of(history.windows[0].decision))
            for window in history.windows:
                rows = table.index.rows(window.test.start, window.test.stop)
                WEIGHTS[window.index] = float(np.exp(np.nan_to_num(table.label[rows]).mean()))
        return Weighted(dict(WEIGHTS))


def forget(folder: Path) -> None:
    """Empty the global."""
    WEIGHTS.clear()


def oracle(how: str) -> Change:
    return lambda config: replace(config, adaptation=Oracle(how))


def late_choice(patch: pytest.MonkeyPatch) -> None:
    def on_everything(view: AsOfView, period: Segment, setting: Any, seed: int) -> Any:
        table = whole_table(view)
        newest = len(table.calendar) - 1
        stop = newest - table.look_ahead + 1
        known = choose_features(table.as_of(newest), Segment(period.start, stop), setting, seed)
        return replace(known, decision=view.decision)

    patch.setattr(preparation, "choose_features", on_everything)


def late_regime(patch: pytest.MonkeyPatch) -> None:
    """Features are chosen as of the last decision and used from the first meta-task on."""
    made = preparation.Preparation.made

    def late(self: preparation.Preparation) -> Any:
        newest = self.history.windows[-1].decision
        return made(replace(self, decision=newest, period=Segment(self.period.start, newest - 5)))

    patch.setattr(preparation.Preparation, "made", late)


def z_scored_over_time(patch: pytest.MonkeyPatch) -> None:
    def over_time(table: SampleTable) -> SampleTable:
        mean, scale = np.nanmean(table.features, axis=0), np.nanstd(table.features, axis=0)
        scored = np.nan_to_num((table.features - mean) / scale).astype(np.float32)
        return table.with_columns(scored, table.feature_names, table.label)

    patch.setattr(preparation, "standardised", over_time)


def unborn_similarity(patch: pytest.MonkeyPatch) -> None:
    def whole(self: Similarity, decision: int) -> KnownSimilarity:
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values)

    def uncut(self: KnownSimilarity, stop: int) -> KnownSimilarity:
        rows = min(stop - self.start + 20, self.values.shape[0])
        return replace(self, values=self.values[:rows, : (stop - self.start) // self.step])

    patch.setattr(Similarity, "as_of", whole)
    patch.setattr(KnownSimilarity, "until", uncut)


def short_mask(patch: pytest.MonkeyPatch) -> None:
    """Only the block's own times are masked, not those whose labels reach into it."""
    full = vars(KnownSimilarity)["overlap"].fget

    def own(known: KnownSimilarity) -> Any:
        return full(replace(known, look_ahead=1))

    patch.setattr(KnownSimilarity, "overlap", property(own))


def unpurged_tasks(patch: pytest.MonkeyPatch) -> None:
    tasks = meta_task.candidate_tasks

    def unpurged(span: Span) -> tuple[MetaTask, ...]:
        return tuple(replace(t, train=Segment(t.train.start, t.test.start)) for t in tasks(span))

    patch.setattr(meta_task, "candidate_tasks", unpurged)


def trained_in_test(patch: pytest.MonkeyPatch) -> None:
    assign = meta_task.assign_phases

    def everything(tasks: Any, segments: Any, span: Span, calendar: Any, flags: Any) -> tuple[MetaTask, ...]:
        newest = len(calendar) - span.look_ahead - 1
        found = assign(tasks, segments, span, calendar, flags)
        return tuple(
            replace(t, phase=Phase.META_TRAIN) if t.phase is not Phase.SHORT_HISTORY and t.test.last <= newest else t
            for t in found
        )

    patch.setattr(meta_task, "assign_phases", everything)


def unpurged_training(patch: pytest.MonkeyPatch) -> None:
    marked = meta_task._marked

    def unpurged(tasks: Any, phase: Phase, becomes: Phase, newest: int) -> list[MetaTask]:
        return list(tasks) if phase is Phase.META_TRAIN else marked(tasks, phase, becomes, newest)

    patch.setattr(meta_task, "_marked", unpurged)


def stopped_on_test(patch: pytest.MonkeyPatch) -> None:
    """The trained weight model is taken only if the test period likes it."""
    train = ddgda.Learning.train

    def judged(self: Any, problems: Any) -> Any:
        model, scores = train(self, problems)
        view = self.history.as_of(self.history.windows[-1].decision)
        start = self.history.windows[0].decision
        label = view.labelled(start, view.label_stop).label(start, view.label_stop)
        return replace(model, coefficients=model.coefficients * float(1.0 + np.mean(label))), scores

    patch.setattr(ddgda.Learning, "train", judged)


def next_windows_weights(patch: pytest.MonkeyPatch) -> None:
    weights = FittedDDGDA.time_weights

    def following(self: FittedDDGDA, window: Window) -> TimeWeights:
        return weights(self, self.windows[min(window.index + 1, len(self.windows) - 1)])

    patch.setattr(FittedDDGDA, "time_weights", following)


def processors_of_all_times(config: Any) -> Any:
    late = ProcessorsOfAllTimes(config.adaptation.preprocess)
    return replace(config, adaptation=replace(config.adaptation, preprocess=late))


def step(name: str, patch: Patch) -> Mutant:
    return Mutant("adaptation", f"DDG-DA: {name}", POINT_IN_TIME, None, patch)


MUTANTS = (
    *(Mutant("adaptation", how, (), oracle(how)) for how in ORACLES),
    Mutant(
        "adaptation",
        "weights kept in a global",
        (),
        lambda config: replace(config, adaptation=Remembering()),
        before=forget,
    ),
    Mutant("adaptation", "DDG-DA: as published", QLIB),
    step("features chosen on all times", late_choice),
    step("features and processors as of the last decision", late_regime),
    Mutant("adaptation", "DDG-DA: proxy processors fitted on all times", POINT_IN_TIME, processors_of_all_times),
    step("z-score over all times", z_scored_over_time),
    step("similarity that is not known yet", unborn_similarity),
    step("mask as long as the block only", short_mask),
    step("inner problems without a purge", unpurged_tasks),
    step("meta-training in the test period", trained_in_test),
    Mutant(
        "adaptation",
        "DDG-DA: meta-training judged on labels not yet known",
        # So that a meta-task ends where the first test begins.
        (*POINT_IN_TIME, "adaptation.meta_1st_train_end='2012-04-17'"),
        None,
        unpurged_training,
    ),
    step("weight model chosen by the test period", stopped_on_test),
    step("weights of the next window", next_windows_weights),
)
