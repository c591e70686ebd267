from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from baselines.adaptation.ddgda.fitted import SCHEMA_VERSION, FittedDDGDA, load_fitted
from baselines.adaptation.ddgda.meta_task import LEAKS, Phase
from harness.config import compose_config
from harness.config.instantiate import build
from harness.errors import ArtifactError, ConfigError, DataError
from harness.execution.progress import Silent
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Window
from harness.store.records import describe
from tests.adaptation.configured import CONF, configured, ddgda
from tests.adaptation.streams import Stream, history_of, schedule

STEP, TRAIN = 10, 260
SMALL: dict[str, Any] = {"hist_step_n": 6, "max_epoch": 3}
TREES = {
    "rounds": 3,
    "learning_rate": 0.2,
    "colsample_bytree": 0.9,
    "subsample": 0.9,
    "lambda_l1": 0.0,
    "lambda_l2": 1.0,
    "max_depth": 3,
    "num_leaves": 6,
    "min_leaf_share": 0.02,
}


@pytest.fixture(scope="module")
def table() -> SampleTable:
    return Stream("gradual", times=360, instruments=20, features=5, period=200).table(0)


@pytest.fixture(scope="module")
def windows(table: SampleTable) -> tuple[Window, ...]:
    return schedule(table, train=TRAIN, step=STEP)


@pytest.fixture(scope="module")
def fitted(table: SampleTable, windows: tuple[Window, ...]) -> FittedDDGDA:
    return ddgda(**SMALL).fit(history_of(table, windows, STEP))


def weights(fitted: FittedDDGDA, windows: Sequence[Window]) -> list[np.ndarray[Any, Any]]:
    return [fitted.time_weights(window).values for window in windows]


def poisoned(table: SampleTable, cut: int) -> SampleTable:
    """Return the table with other features after `cut`, and other labels where they are not known at `cut`."""
    rng = np.random.default_rng(9)
    features, label = table.features.copy(), table.label.copy()
    rows = table.index.rows(cut + 1, len(table.calendar))
    features[rows] = rng.standard_normal(features[rows].shape)
    rows = table.index.rows(cut - table.look_ahead + 1, len(table.calendar))
    label[rows] = rng.standard_normal(label[rows].shape)
    return table.with_columns(features, table.feature_names, label)


class Recorder(Silent):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, message: str) -> None:
        self.notices.append(message)


class TestConfiguration:
    @pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
    def test_every_file_describes_an_adaptation_and_can_be_described_again(self, name: str) -> None:
        adaptation = configured(name)
        assert callable(adaptation.fit)
        assert build(describe(adaptation)) == adaptation

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("hist_step_n", 0),
            ("fea_imp_n", 0),
            ("refresh_years", 0),
            ("sim_alpha", -1.0),
            ("segments", 1.5),
            ("alpha", -0.1),
            ("loss_skip_thresh", 1),
            ("lr", 0.0),
            ("max_epoch", -1),
            ("clip_weight", 1.0),
            ("clip_method", "hard"),
            ("fill_method", "mean"),
            ("sim_task_model", "forest"),
            ("profile", "fast"),
        ],
    )
    def test_a_value_that_cannot_be_used_is_refused_by_its_key(self, key: str, value: object) -> None:
        with pytest.raises(ConfigError) as caught:
            configured("ddgda", **{key: value})
        assert str(caught.value.where).endswith(key)

    def test_the_two_profiles_differ_in_what_closes_a_leak_and_in_nothing_else(self) -> None:
        ours, qlibs = configured("ddgda"), configured("ddgda_qlib")
        closed = {"profile": "point_in_time", "segments": None, "seed": None}  # the experiment's seed is qlib's
        assert dataclasses.replace(qlibs, **closed) == ours
        assert compose_config([]).seed == qlibs.seed
        assert dataclasses.replace(ours._flags, **dict.fromkeys(LEAKS, True)) == qlibs._flags

    def test_ranges_can_be_given_as_a_mapping(self) -> None:
        ranges = {"train": ["2000-05-01", "2000-07-01"], "test": ["2000-07-02", "2000-08-01"]}
        assert configured("ddgda", segments=ranges).segments.train == ("2000-05-01", "2000-07-01")

    def test_dates_may_be_years_compact_or_open_and_a_number_below_one_is_a_share(self) -> None:
        assert [configured("ddgda", segments=s).segments for s in (2000, 20000501, "2000/5", 0.5)] == [
            "2000",
            "2000-05-01",
            "2000-05",
            0.5,
        ]
        assert configured("ddgda", meta_1st_train_end=2000).meta_1st_train_end == "2000"
        ranges = {"train": [None, 2000], "test": [2001, "9999-12-31"]}
        assert configured("ddgda", segments=ranges).segments.train == (None, "2000")

    @pytest.mark.parametrize(
        ("given", "key"),
        [
            ({"segments": 1}, "segments"),
            ({"segments": 1.5}, "segments"),
            ({"segments": "01/05/2000"}, "segments"),
            ({"segments": "2000-02-30"}, "segments"),
            ({"meta_1st_train_end": "soon"}, "meta_1st_train_end"),
            ({"segments": {"train": ["2000-05", "2000-04"]}}, "segments.train"),
            ({"segments": {"train": ["2000-05", "2000-06"], "test": ["x", None]}}, "segments.test"),
        ],
    )
    def test_what_is_neither_a_share_nor_a_date_is_refused_with_its_key(self, given: Any, key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            configured("ddgda", **given)
        assert str(caught.value.where).endswith(key)

    def test_without_torch_the_library_is_named(
        self, table: SampleTable, windows: tuple[Window, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="torch"):
            ddgda(**SMALL).fit(history_of(table, windows, STEP))


class TestNoLeak:
    @pytest.mark.parametrize("sim_task_model", ["linear", "gbdt"])
    @pytest.mark.parametrize("fea_imp_n", [None, 3])
    def test_weights_do_not_change_when_the_future_of_their_window_does(
        self, table: SampleTable, windows: tuple[Window, ...], sim_task_model: str, fea_imp_n: int | None
    ) -> None:
        model = ddgda(
            **SMALL,
            sim_task_model=sim_task_model,
            fea_imp_n=fea_imp_n,
            gbdt=TREES,
            choice_gbdt=TREES,
            refresh_years=None,
            preprocess=describe(configured("ddgda_qlib").preprocess),
        )
        before = weights(model.fit(history_of(table, windows, STEP)), windows)
        for window in (windows[0], windows[4]):
            other = poisoned(table, window.decision)
            after = weights(model.fit(history_of(other, windows, STEP)), windows)
            for k in range(window.index + 1):
                np.testing.assert_array_equal(before[k], after[k])
            assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    def test_meta_training_knows_nothing_that_is_not_known_at_the_first_decision(
        self, table: SampleTable, windows: tuple[Window, ...], fitted: FittedDDGDA
    ) -> None:
        other = ddgda(**SMALL).fit(history_of(poisoned(table, windows[0].decision), windows, STEP))
        np.testing.assert_array_equal(other.model.coefficients, fitted.model.coefficients)
        assert other.history == fitted.history
        assert fitted.leaks == ()

    def test_no_view_later_than_the_last_decision_is_ever_opened(
        self, table: SampleTable, windows: tuple[Window, ...]
    ) -> None:
        asked = []

        def as_of(decision: int) -> AsOfView:
            asked.append(decision)
            return table.as_of(decision)

        ddgda(**SMALL).fit(dataclasses.replace(history_of(table, windows, STEP), as_of=as_of))
        assert max(asked) <= windows[-1].decision

    def test_the_poison_catches_the_published_leak(self, table: SampleTable, windows: tuple[Window, ...]) -> None:
        # With the share of 0.62 counted among the surviving tasks, meta-training reaches into the test period here.
        leaky = ddgda("ddgda_qlib", **SMALL, segments=0.9, meta_1st_train_end=None)
        before = leaky.fit(history_of(table, windows, STEP))
        after = leaky.fit(history_of(poisoned(table, windows[2].decision), windows, STEP))
        assert not np.array_equal(weights(before, windows[:1])[0], weights(after, windows[:1])[0])
        assert any("lie in the final test period" in leak for leak in before.leaks)

    def test_the_same_cell_is_refused_by_default(self, table: SampleTable, windows: tuple[Window, ...]) -> None:
        with pytest.raises(ConfigError, match="final test period"):
            ddgda(**SMALL, segments=0.9).fit(history_of(table, windows, STEP))


class TestProfiles:
    @pytest.mark.parametrize("name", ["ddgda", "ddgda_qlib"])
    def test_rows_after_the_last_block_weigh_one_as_in_qlib(
        self, table: SampleTable, windows: tuple[Window, ...], name: str
    ) -> None:
        found = ddgda(name, **SMALL).fit(history_of(table, windows, STEP)).time_weights(windows[0])
        assert found.values[-1] == 1.0
        assert found.starts[-1] == found.starts[-2] + STEP

    def test_on_request_they_weigh_like_the_last_block_as_in_training(
        self, table: SampleTable, windows: tuple[Window, ...]
    ) -> None:
        same = ddgda(**SMALL, switches={"plain_tail": False})
        found = same.fit(history_of(table, windows, STEP)).time_weights(windows[0])
        assert found.starts[-1] + STEP < windows[0].learn_stop
        per_time = found.at(windows[0].train.start, windows[0].learn_stop)
        assert per_time[-1] == found.values[-1] != 1.0

    @pytest.mark.parametrize(
        ("segments", "expected"),
        [(0.4, None), (0.66, "not all known at the first decision"), (0.9, "lie in the final test period")],
    )
    def test_qlibs_leaks_are_named(
        self, table: SampleTable, windows: tuple[Window, ...], segments: float, expected: str | None
    ) -> None:
        model = ddgda("ddgda_qlib", **SMALL, segments=segments, meta_1st_train_end="2000-03-10")
        leaks = model.fit(history_of(table, windows, STEP)).leaks
        assert "features are chosen" in leaks[0]
        assert "z-score" in leaks[1]
        assert len(leaks) == (2 if expected is None else 3)
        assert expected is None or expected in leaks[2]

    def test_blocks_begin_with_the_first_train_time(self, table: SampleTable) -> None:
        late = [
            dataclasses.replace(w, train=dataclasses.replace(w.train, start=7))
            for w in schedule(table, train=TRAIN, step=STEP)
        ]
        found = ddgda(**SMALL).fit(history_of(table, tuple(late), STEP)).time_weights(late[0])
        assert found.starts[:2].tolist() == [7, 17]

    def test_the_seed_of_the_experiment_is_used_unless_one_is_given(
        self, table: SampleTable, windows: tuple[Window, ...]
    ) -> None:
        def coefficients(seed: int | None, experiment: int) -> list[float]:
            history = history_of(table, windows, STEP, seed=experiment)
            model = ddgda(**{**SMALL, "max_epoch": 0}, seed=seed).fit(history).model
            return list(model.coefficients.tolist())

        assert coefficients(None, 5) == coefficients(5, 0)
        assert coefficients(None, 5) != coefficients(None, 6)


class TestChoice:
    def test_features_can_be_named_by_hand(self, table: SampleTable, windows: tuple[Window, ...]) -> None:
        fitted = ddgda(**SMALL, fea_names=["f3", "f0"]).fit(history_of(table, windows, STEP))
        assert fitted.regimes[0].choice.names == ("f3", "f0")

    def test_a_name_that_does_not_exist_is_refused_with_the_nearest(
        self, table: SampleTable, windows: tuple[Window, ...]
    ) -> None:
        with pytest.raises(DataError) as caught:
            ddgda(**SMALL, fea_names=["f33"]).fit(history_of(table, windows, STEP))
        assert "f3" in str(caught.value.hint)

    def test_the_choice_is_renewed_yearly_and_serves_what_is_decided_later(self) -> None:
        table = Stream("gradual", times=900, instruments=20, features=5, period=300).table(0)
        windows = schedule(table, train=600, step=30)
        model = ddgda(**SMALL, fea_imp_n=2, refresh_years=1, choice_gbdt=TREES)
        fitted = model.fit(history_of(table, windows, 30))
        decisions = [regime.choice.decision for regime in fitted.regimes]
        assert decisions[0] == min(t.decision for t in fitted.tasks if t.phase is Phase.META_TRAIN)
        assert len(decisions) == 2
        assert decisions[1] - decisions[0] >= 365
        before = weights(fitted, windows)
        after = weights(model.fit(history_of(poisoned(table, windows[1].decision), windows, 30)), windows)
        np.testing.assert_array_equal(before[1], after[1])

    def test_a_choice_that_only_fills_up_is_reported(self, table: SampleTable, windows: tuple[Window, ...]) -> None:
        stump = {**TREES, "rounds": 1, "num_leaves": 2}
        recorder = Recorder()
        history = dataclasses.replace(history_of(table, windows, STEP), observer=recorder)
        ddgda(**SMALL, fea_imp_n=3, choice_gbdt=stump).fit(history)
        assert any("used only 1 of 3 features" in notice for notice in recorder.notices)


class TestRecords:
    def test_what_was_saved_is_what_was_fitted(
        self, fitted: FittedDDGDA, windows: tuple[Window, ...], tmp_path: Path
    ) -> None:
        fitted.save(tmp_path)
        again = load_fitted(tmp_path)
        for ours, theirs in zip(weights(again, windows), weights(fitted, windows), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert again.history == fitted.history
        assert again.tasks == fitted.tasks
        assert (again.leaks, again.windows, again.rule) == (fitted.leaks, fitted.windows, fitted.rule)
        assert again.notes() == fitted.notes()

    def test_saving_twice_gives_the_same_bytes(self, fitted: FittedDDGDA, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            fitted.save(tmp_path / name)
        files = sorted(path.name for path in (tmp_path / "a").iterdir())
        assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
        for name in files:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_weights_are_a_table_of_window_and_block(
        self, fitted: FittedDDGDA, windows: tuple[Window, ...], tmp_path: Path
    ) -> None:
        fitted.save(tmp_path)
        frame = pq.read_table(tmp_path / "weights.parquet").to_pandas()
        assert frame.columns.tolist() == ["window", "test_time", "block", "block_start", "block_time", "weight"]
        pivot = frame.pivot_table(index="window", columns="block", values="weight")
        assert pivot.shape[0] == len(windows)
        assert frame["weight"].between(0.5, 2.0).all()

    def test_every_meta_task_is_in_the_table_skipped_ones_with_their_reason(
        self, table: SampleTable, windows: tuple[Window, ...], tmp_path: Path
    ) -> None:
        fitted = ddgda(**SMALL, meta_1st_train_end="2000-02-20").fit(history_of(table, windows, STEP))
        fitted.save(tmp_path)
        frame = pq.read_table(tmp_path / "meta_tasks.parquet").to_pandas()
        assert len(frame) == len(fitted.tasks)
        assert {"skipped: too little history", "meta-train", "left out: in the final test period"} <= set(
            frame["phase"]
        )
        assert any("too little history" in note for note in fitted.notes())

    def test_a_missing_file_and_another_schema_are_errors(self, fitted: FittedDDGDA, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="missing"):
            load_fitted(tmp_path)
        fitted.save(tmp_path)
        record = tmp_path / "record.json"
        record.write_text(record.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
        with pytest.raises(ArtifactError, match="schema"):
            load_fitted(tmp_path)


def test_undefined_similarities_are_counted_and_reported(table: SampleTable, windows: tuple[Window, ...]) -> None:
    hard = {**TREES, "lambda_l1": 205.7, "lambda_l2": 581.0, "min_leaf_share": None}
    recorder = Recorder()
    history = dataclasses.replace(history_of(table, windows, STEP), observer=recorder)
    fitted = ddgda(**SMALL, sim_task_model="gbdt", gbdt=hard).fit(history)
    assert any("are undefined" in notice for notice in recorder.notices)
    np.testing.assert_array_equal(fitted.time_weights(windows[0]).values, 1.0)


def test_history_is_what_the_rule_looks_back_on(table: SampleTable, windows: tuple[Window, ...]) -> None:
    fitted = ddgda(**SMALL).fit(history_of(table, windows, STEP))
    early = dataclasses.replace(windows[0], train=dataclasses.replace(windows[0].train, stop=30))
    with pytest.raises(ConfigError, match="too little history"):
        fitted.time_weights(early)
