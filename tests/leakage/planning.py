"""Leaks in what plans a window: state, triggers, transforms, weights per row, and the harness that carries them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import baselines.adaptation.adaptive_random_forest as forest
import baselines.adaptation.episodes as episodes
import baselines.adaptation.forgetting_mixture as forgetting
import harness.run.chain as chain
import harness.run.forecasts
import harness.run.rolling as rolling
import harness.store.artifacts as artifacts
from baselines.adaptation.incremental import Incremental
from baselines.models.linear import FittedLinear, Linear
from harness.audit.cost import whole_table
from harness.run.chain import Past
from harness.run.experiment import run_experiment
from harness.run.pipeline import Pipeline
from harness.samples.interfaces import FittedModel, History, LearnSet, SampleWeights
from harness.samples.plan import Batch, Feedback, Known, WindowPlan
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment, Window
from tests.audit.market import SMALL, small
from tests.leakage.mutant import Change, Mutant
from tests.leakage.parts import Shifted

__all__ = ["CLEAN", "MUTANTS"]

Plan = Callable[[Window, Known], WindowPlan]
KEPT: dict[str, float] = {}


@dataclass(frozen=True)
class Planned:
    """Plans every window by the function that `how` names in `PLANS`."""

    how: str

    def fit(self, history: History) -> Planner:
        if self.how == "adapters meta-trained on the final test":
            view = history.as_of(history.windows[-1].decision)
            return Planner(self.how, mean_of(whole_table(view), history.windows[0].decision, len(view.calendar)))
        return Planner(self.how)


@dataclass(frozen=True)
class Planner:
    how: str
    learned: float = 0.0
    chained: ClassVar[bool] = True

    def plan(self, window: Window, known: Known) -> WindowPlan:
        return WindowPlan(transform=Shifted(self.learned)) if self.learned else PLANS[self.how](window, known)

    def save(self, folder: Path) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Remembering:
    """Plans by the state that each window's own future left when the chain was walked for the first time."""

    def fit(self, history: History) -> RememberingPlanner:
        return RememberingPlanner()


@dataclass(frozen=True)
class RememberingPlanner:
    def plan(self, window: Window, known: Known) -> WindowPlan:
        return later_state(window, known)

    def save(self, folder: Path) -> None:
        """Write nothing."""


def table_of(known: Known) -> SampleTable:
    """Return the processed table behind the view, the future included."""
    return whole_table(known.view)


def mean_of(table: SampleTable, start: int, stop: int) -> float:
    """Return the mean label of every other instrument in some times: a little of what nobody knows."""
    rows = table.index.rows(start, min(stop, len(table.calendar)))
    found = np.nan_to_num(table.label[rows]).astype(np.float64) * (table.index.codes[rows] % 2)
    return float(found.mean()) if found.size else 0.0


def odd_mean(view: AsOfView, start: int, stop: int) -> float:
    """Return the same of what a view gives."""
    return float(np.mean(np.nan_to_num(view.label(start, stop)) * (view.codes(start, stop) % 2)))


def error_of(known: Known, start: int, stop: int) -> float:
    """Return how well the model of the window before ranks some times, by their labels."""
    table = table_of(known)
    rows = table.index.rows(start, min(stop, len(table.calendar)))
    assert known.feedback.fitted is not None
    score, label = known.feedback.fitted.predict(table.features[rows]), np.nan_to_num(table.label[rows])
    return float(np.mean(np.asarray(score, dtype=np.float64) * label))


def rows_before(window: Window, known: Known) -> Any:
    """Return (rows,) the table's row numbers that the weights of a window are of."""
    index = table_of(known).index
    rows = index.rows(window.train.start, window.train.stop)
    return np.arange(rows.start, rows.stop)


def immature_state(window: Window, known: Known) -> WindowPlan:
    before = known.feedback.state.get("mean", np.zeros(1))
    state = {"mean": before + mean_of(table_of(known), window.decision - 4, window.decision + 1)}
    return WindowPlan(transform=Shifted(float(state["mean"][0])), state=state)


def later_state(window: Window, known: Known) -> WindowPlan:
    found = KEPT.setdefault(str(window.index), mean_of(table_of(known), window.test.start, window.test.stop))
    return WindowPlan(transform=Shifted(found))


def other_cells_state(window: Window, known: Known) -> WindowPlan:
    path = Path("state.npy")
    shift = float(np.load(path)[window.index]) if path.exists() else 0.0
    return WindowPlan(transform=Shifted(shift))


def rung(window: Window, known: Known, start: int, stop: int) -> WindowPlan:
    """Forget the more, the louder the detector rings on some times."""
    if known.feedback.fitted is None:
        return WindowPlan()
    length = 20 + int(1e5 * abs(error_of(known, start, stop))) % 50
    return WindowPlan(learn=Segment(max(window.train.stop - length, window.train.start), window.train.stop))


def current_label(window: Window, known: Known) -> WindowPlan:
    return rung(window, known, window.decision, window.decision + 1)


def by_feedback(window: Window, known: Known) -> WindowPlan:
    """Weights by how well the run has done lately: honest as long as the feedback is."""
    feedback = known.feedback
    recent = feedback.score[-60:].astype(np.float64) * np.nan_to_num(feedback.label[-60:])
    weights = np.ones(rows_before(window, known).size)
    weights[weights.size // 2 :] = np.exp(np.clip(recent.sum(), -2, 2))
    return WindowPlan(SampleWeights(window.train.start, weights))


def of_newest(window: Window, known: Known) -> WindowPlan:
    """A shift by the newest labels that the view gives: honest as long as the view is."""
    stop = known.view.label_stop
    return WindowPlan(transform=Shifted(odd_mean(known.view, stop - 5, stop)))


def within_the_batch(window: Window, known: Known) -> WindowPlan:
    """A z-score over what it is given at once: honest as long as that is one time."""
    return WindowPlan(
        transform=Shifted(
            seen=lambda batch: (batch.features - batch.features.mean(axis=0)) / (batch.features.std(axis=0) + 1e-6)
        )
    )


def next_features(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)

    def smoothed(batch: Batch) -> Any:
        later = table.index.rows(batch.time, min(batch.time + 4, len(table.calendar)))
        return batch.features - table.features[later].mean(axis=0)

    return WindowPlan(transform=Shifted(seen=smoothed))


def score_of_label(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)

    def corrected(batch: Batch, score: Any) -> Any:
        return score - np.float32(0.1) * np.nan_to_num(table.label[table.index.rows(batch.time, batch.time + 1)])

    return WindowPlan(transform=Shifted(scored=corrected))


def label_of_later(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)

    def centred(batch: Batch, label: Any) -> Any:
        return label - mean_of(table, batch.time + 1, batch.time + 20) * (batch.codes % 2)

    return WindowPlan(transform=Shifted(labelled=centred))


def near_the_test(window: Window, known: Known) -> WindowPlan:
    table = table_of(known)
    centre = table.features[table.index.rows(window.test.start, window.test.stop)].mean(axis=0)
    distance = np.square(table.features[rows_before(window, known)] - centre).sum(axis=1)
    return WindowPlan(SampleWeights(window.train.start, np.exp(-distance.astype(np.float64) / distance.mean())))


def best_length(window: Window, known: Known) -> WindowPlan:
    """Learns from as much of the past as would have served the test segment best."""
    table = table_of(known)
    test, losses = table.index.rows(window.test.start, window.test.stop), {}
    for length in range(20, len(window.train) + 1, 3):
        learn = Segment(max(window.train.stop - length, window.train.start), window.train.stop)
        fitted = known.model.fit(LearnSet(known.view, learn), None)
        losses[learn] = np.square(fitted.predict(table.features[test]) - np.nan_to_num(table.label[test])).sum()
    return WindowPlan(learn=min(losses, key=lambda one: float(losses[one])))


def up_to_the_decision(window: Window, known: Known) -> WindowPlan:
    return WindowPlan(learn=Segment(window.train.start, window.decision), start_from="previous")


def view_behind(window: Window, known: Known) -> WindowPlan:
    newest = min(window.test.last, len(known.raw.calendar) - 1)
    return WindowPlan(transform=Shifted(10 * odd_mean(whole_table(known.raw).as_of(newest), newest - 10, newest - 5)))


def tomorrows_features(window: Window, known: Known) -> WindowPlan:
    return WindowPlan(state={"mean": known.view.features(window.decision, window.decision + 2).mean(axis=0)})


PLANS: dict[str, Plan] = {
    "state updated with labels that have not matured": immature_state,
    "state of another cell in a file": other_cells_state,
    "state from tomorrow's features": tomorrows_features,
    "detector fed with the current label": current_label,
    "features less those of the next times": next_features,
    "score corrected by the label": score_of_label,
    "label less that of later times": label_of_later,
    "adapters meta-trained on the final test": lambda window, known: WindowPlan(),
    "weights per row by nearness to the test segment": near_the_test,
    "length of the past chosen on the test segment": best_length,
    "a block that reaches the decision": up_to_the_decision,
    "shift from a view of the test segment": view_behind,
    "weights by feedback": by_feedback,
    "shift by the newest labels": of_newest,
    "normalisation within a time": within_the_batch,
}
HONEST = ("weights by feedback", "shift by the newest labels", "normalisation within a time")


@dataclass(frozen=True)
class WarmStart(Linear):
    """Begins with the sums of everything, then goes on honestly."""

    def fit_from(self, start: FittedModel | None, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        if start is None:
            table = whole_table(train.view)
            newest = len(table.calendar) - 1
            train = LearnSet(table.as_of(newest), Segment(train.segment.start, newest - table.look_ahead + 1))
        return super().fit_from(start, train, valid)


def planned(how: str) -> Change:
    return lambda config: replace(config, adaptation=Planned(how))


def immature_feedback(patch: pytest.MonkeyPatch) -> None:
    def everything(self: Past, at: int, view: AsOfView, fitted: FittedModel | None, *more: Any) -> Feedback:
        found, start = honest(self, at, view, fitted, *more), self.windows[0].test.start
        stop = self.windows[at].test.start
        if at == 0 or stop <= start:
            return found
        rows, index = whole_table(view).index.rows(start, stop), whole_table(view).index
        label, codes = whole_table(view).label[rows], index.codes[rows]
        offsets, score = index.local_offsets(start, stop), self._score[: label.size]
        return replace(found, offsets=offsets, codes=codes, score=score, label=label)

    honest = Past.feedback
    patch.setattr(Past, "feedback", everything)


def late_views(patch: pytest.MonkeyPatch) -> None:
    planned_honestly = rolling.WalkForward._planned

    def late(self: rolling.WalkForward, at: int, table: SampleTable) -> Any:
        window, newest = self.windows[at], len(table.calendar) - 1
        later = replace(window, test=Segment(min(window.test.start + 10, newest - 1), newest))
        windows = (*self.windows[:at], later, *self.windows[at + 1 :])
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self, "windows", windows)
            return planned_honestly(self, at, table)

    patch.setattr(rolling.WalkForward, "_planned", late)


def all_times_at_once(patch: pytest.MonkeyPatch) -> None:
    def one(features: Any, codes: Any, offsets: Any, start: int) -> Any:
        yield slice(0, len(features)), Batch(start, features, codes)

    patch.setattr(harness.run.forecasts, "batches", one)


def next_probabilities(patch: pytest.MonkeyPatch) -> None:
    weights = forgetting.FittedMixture.time_weights

    def following(self: forgetting.FittedMixture, window: Window) -> Any:
        moved = np.roll(self.probabilities, -1, axis=0)
        moved[-1] = self.probabilities[-1]
        return weights(replace(self, probabilities=moved), window)

    patch.setattr(forgetting.FittedMixture, "time_weights", following)


def unpurged_proxies(patch: pytest.MonkeyPatch) -> None:
    """Proxies forecast a block right after the rows they were fitted on, as if labels were known at once."""
    begin = forgetting._Proxies.__init__

    def unpurged(self: Any, settings: Any, start: int, look_ahead: int) -> None:
        begin(self, settings, start, 1)

    def up_to_the_decision(self: Any, stop: int) -> Any:
        return chunks(self, stop + 5)

    chunks = forgetting._Proxies.chunks
    patch.setattr(forgetting._Proxies, "__init__", unpurged)
    patch.setattr(forgetting._Proxies, "chunks", up_to_the_decision)


def matured_too_early(patch: pytest.MonkeyPatch) -> None:
    """Episodes count as matured when the segment that they are judged on begins, and are read past the view."""

    def everything(self: episodes.Episodes, start: int) -> Any:
        table = whole_table(self.view)
        newest = len(table.calendar) - 1
        start = min(start, newest - table.look_ahead - self.block)
        return rows(replace(self, view=table.as_of(newest), stop=start + self.block), start)

    rows, matured = episodes.Episodes._rows, vars(episodes.Episodes)["matured"].fget
    patch.setattr(episodes.Episodes, "_rows", everything)
    later = property(lambda self: matured(replace(self, stop=self.stop + 20)))
    patch.setattr(episodes.Episodes, "matured", later)


def shift_of_the_segment(patch: pytest.MonkeyPatch) -> None:
    """The shift is estimated between the newest known block and the whole test segment."""

    def planned_late(self: episodes.Follower, window: Window, known: Known) -> WindowPlan:
        plan, table = plan_of(self, window, known), whole_table(known.view)
        later = table.features[table.index.rows(window.test.start, window.test.stop)]
        assert plan.transform is not None
        score_of = plan.transform.score

        def scored(batch: Batch, score: Any) -> Any:
            together = replace(batch, features=np.concatenate([batch.features, later]))
            return score_of(together, np.zeros(len(together.features), dtype=np.float32))[: len(score)]

        return replace(plan, transform=Shifted(scored=scored))

    plan_of = episodes.Follower.plan
    patch.setattr(episodes.Follower, "plan", planned_late)


def grown_on_the_test(patch: pytest.MonkeyPatch) -> None:
    def later(self: forest.Grower, view: AsOfView, start: int, stop: int) -> Any:
        table = whole_table(view)
        newest = len(table.calendar) - 1
        return rows(self, table.as_of(newest), start, min(stop + 15, newest - table.look_ahead))

    rows = forest.Grower._rows
    patch.setattr(forest.Grower, "_rows", later)


def learned_from_the_test(patch: pytest.MonkeyPatch) -> None:
    """What was learned last is told one block too early, so that continued models skip it, and start on the newest."""
    check = chain.check_plan

    def unchecked(plan: Any, *arguments: Any, **named: Any) -> None:
        if plan.learn is None:
            check(plan, *arguments, **named)

    learn = rolling.WalkForward._learn_set

    def later(self: Any, view: AsOfView, segment: Segment, *rest: Any) -> LearnSet:
        table = whole_table(view)
        newest = min(segment.stop + 5, len(table.calendar) - 1)
        return learn(self, table.as_of(len(table.calendar) - 1), Segment(segment.start, newest), *rest)

    patch.setattr(rolling, "check_plan", unchecked)
    patch.setattr(rolling.WalkForward, "_learn_set", later)


def one_key_for_all(patch: pytest.MonkeyPatch) -> None:
    """A chain is known by its first window alone, so that another cell's goes on as this one's."""
    key_of = artifacts.key_of

    def blind(stage: str, **parts: Any) -> Any:
        return key_of(stage, **{k: v for k, v in parts.items() if k not in ("before", "planner", "model")})

    patch.setattr(rolling, "key_of", blind)


def another_cell(folder: Path) -> None:
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    run_experiment([*SMALL, *where, "adaptation=incremental", "model.alpha=5000"])


def a_state_file(folder: Path) -> None:
    """What another cell has learned on the whole test range lies beside this one."""
    run = Pipeline(small(folder))
    labels = [mean_of(run.table, window.test.start, window.test.stop) for window in run.windows]
    np.save(folder / "state.npy", labels)


def forget(folder: Path) -> None:
    KEPT.clear()


def mutant(name: str, how: str | None = None, **options: Any) -> Mutant:
    return Mutant("plans", name, (), planned(how or name), **options)


INCREMENTAL, MIXTURE = ("adaptation=incremental",), ("adaptation=forgetting_mixture", "adaptation.block=10")
SMALL_NETWORK = ("model=mlp", "model.hidden_sizes=[8]", "model.max_epochs=4", "model.batch_size=512")
META = ("adaptation.block=5", "adaptation.max_epochs=2")
DOUBLE = ("adaptation=double_adapt", "adaptation.heads=2", *META)
SHIFT = ("adaptation=proceed", "adaptation.concept=4", "adaptation.bottleneck=2", "adaptation.adapter_lr=0.02")
PROCEED = (*SHIFT, *META, *SMALL_NETWORK, "model.lr=0.01")
FOREST = ("adaptation=adaptive_random_forest", "adaptation.trees=2", "adaptation.rows_per_time=4")
MUTANTS: tuple[Mutant, ...] = (
    *(mutant(how, before=a_state_file if "file" in how else None) for how in PLANS if how not in HONEST),
    Mutant(
        "plans",
        "state of a later window kept in a global",
        (),
        lambda config: replace(config, adaptation=Remembering()),
        before=forget,
    ),
    Mutant(
        "plans",
        "warm start from a fit on everything",
        (),
        lambda config: replace(config, adaptation=Incremental(), model=WarmStart()),
    ),
    Mutant(
        "plans", "feedback with labels that have not matured", (), planned("weights by feedback"), immature_feedback
    ),
    Mutant("plans", "plans made ten times after the decision", (), planned("shift by the newest labels"), late_views),
    Mutant(
        "plans", "transform given all test times at once", (), planned("normalisation within a time"), all_times_at_once
    ),
    Mutant("plans", "blocks that reach into the test segment", INCREMENTAL, None, learned_from_the_test),
    Mutant("plans", "windows of another cell's chain", INCREMENTAL, None, one_key_for_all, another_cell),
    Mutant("plans", "half-lives of the next window", MIXTURE, None, next_probabilities),
    Mutant("plans", "half-lives judged without a purge", MIXTURE, None, unpurged_proxies),
    Mutant("plans", "DoubleAdapt: episodes judged before they have matured", DOUBLE, None, matured_too_early),
    Mutant("plans", "Proceed: shift of the whole test segment", PROCEED, None, shift_of_the_segment),
    Mutant("plans", "a forest that has grown on the test segment", FOREST, None, grown_on_the_test),
)
TREES = ("model=lightgbm", "model.num_boost_round=8", "model.early_stopping_rounds=4", "model.num_leaves=7")
LOOSE = ("model.lambda_l1=0", "model.lambda_l2=1", "model.continue_rounds=3")
CLEAN: dict[str, Mutant] = {
    **{how: mutant(how) for how in HONEST},
    "no_retrain": Mutant("", "", ("adaptation=no_retrain",)),
    "incremental": Mutant("", "", INCREMENTAL),
    "incremental that forgets": Mutant("", "", (*INCREMENTAL, "model.keep=0.7", "preprocess.refit=per_window")),
    "incremental trees": Mutant("", "", (*INCREMENTAL, *TREES, *LOOSE)),
    "incremental leaves": Mutant("", "", (*INCREMENTAL, *TREES, *LOOSE, "model.continue_by=leaves")),
    "incremental network": Mutant("", "", (*INCREMENTAL, *SMALL_NETWORK)),
    "forgetting_mixture": Mutant("", "", MIXTURE),
    "triggered": Mutant("", "", ("adaptation=triggered", "adaptation.detector=kswin", "adaptation.warm_up=5")),
    "double_adapt": Mutant("", "", DOUBLE),
    "double_adapt network": Mutant("", "", (*DOUBLE, *SMALL_NETWORK, "preprocess.refit=per_window")),
    "proceed": Mutant("", "", PROCEED),
    "adaptive_random_forest": Mutant("", "", FOREST),
    "incremental in sliding windows": Mutant("", "", (*INCREMENTAL, "windows=sliding", "windows.embargo=3")),
}
