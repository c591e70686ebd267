"""The window loop: every model sees its own past only, and a resumed run gives the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from harness.data.calendar import Calendar
from harness.errors import ConfigError, UnsupportedWeightsError
from harness.run.rolling import Recipe, RollingResult, WalkForward
from harness.run.schedule import learning_segments
from harness.run.stages import Cache
from harness.samples.interfaces import LearnSet, TimeWeights
from harness.samples.preprocess import Pipeline
from harness.samples.processors import CSRankNorm, Fillna, RobustZScoreNorm
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Schedule, Segment, Window, walk_forward
from harness.store.artifacts import ArtifactStore

TIMES, NAMES, FEATURES, LOOK_AHEAD = 160, 12, 4, 6


@pytest.fixture
def table() -> SampleTable:
    rng = np.random.default_rng(0)
    present = rng.random((TIMES, NAMES)) < 0.9
    codes = np.nonzero(present)[1].astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64)
    features = rng.normal(size=(codes.size, FEATURES)).astype(np.float32)
    label = (features @ np.array([1.0, -0.5, 0.0, 0.2]) + rng.normal(size=codes.size)).astype(np.float32)
    label[rng.random(codes.size) < 0.05] = np.nan
    times = np.repeat(np.arange(TIMES), np.diff(offsets))
    label[times >= TIMES - LOOK_AHEAD] = np.nan
    return SampleTable(
        calendar=Calendar(np.arange("2020-01-01", TIMES, dtype="datetime64[D]").astype("datetime64[ns]")),
        instruments=tuple(f"I{i:02}" for i in range(NAMES)),
        index=RowIndex(offsets, codes),
        features=features,
        feature_names=tuple("abcd"),
        label=label,
        look_ahead=LOOK_AHEAD,
    )


WINDOWS = walk_forward(
    Schedule(train=Segment(0, 70), valid=Segment(70, 100), test=Segment(100, 155), step=20, look_ahead=LOOK_AHEAD)
)


@dataclass(frozen=True)
class MeanByFeature:
    """Predicts with the covariance of each feature and the label; counts its fits."""

    include_valid: bool = True
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    seen: list[LearnSet] = field(default_factory=list, compare=False, init=False)

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Fitted:
        self.seen.append(train)
        weights = np.ones(train.label.size) if train.weights is None else train.weights
        return Fitted((train.features * (train.label * weights)[:, None]).astype(np.float64).mean(axis=0))

    def load(self, folder: Path) -> Fitted:
        return Fitted(np.load(folder / "theta.npy"))


@dataclass(frozen=True)
class Fitted:
    theta: Any

    def predict(self, features: Any) -> Any:
        return features.astype(np.float64) @ self.theta

    def save(self, folder: Path) -> None:
        np.save(folder / "theta.npy", self.theta)


@dataclass(frozen=True)
class Weights:
    values: tuple[float, ...] | None = None

    def time_weights(self, window: Window) -> TimeWeights | None:
        if self.values is None:
            return None
        return TimeWeights(np.arange(len(self.values)) * 30, np.array(self.values))

    def save(self, folder: Path) -> None: ...


def recipe(refit: Literal["once", "per_window"] = "once", **changes: Any) -> Recipe:
    pipeline = Pipeline(features=(RobustZScoreNorm(), Fillna()), label=(CSRankNorm(),), refit=refit)
    return replace(Recipe(pipeline, Weights(), MeanByFeature(), step=20), **changes)


def roll(table: SampleTable, windows: tuple[Window, ...], recipe: Recipe, **options: Any) -> RollingResult:
    return WalkForward(table, windows, recipe, **options).run()


def test_predictions_cover_the_test_range_in_order(table: SampleTable) -> None:
    predictions = roll(table, WINDOWS, recipe()).predictions
    assert (predictions.start, predictions.stop) == (100, 155)
    rows = table.index.rows(100, 155)
    np.testing.assert_array_equal(predictions.codes, table.index.codes[rows])
    np.testing.assert_array_equal(predictions.label, table.label[rows])
    assert list(predictions.window_starts) == [100, 120, 140]


@pytest.mark.parametrize("refit", ["once", "per_window"])
def test_no_window_reads_beyond_its_decision(table: SampleTable, refit: Literal["once", "per_window"]) -> None:
    result = roll(table, WINDOWS, recipe(refit))
    assert [r.decision for r in result.reads] == [100, 120, 140]
    for reads in result.reads:
        for part in (reads.preprocess, reads.model):
            assert 0 <= part.feature <= reads.decision
            assert part.label_known <= reads.decision
        assert reads.model.label_known == reads.decision, "the newest matured label was not used"


@pytest.mark.parametrize("refit", ["once", "per_window"])
@pytest.mark.parametrize("cut", [100, 119, 120, 139])
def test_changing_the_future_changes_no_earlier_prediction(
    table: SampleTable, refit: Literal["once", "per_window"], cut: int
) -> None:
    rng = np.random.default_rng(1)
    after = slice(int(table.index.offsets[cut + 1]), None)
    unknown = slice(int(table.index.offsets[cut - LOOK_AHEAD + 1]), None)
    features, label = table.features.copy(), table.label.copy()
    features[after] = rng.normal(5, 9, size=features[after].shape)
    label[unknown] = np.where(rng.random(label[unknown].size) < 0.5, np.nan, rng.normal(size=label[unknown].size))
    clean = roll(table, WINDOWS, recipe(refit)).predictions
    poisoned = roll(table.with_columns(features, table.feature_names, label), WINDOWS, recipe(refit)).predictions
    known = int(clean.offsets[cut + 1 - clean.start])
    np.testing.assert_array_equal(poisoned.score[:known], clean.score[:known])
    assert not np.array_equal(poisoned.score, clean.score)


def test_refitting_per_window_fits_processors_on_each_windows_own_past(table: SampleTable) -> None:
    once, refitted = roll(table, WINDOWS, recipe("once")), roll(table, WINDOWS, recipe("per_window"))
    assert [r.preprocess.feature for r in once.reads] == [94, 94, 94]
    assert [r.preprocess.feature for r in refitted.reads] == [94, 114, 134]
    first = slice(0, int(once.predictions.offsets[20]))
    np.testing.assert_array_equal(once.predictions.score[first], refitted.predictions.score[first])


def test_weights_reach_the_model(table: SampleTable) -> None:
    plain = roll(table, WINDOWS, recipe()).predictions.score
    ones = roll(table, WINDOWS, recipe(adaptation=Weights((1.0, 1.0)))).predictions.score
    halves = roll(table, WINDOWS, recipe(adaptation=Weights((1.0, 0.0)))).predictions.score
    np.testing.assert_array_equal(plain, ones)
    assert not np.array_equal(plain, halves)


def test_a_model_that_cannot_use_weights_is_refused_before_anything_is_fitted(table: SampleTable) -> None:
    @dataclass(frozen=True)
    class Stubborn(MeanByFeature):
        supports_weights: ClassVar[bool] = False

    model = Stubborn()
    with pytest.raises(UnsupportedWeightsError, match="Stubborn"):
        roll(table, WINDOWS, recipe(model=model, adaptation=Weights((1.0, 2.0))))
    assert model.seen == []


def test_a_model_that_stops_early_needs_a_validation_segment(table: SampleTable) -> None:
    @dataclass(frozen=True)
    class Stopping(MeanByFeature):
        needs_valid: ClassVar[bool] = True

    windows = walk_forward(
        Schedule(train=Segment(0, 100), valid=None, test=Segment(100, 155), step=20, look_ahead=LOOK_AHEAD)
    )
    with pytest.raises(ConfigError, match="validation segment"):
        roll(table, windows, recipe(model=Stopping()))


def test_the_newest_past_is_not_wasted_by_a_model_without_validation() -> None:
    window = WINDOWS[0]
    assert learning_segments(window, MeanByFeature())[0] == Segment(0, window.valid.stop if window.valid else 0)
    assert learning_segments(window, MeanByFeature(include_valid=False))[0] == window.train


def test_a_resumed_run_fits_only_what_is_unfinished_and_gives_the_same_bits(table: SampleTable, tmp_path: Path) -> None:
    cache = Cache(ArtifactStore(tmp_path))
    undisturbed = roll(table, WINDOWS, recipe())
    roll(table, WINDOWS[:2], recipe(), cache=cache)
    model = MeanByFeature()
    resumed = roll(table, WINDOWS, recipe(model=model), cache=cache)
    assert (resumed.fitted, len(model.seen)) == (1, 1)
    assert resumed.predictions.digest == undisturbed.predictions.digest
    assert resumed.reads == undisturbed.reads


@pytest.mark.parametrize(
    "change",
    [
        {"table_key": "other"},
        {"code": "other"},
        {"recipe": recipe(adaptation=Weights((1.0, 1.0)))},
        {"recipe": recipe(model=MeanByFeature(include_valid=False))},
        {"recipe": recipe("per_window")},
    ],
)
def test_a_finished_window_is_never_reused_for_another_setting(
    table: SampleTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    cache = Cache(ArtifactStore(tmp_path))
    roll(table, WINDOWS, recipe(), cache=cache, table_key="t")
    if "code" in change:
        monkeypatch.setattr("harness.run.rolling.code_digest", lambda *modules: change["code"])
    given = {"table_key": "t", **{name: value for name, value in change.items() if name == "table_key"}}
    assert roll(table, WINDOWS, change.get("recipe", recipe()), cache=cache, **given).fitted == len(WINDOWS)
