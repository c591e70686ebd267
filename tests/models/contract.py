"""What every model promises, whoever wrote it: subclass `ModelContract`, name the model, and pytest holds it to this.

The data lie on a grid of eight values per feature, so that binning learners find the same thresholds in any half of the
rows, and weighting can be compared with leaving out and with repeating.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from omegaconf import OmegaConf

from harness.config.instantiate import build
from harness.data.calendar import Calendar
from harness.errors import ConfigError, DataError
from harness.samples.interfaces import ContinuingModel, FittedModel, LearnSet, Model, TimeWeights
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Segment
from harness.store.records import describe

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
TIMES, INSTRUMENTS, FEATURES, LOOK_AHEAD = 70, 16, 5, 3
TRAIN, VALID, TEST = Segment(0, 40), Segment(43, 55), Segment(58, 70)
HALF = 20
SAFE_SUFFIXES = {".json", ".txt", ".ubj", ".cbm", ".safetensors", ".npy", ".npz"}
PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
PICKLE_WORDS = (b"data.pkl", b"pickle", b"cbuiltins", b"cnumpy", b"numpy._core.multiarray")


def make_table(
    instruments: int = INSTRUMENTS, width: int = FEATURES, repeat: npt.NDArray[np.int64] | None = None
) -> SampleTable:
    """Return a small table with a strong, partly nonlinear signal; time t holds every instrument `repeat[t]` times."""
    rng = np.random.default_rng(0)
    repeat = np.ones(TIMES, dtype=np.int64) if repeat is None else repeat
    features = (rng.integers(0, 8, (TIMES, instruments, width)) / 4 - 0.875).astype(np.float32)
    noise = 0.3 * rng.normal(size=(TIMES, instruments))
    label = (
        features[..., 0] - 0.5 * features[..., 1] + 0.5 * features[..., 2] * (features[..., 3] > 0) + noise
    ).astype(np.float32)
    return SampleTable(
        calendar=Calendar(np.datetime64("2020-01-01") + np.arange(TIMES)),
        instruments=tuple(f"I{i:04d}" for i in range(instruments * int(repeat.max()))),
        index=RowIndex(
            offsets=np.concatenate([[0], np.cumsum(instruments * repeat)]).astype(np.int64),
            codes=np.concatenate([np.arange(instruments * k) for k in repeat]).astype(np.int32),
        ),
        features=np.concatenate([np.tile(features[t], (k, 1)) for t, k in enumerate(repeat)]),
        feature_names=tuple(f"f[{i}], lag" for i in range(width)),
        label=np.concatenate([np.tile(label[t], k) for t, k in enumerate(repeat)]),
        look_ahead=LOOK_AHEAD,
    )


def with_label(table: SampleTable, label: npt.NDArray[np.float32]) -> SampleTable:
    return table.with_columns(np.array(table.features), table.feature_names, label)


def learn(table: SampleTable, segment: Segment, weights: TimeWeights | None = None) -> LearnSet:
    return LearnSet(table.as_of(TEST.start), segment, weights)


def two_blocks(first: float, second: float) -> TimeWeights:
    """Weights of the times before `HALF` and from it on."""
    return TimeWeights(np.array([0, HALF], dtype=np.int64), np.array([first, second]))


def fit(model: Model, table: SampleTable, weights: TimeWeights | None = None, train: Segment = TRAIN) -> FittedModel:
    return model.fit(learn(table, train, weights), learn(table, VALID, weights) if model.needs_valid else None)


def final_rows(table: SampleTable) -> npt.NDArray[np.float32]:
    return table.features[table.index.rows(TEST.start, TEST.stop)]


def from_yaml(name: str, **changes: object) -> object:
    """Return the model of ``conf/model/<name>.yaml``, with the main configuration's seed and some keys changed."""
    node = OmegaConf.create({"seed": 43, "model": OmegaConf.load(CONF / f"{name}.yaml")})
    record = OmegaConf.to_container(node.model, resolve=True)
    assert isinstance(record, dict)
    return build({str(key): value for key, value in record.items() if key != "defaults"} | changes)


def global_states() -> tuple[object, bytes]:
    """Return the state of the generators that everybody shares."""
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 — read to see that nobody moved it
    assert isinstance(legacy, dict)
    return random.getstate(), legacy["state"]["key"].tobytes() + bytes(str(legacy["state"]["pos"]), "ascii")


def saved_files(fitted: FittedModel, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    fitted.save(folder)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class CannotWeigh:
    """A model that ignores weights, as some libraries do; it says so, and the window loop refuses to weight it."""

    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = False

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedMean:
        return FittedMean(float(train.label.mean(dtype=np.float64)))

    def load(self, folder: Path) -> FittedMean:
        return FittedMean(float((folder / "mean.txt").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class FittedMean:
    value: float

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.full(len(features), self.value)

    def save(self, folder: Path) -> None:
        (folder / "mean.txt").write_text(repr(self.value), encoding="utf-8")


class ModelContract:
    """The promises. `model` is the model as it is used; `steady` one that never stops early and has no randomness.

    `steady` must use weights exactly where it can, so that leaving out and repeating are comparable up to rounding:
    `tolerance`, absolute, on labels of standard deviation about 0.8.
    """

    model: ClassVar[Model]
    steady: ClassVar[Model]
    tolerance: ClassVar[float] = 1e-4

    def test_it_is_a_model_and_says_what_it_needs(self) -> None:
        assert isinstance(self.model, Model)
        assert isinstance(self.model.needs_valid, bool)
        assert isinstance(self.model.supports_weights, bool)
        assert not self.steady.needs_valid

    def test_its_yaml_is_its_fields(self) -> None:
        assert build(describe(self.model)) == self.model

    def test_it_learns(self) -> None:
        table = make_table()
        score = fit(self.model, table).predict(final_rows(table))
        label = table.label[table.index.rows(TEST.start, TEST.stop)]
        assert score.shape == label.shape
        assert np.isfinite(score).all()
        assert np.corrcoef(score, label)[0, 1] > 0.6

    def test_the_same_fit_twice_gives_the_same_bits(self) -> None:
        table = make_table()
        first, second = (fit(self.model, table).predict(final_rows(table)) for _ in range(2))
        assert first.tobytes() == second.tobytes()

    def test_a_reloaded_model_predicts_the_same_bits(self, tmp_path: Path) -> None:
        table = make_table()
        fitted = fit(self.model, table)
        fitted.save(tmp_path)
        assert (
            self.model.load(tmp_path).predict(final_rows(table)).tobytes()
            == fitted.predict(final_rows(table)).tobytes()
        )

    def test_it_goes_on_from_a_loaded_model_as_from_its_own_and_leaves_that_alone(self, tmp_path: Path) -> None:
        if not isinstance(self.model, ContinuingModel):
            pytest.skip("it cannot be continued")
        table = make_table()
        stop_on = learn(table, VALID) if self.model.needs_valid else None
        begun = self.model.fit_from(None, learn(table, Segment(0, HALF)), stop_on)
        written = saved_files(begun, tmp_path / "begun")
        ends = [
            saved_files(self.model.fit_from(start, learn(table, Segment(HALF, TRAIN.stop)), stop_on), tmp_path / name)
            for name, start in (("own", begun), ("loaded", self.model.load(tmp_path / "begun")))
        ]
        assert ends[0] == ends[1]
        assert ends[0] != written
        assert saved_files(begun, tmp_path / "again") == written

    def test_saving_again_writes_the_same_bytes(self, tmp_path: Path) -> None:
        table = make_table()
        fitted = fit(self.model, table)
        written = saved_files(fitted, tmp_path / "a")
        assert written == saved_files(fit(self.model, table), tmp_path / "b")
        assert written == saved_files(self.model.load(tmp_path / "a"), tmp_path / "c")

    def test_nothing_saved_is_a_pickle(self, tmp_path: Path) -> None:
        files = saved_files(fit(self.model, make_table()), tmp_path / "model")
        assert files
        for name, content in files.items():
            assert Path(name).suffix in SAFE_SUFFIXES
            assert not content.startswith(PICKLE_STARTS)
            assert not any(word in content for word in PICKLE_WORDS)

    def test_inputs_are_read_only_and_stay_as_they_were(self) -> None:
        table = make_table()
        features, label = table.features.copy(), table.label.copy()
        assert not table.features.flags.writeable
        fit(self.model, table, two_blocks(1, 2)).predict(final_rows(table))
        np.testing.assert_array_equal(table.features, features)
        np.testing.assert_array_equal(table.label, label)

    def test_it_reads_its_learning_periods_and_nothing_newer(self) -> None:
        table = make_table()
        view = table.as_of(TEST.start)
        valid = LearnSet(view, VALID) if self.model.needs_valid else None
        self.model.fit(LearnSet(view, TRAIN), valid)
        newest = (VALID if self.model.needs_valid else TRAIN).last
        assert view.reads.feature == newest
        assert view.reads.label_known == newest + LOOK_AHEAD

    def test_validation_is_required_exactly_when_declared(self) -> None:
        table = make_table()
        self.steady.fit(learn(table, TRAIN), None)
        if self.model.needs_valid:
            with pytest.raises(ConfigError, match="needs a validation segment"):
                self.model.fit(learn(table, TRAIN), None)

    def test_weights_matter(self) -> None:
        table = make_table()
        rows = final_rows(table)
        plain = fit(self.steady, table).predict(rows)
        assert np.abs(fit(self.steady, table, two_blocks(0.1, 2)).predict(rows) - plain).max() > 1e-3

    def test_equal_weights_are_no_weights(self) -> None:
        table = make_table()
        rows = final_rows(table)
        weighted = fit(self.steady, table, two_blocks(1, 1)).predict(rows)
        np.testing.assert_allclose(weighted, fit(self.steady, table).predict(rows), rtol=0, atol=self.tolerance)

    def test_weight_zero_is_leaving_out(self) -> None:
        table = make_table()
        rows = final_rows(table)
        weighted = fit(self.steady, table, two_blocks(0, 1)).predict(rows)
        without = fit(self.steady, table, train=Segment(HALF, TRAIN.stop)).predict(rows)
        np.testing.assert_allclose(weighted, without, rtol=0, atol=self.tolerance)

    def test_an_integer_weight_is_repetition(self) -> None:
        table = make_table()
        repeated = make_table(repeat=np.where(np.arange(TIMES) < HALF, 1, 3))
        rows = final_rows(table)
        weighted = fit(self.steady, table, two_blocks(1, 3)).predict(rows)
        np.testing.assert_allclose(weighted, fit(self.steady, repeated).predict(rows), rtol=0, atol=self.tolerance)

    def test_rows_without_a_label_do_not_count(self) -> None:
        table = make_table()
        label, features = table.label.copy(), table.features.copy()
        lost = np.flatnonzero(np.random.default_rng(1).random(len(table)) < 0.2)
        label[lost] = np.nan
        plain = fit(self.model, with_label(table, label)).predict(final_rows(table))
        features[lost] = 1e6
        wild = table.with_columns(features, table.feature_names, label)
        assert fit(self.model, wild).predict(final_rows(table)).tobytes() == plain.tobytes()

    def test_a_prediction_does_not_depend_on_later_rows(self) -> None:
        table = make_table()
        fitted = fit(self.model, table)
        rows = final_rows(table)
        every = fitted.predict(rows)
        for count in (1, 3, 64, 101, len(rows) - 1):
            assert fitted.predict(rows[:count]).tobytes() == every[:count].tobytes()

    def test_no_row_gives_no_prediction(self) -> None:
        assert fit(self.model, make_table()).predict(np.empty((0, FEATURES), dtype=np.float32)).shape == (0,)

    def test_other_features_than_fitted_on_are_refused(self) -> None:
        table = make_table()
        fitted = fit(self.model, table)
        with pytest.raises(DataError, match="features it was fitted on"):
            fitted.predict(np.ascontiguousarray(final_rows(table)[:, :-1]))

    @pytest.mark.parametrize("value", [np.inf, -np.inf])
    def test_an_infinite_label_is_refused(self, value: float) -> None:
        table = make_table()
        label = table.label.copy()
        label[7] = value
        with pytest.raises(DataError, match="infinite"):
            fit(self.model, with_label(table, label))

    def test_a_period_without_labels_is_refused(self) -> None:
        table = make_table()
        label = table.label.copy()
        label[table.index.rows(TRAIN.start, TRAIN.stop)] = np.nan
        with pytest.raises(DataError, match="no row"):
            fit(self.model, with_label(table, label))

    def test_all_weights_zero_is_refused(self) -> None:
        with pytest.raises(DataError, match="All time weights are 0"):
            fit(self.model, make_table(), two_blocks(0, 0))

    def test_it_is_silent_and_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        table = make_table()
        states = global_states()
        fit(self.model, table).predict(final_rows(table))
        assert global_states() == states
        assert tuple(capfd.readouterr()) == ("", "")
        assert list(tmp_path.iterdir()) == []
