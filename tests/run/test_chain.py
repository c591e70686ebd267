"""Plans: what an adaptation is shown, what it may answer, and a chain of windows that resumes with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from baselines.adaptation.incremental import Continued
from baselines.adaptation.no_retrain import FirstModel
from baselines.models.linear import Linear
from harness.config import compose_config
from harness.errors import ConfigError, DataError, HarnessError, LookAheadError, RefusedError, UnsupportedWeightsError
from harness.run.pipeline import Pipeline
from harness.run.rolling import RollingResult, WalkForward
from harness.run.stages import Cache
from harness.samples.interfaces import SampleWeights, TimeWeights
from harness.samples.plan import Batch, Known, WindowPlan
from harness.samples.table import SampleTable
from harness.samples.windows import Segment, Window
from harness.store.artifacts import ArtifactStore
from tests.run.test_rolling import LOOK_AHEAD, WINDOWS, Fitted, MeanByFeature, Weights, recipe, roll
from tests.run.test_rolling import table as table


@dataclass(frozen=True)
class Planner:
    """Plans by a function of window and what is known, and remembers what it was shown."""

    answer: Callable[[Window, Known], object] = lambda window, known: WindowPlan()
    chained: bool = True
    shown: list[tuple[Window, Known]] = field(default_factory=list, compare=False)

    def plan(self, window: Window, known: Known) -> Any:
        self.shown.append((window, known))
        return self.answer(window, known)

    def save(self, folder: Path) -> None: ...


def planned(table: SampleTable, answer: Callable[[Window, Known], object], **options: Any) -> RollingResult:
    chained = options.pop("chained", True)
    changes = {name: options.pop(name) for name in ("model", "preprocess") if name in options}
    return roll(table, WINDOWS, recipe(adaptation=Planner(answer, chained), **changes), **options)


@pytest.mark.parametrize("refit", ["once", "per_window"])
def test_feedback_is_the_runs_own_predictions_with_exactly_the_labels_that_have_matured(
    table: SampleTable, refit: Any
) -> None:
    planner = Planner()
    made = roll(table, WINDOWS, recipe(refit, adaptation=planner)).predictions
    assert [known.feedback.score.size for _, known in planner.shown[:1]] == [0]
    for window, (_, known) in zip(WINDOWS[1:], planner.shown[1:], strict=True):
        feedback, stop = known.feedback, window.decision - LOOK_AHEAD + 1
        rows = table.index.rows(100, stop)
        assert feedback.start == 100
        np.testing.assert_array_equal(feedback.score, made.score[: rows.stop - rows.start])
        np.testing.assert_array_equal(feedback.codes, table.index.codes[rows])
        np.testing.assert_array_equal(np.diff(feedback.offsets), np.diff(table.index.offsets[100 : stop + 1]))
        np.testing.assert_array_equal(np.isnan(feedback.label), np.isnan(table.label[rows]))
        with pytest.raises(LookAheadError):
            known.raw.label(stop, stop + 1)
        with pytest.raises(ValueError, match="read-only"):
            feedback.score[:] = 0


def test_a_plan_that_says_nothing_is_rolling_retrain(table: SampleTable) -> None:
    plain = roll(table, WINDOWS, recipe())
    assert planned(table, lambda window, known: WindowPlan()).predictions.digest == plain.predictions.digest


def test_what_a_plan_was_made_from_is_recorded_like_a_fit(table: SampleTable) -> None:
    reads = planned(table, lambda window, known: WindowPlan()).reads
    assert [one.plan.label_known for one in reads] == [-1, 120, 140]


def test_a_kept_model_predicts_every_window_and_keeps_its_reads(table: SampleTable) -> None:
    model = MeanByFeature()
    result = roll(table, WINDOWS, recipe(adaptation=FirstModel(), model=model))
    assert len(model.seen) == 1
    assert [one.fitted_in for one in result.reads] == [0, 0, 0]
    assert {one.model.label_known for one in result.reads} == {100}
    plain = roll(table, WINDOWS, recipe()).predictions.score
    first = int(result.predictions.offsets[20])
    np.testing.assert_array_equal(result.predictions.score[:first], plain[:first])
    assert not np.array_equal(result.predictions.score[first:], plain[first:])


def test_continued_sums_are_the_fit_on_the_whole_past(table: SampleTable) -> None:
    result = roll(table, WINDOWS, recipe(adaptation=Continued(), model=Linear()))
    plain = roll(table, WINDOWS, recipe(model=Linear()))
    np.testing.assert_allclose(result.predictions.score, plain.predictions.score, atol=1e-6)
    assert [one.model.label_known for one in result.reads] == [100, 120, 140]
    forgetting = roll(table, WINDOWS, recipe(adaptation=Continued(), model=Linear(keep=0.5)))
    assert np.abs(forgetting.predictions.score - plain.predictions.score).max() > 1e-3


def counting(window: Window, known: Known) -> WindowPlan:
    count = known.feedback.state.get("count", np.zeros(1)) + known.feedback.score.sum(dtype=np.float64)
    keeps = known.feedback.learned is not None and window.index % 2 == 1
    weights = None if keeps else TimeWeights(np.array([0, 50]), np.array([0.5, 1.0 + abs(float(count[0]))]))
    return WindowPlan(weights, refit=not keeps, state={"count": count})


def test_a_chain_resumes_at_the_unfinished_window_with_the_same_bits(table: SampleTable, tmp_path: Path) -> None:
    undisturbed = planned(table, counting)
    walk: dict[str, Any] = {"cache": Cache(ArtifactStore(tmp_path)), "planner_key": "p"}
    roll(table, WINDOWS[:2], recipe(adaptation=Planner(counting)), **walk)
    resumed = planned(table, counting, **walk)
    assert resumed.fitted == 1
    assert resumed.predictions.digest == undisturbed.predictions.digest
    assert resumed.reads == undisturbed.reads
    assert planned(table, counting, **(walk | {"planner_key": "another"})).fitted == 3


def test_a_worker_that_makes_one_window_of_a_chain_finds_or_makes_those_before(
    table: SampleTable, tmp_path: Path
) -> None:
    undisturbed = planned(table, counting)
    cache = Cache(ArtifactStore(tmp_path))
    for at in (1, 2):  # each in a process of its own
        walk = WalkForward(table, WINDOWS, recipe(adaptation=Planner(counting)), cache, planner_key="p")
        found = cache.get(walk.window(at))
    rows = slice(int(undisturbed.predictions.offsets[40]), None)
    np.testing.assert_array_equal(found.score, undisturbed.predictions.score[rows])
    assert walk.fitted == 1


@dataclass(frozen=True)
class Doubling:
    """Learns twice the label from half the features; writes down which times it saw."""

    times: list[tuple[str, int]] = field(default_factory=list)

    def features(self, batch: Batch) -> Any:
        assert batch.features.base is None
        self.times.append(("features", batch.time))
        return batch.features / 2

    def label(self, batch: Batch, label: Any) -> Any:
        return label * 2

    def score(self, batch: Batch, score: Any) -> Any:
        self.times.append(("score", batch.time))
        return (score / 2).astype(np.float32)


@pytest.mark.parametrize("refit", ["once", "per_window"])
def test_a_transform_changes_what_is_learned_and_its_inverse_what_is_predicted(table: SampleTable, refit: Any) -> None:
    transform, model = Doubling(), Linear(estimator="ols")
    plain = roll(table, WINDOWS, recipe(refit, model=model))
    planner = Planner(lambda window, known: WindowPlan(transform=transform))
    result = roll(table, WINDOWS, recipe(refit, model=model, adaptation=planner))
    np.testing.assert_allclose(result.predictions.score, plain.predictions.score, atol=1e-5)
    assert [one.model for one in result.reads] == [one.model for one in plain.reads]


def test_a_transform_has_done_with_one_test_time_before_it_sees_the_next(table: SampleTable) -> None:
    transform = Doubling()
    planned(table, lambda window, known: WindowPlan(transform=transform if window.index == 2 else None))
    tested = transform.times[-30:]
    assert tested == [(what, time) for time in range(140, 155) for what in ("features", "score")]
    assert max(time for _, time in transform.times[:-30]) == 140 - LOOK_AHEAD


def test_weights_per_row_that_are_constant_within_times_are_weights_per_time(table: SampleTable) -> None:
    def answer(window: Window, known: Known) -> WindowPlan:
        times = np.repeat(
            np.arange(window.train.start, window.train.stop), np.diff(known.raw.offsets(0, window.train.stop))
        )
        return WindowPlan(SampleWeights(0, np.where(times < 30, 1.0, 3.0)))

    per_time = roll(table, WINDOWS, recipe(adaptation=Weights((1.0, 3.0, 3.0)), model=Linear()))
    np.testing.assert_allclose(
        planned(table, answer, model=Linear(), chained=False).predictions.score, per_time.predictions.score, atol=1e-6
    )


def test_windows_that_are_planned_alone_know_nothing_of_each_other(table: SampleTable) -> None:
    planner = Planner(chained=False)
    walk = WalkForward(table, WINDOWS, recipe(adaptation=planner))
    walk.score(2)
    assert [window.index for window, _ in planner.shown] == [2]
    assert planner.shown[0][1].feedback.score.size == 0


SHORT = Segment(10, 60)


@pytest.mark.parametrize(
    ("answer", "options", "error", "message"),
    [
        (lambda w, k: None, {}, DataError, "plans no window"),
        (lambda w, k: WindowPlan(refit=False), {}, DataError, "no model to keep"),
        (lambda w, k: WindowPlan(start_from="previous"), {}, RefusedError, "fit_from"),
        (lambda w, k: WindowPlan(state={"a": np.ones(1)}), {"chained": False}, DataError, "planned alone"),
        (lambda w, k: WindowPlan(refit=w.index == 0), {"chained": False}, DataError, "planned alone"),
        (lambda w, k: WindowPlan(learn=Segment(0, w.decision)), {}, LookAheadError, "outside the train segment"),
        (lambda w, k: WindowPlan(learn=SHORT, refit=False), {}, DataError, "keeps the model"),
        (lambda w, k: WindowPlan(learn=SHORT, fitted=Fitted(np.ones(4))), {}, DataError, "brings the model"),
        (lambda w, k: WindowPlan(fitted=cast(Any, "a model")), {}, ConfigError, "it lacks"),
        (lambda w, k: WindowPlan(SampleWeights(0, np.ones(5))), {}, DataError, "do not cover"),
        (lambda w, k: WindowPlan(SampleWeights(50, np.ones(900))), {}, DataError, "do not cover"),
        (lambda w, k: WindowPlan(SampleWeights(0, np.full(9, -1.0))), {}, DataError, "not negative"),
        (lambda w, k: WindowPlan(transform=Shorter()), {}, DataError, "as many numbers"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(
    table: SampleTable, answer: Any, options: dict[str, Any], error: type[HarnessError], message: str
) -> None:
    with pytest.raises(error, match=message):
        planned(table, answer, **options)


class Shorter(Doubling):
    def features(self, batch: Batch) -> Any:
        return batch.features[1:]


def test_a_model_without_weights_is_refused_by_a_plan_with_them(table: SampleTable) -> None:
    @dataclass(frozen=True)
    class Stubborn(MeanByFeature):
        supports_weights: ClassVar[bool] = False

    weights = TimeWeights(np.array([0]), np.array([1.0]))
    with pytest.raises(UnsupportedWeightsError, match="Stubborn"):
        planned(table, lambda window, known: WindowPlan(weights), model=Stubborn())


def test_a_model_that_the_plan_brings_is_the_windows_and_its_reads_go_with_it(table: SampleTable) -> None:
    def answer(window: Window, known: Known) -> WindowPlan:
        if window.index == 2:
            return WindowPlan(refit=False)
        known.view.label(0, window.learn_stop)
        return WindowPlan(fitted=Fitted(np.full(4, 1.0 + window.index)))

    model = MeanByFeature()
    result = planned(table, answer, model=model)
    assert not model.seen
    assert [one.fitted_in for one in result.reads] == [0, 1, 1]
    assert [one.model.label_known for one in result.reads] == [100, 120, 120]
    last = slice(int(result.predictions.offsets[40]), None)
    processed = planned(table, lambda window, known: WindowPlan(fitted=Fitted(np.ones(4)))).predictions.score
    np.testing.assert_allclose(result.predictions.score[last], 2 * processed[last], rtol=1e-6)


def test_only_the_part_that_a_plan_names_is_learned_from(table: SampleTable) -> None:
    model = MeanByFeature()
    planned(table, lambda window, known: WindowPlan(learn=SHORT), model=model)
    assert {one.segment for one in model.seen} == {SHORT}


@pytest.mark.parametrize("cut", [120, 139])
def test_changing_the_future_changes_no_earlier_prediction_of_a_chain(table: SampleTable, cut: int) -> None:
    unknown = slice(int(table.index.offsets[cut - LOOK_AHEAD + 1]), None)
    label = table.label.copy()
    label[unknown] = np.random.default_rng(1).normal(size=label[unknown].size)
    clean = planned(table, counting).predictions
    poisoned = planned(replace(table, label=label), counting).predictions
    known = int(clean.offsets[cut + 1 - clean.start])
    np.testing.assert_array_equal(poisoned.score[:known], clean.score[:known])
    assert not np.array_equal(poisoned.score, clean.score)


def test_workers_are_given_the_windows_of_a_chain_one_after_the_other(tmp_path: Path) -> None:
    where = [f"output.store={tmp_path}/store", "data.instruments=12", "data.days=420", "data.members=8"]
    for adaptation, sizes in (("rolling_retrain", [4]), ("no_retrain", [1, 1, 1, 1])):
        pipeline = Pipeline(compose_config([*where, "windows.step=40", f"adaptation={adaptation}"]))
        batches = [batch for batch in pipeline.batches() if batch[0].name == "window"]
        assert [len(batch) for batch in batches] == sizes
        assert [stage.at for batch in batches for stage in batch] == [0, 1, 2, 3]
