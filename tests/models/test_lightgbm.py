"""LightGBM: the contract, LightGBM's own results bit for bit, no copies, and what is refused."""

from __future__ import annotations

import dataclasses
import re
import tracemalloc
from typing import Any, cast

import lightgbm as lgb
import numpy as np
import pytest

from baselines.models.intake import Rows
from baselines.models.lightgbm import FittedLightGBM, LightGBM
from harness.errors import ConfigError
from harness.samples.interfaces import LearnSet
from harness.store.records import describe
from tests.models.contract import (
    FEATURES,
    TEST,
    TRAIN,
    VALID,
    ModelContract,
    final_rows,
    fit,
    from_yaml,
    learn,
    make_table,
)

SMALL: dict[str, Any] = {
    "loss": "mse",
    "learning_rate": 0.2,
    "num_leaves": 15,
    "max_depth": 6,
    "colsample_bytree": 0.8,
    "subsample": 0.8,
    "subsample_freq": 0,
    "lambda_l1": 0.0,
    "lambda_l2": 1.0,
    "num_boost_round": 60,
    "early_stopping_rounds": 5,
    "seed": 7,
    "threads": 1,
}


class TestContract(ModelContract):
    model = LightGBM(**{**SMALL, "threads": None})
    # LightGBM's default limit counts the rows of a leaf, whatever they weigh; this one adds up their weights.
    steady = LightGBM(
        **{**SMALL, "early_stopping_rounds": None}, extra={"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 5.0}
    )
    tolerance = 1e-6


def qlib_yaml(**changes: object) -> LightGBM:
    model = from_yaml("lightgbm", **changes)
    assert isinstance(model, LightGBM)
    return model


def grown(model: LightGBM) -> FittedLightGBM:
    fitted = fit(model, make_table())
    assert isinstance(fitted, FittedLightGBM)
    return fitted


def bare(parameters: dict[str, Any], rounds: int, stop: int | None) -> tuple[lgb.Booster, np.ndarray]:
    table = make_table()
    train, valid = learn(table, TRAIN), learn(table, VALID)
    data = lgb.Dataset(train.features, label=train.label)
    booster = lgb.train(
        {"verbosity": -1, **parameters},
        data,
        num_boost_round=rounds,
        valid_sets=[lgb.Dataset(valid.features, label=valid.label, reference=data)] if stop else [],
        callbacks=[lgb.early_stopping(stop, verbose=False)] if stop else [],
    )
    return booster, np.asarray(booster.predict(final_rows(table)))


class TestLightGBMItself:
    def test_the_trees_are_those_of_lightgbm_up_to_the_best_round(self) -> None:
        names = {"num_boost_round", "early_stopping_rounds", "loss", "threads"}
        given = {k: v for k, v in SMALL.items() if k not in names}
        given |= {"objective": "mse", "num_threads": 1, "deterministic": True, "force_row_wise": True}
        booster, expected = bare(given, 60, 5)
        fitted = grown(LightGBM(**SMALL))
        assert fitted.rounds == booster.best_iteration < 60
        assert fitted.predict(final_rows(make_table())).tobytes() == expected.tobytes()

    def test_without_early_stopping_all_trees_are_grown(self) -> None:
        model = LightGBM(**{**SMALL, "early_stopping_rounds": None, "num_boost_round": 150})
        assert not model.needs_valid
        assert grown(model).rounds == 150

    def test_seed_null_takes_the_libraries_own_seeds_as_qlib_does(self) -> None:
        as_qlib = qlib_yaml(seed=None, lambda_l1=0.0, lambda_l2=1.0)
        # The peer passes its YAML through; a share of rows without a frequency has no effect.
        peer = {
            "objective": "mse",
            "colsample_bytree": 0.8879,
            "learning_rate": 0.2,
            "subsample": 0.8789,
            "lambda_l1": 0.0,
            "lambda_l2": 1.0,
            "max_depth": 8,
            "num_leaves": 210,
            "force_row_wise": True,
            "deterministic": True,
        }
        _, expected = bare(peer, 1000, 50)
        assert fit(as_qlib, make_table()).predict(final_rows(make_table())).tobytes() == expected.tobytes()

    @pytest.mark.parametrize("rows_drawn_every", [pytest.param(0, marks=pytest.mark.nightly), 1])
    def test_the_number_of_threads_changes_no_byte(self, rows_drawn_every: int) -> None:
        rng = np.random.default_rng(3)
        features = rng.standard_normal((30_000, 12)).astype(np.float32)
        features[rng.random(features.shape) < 0.05] = np.nan
        label = (np.nan_to_num(features[:, 0]) + rng.standard_normal(30_000)).astype(np.float32)
        rows = Rows(features, label, np.exp(rng.standard_normal(30_000)))
        names = tuple(f"f{at}" for at in range(12))

        def content(threads: int | None) -> bytes:
            given = {**SMALL, "num_leaves": 63, "subsample_freq": rows_drawn_every, "early_stopping_rounds": None}
            return LightGBM(**{**given, "threads": threads})._grow(rows, None, names)

        one = content(1)
        assert all(content(threads) == one for threads in (2, 3, 8, None))

    def test_the_number_of_threads_is_no_part_of_a_result(self) -> None:
        assert describe(LightGBM(**SMALL)) == describe(LightGBM(**{**SMALL, "threads": None}))
        assert "threads" not in cast(dict[str, object], describe(LightGBM(**SMALL)))

    def test_rows_are_subsampled_only_with_a_frequency(self) -> None:
        table = make_table()
        rows = final_rows(table)
        alike = [fit(LightGBM(**{**SMALL, "subsample": s}), table).predict(rows).tobytes() for s in (0.3, 0.9)]
        other = fit(LightGBM(**{**SMALL, "subsample": 0.3, "subsample_freq": 1}), table).predict(rows).tobytes()
        assert alike[0] == alike[1] != other

    def test_the_yaml_holds_the_benchmark_parameters_of_qlib(self) -> None:
        model = qlib_yaml()
        wanted = {
            "loss": "mse",
            "learning_rate": 0.2,
            "num_leaves": 210,
            "max_depth": 8,
            "colsample_bytree": 0.8879,
            "subsample": 0.8789,
            "subsample_freq": 0,
            "lambda_l1": 205.6999,
            "lambda_l2": 580.9768,
            "num_boost_round": 1000,
            "early_stopping_rounds": 50,
        }
        assert {k: getattr(model, k) for k in wanted} == wanted

    def test_missing_features_are_fitted_and_predicted(self) -> None:
        table = make_table()
        features = table.features.copy()
        features[np.random.default_rng(3).random(features.shape) < 0.2] = np.nan
        table = table.with_columns(features, table.feature_names, table.label)
        assert np.isfinite(fit(LightGBM(**SMALL), table).predict(final_rows(table))).all()

    def test_importance_names_the_features_that_matter(self) -> None:
        fitted = grown(LightGBM(**SMALL))
        gain, splits = fitted.importance("gain"), fitted.importance("split")
        assert list(gain) == list(splits) == list(make_table().feature_names)
        assert max(gain, key=gain.__getitem__) == make_table().feature_names[0]
        assert sum(splits.values()) == sum(int(n) - 1 for n in re.findall(r"num_leaves=(\d+)", fitted.content.decode()))


class TestNoCopies:
    def test_lightgbm_is_handed_the_memory_of_the_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        table = make_table()
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        original = lgb.Dataset.__init__

        def watch(self: lgb.Dataset, data: np.ndarray, label: np.ndarray, **rest: Any) -> None:
            seen.append((data, label))
            original(self, data, label=label, **rest)

        monkeypatch.setattr(lgb.Dataset, "__init__", watch)
        fit(LightGBM(**SMALL), table)
        assert [len(data) for data, _ in seen] == [16 * len(TRAIN), 16 * len(VALID)]
        for data, label in seen:
            assert type(data) is np.ndarray
            assert data.flags.c_contiguous
            assert np.shares_memory(data, table.features)
            assert np.shares_memory(label, table.label)

    def test_fitting_allocates_less_in_python_than_a_copy_of_the_features(self) -> None:
        table = make_table(instruments=800, width=60)
        model = LightGBM(**{**SMALL, "num_boost_round": 2})
        train, valid = LearnSet(table.as_of(TEST.start), TRAIN), LearnSet(table.as_of(TEST.start), VALID)
        model.fit(train, valid)
        tracemalloc.start()
        model.fit(train, valid)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < train.features.nbytes / 4


class TestRefusals:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("learning_rate", 0.0),
            ("learning_rate", float("nan")),
            ("num_leaves", 1),
            ("colsample_bytree", 1.5),
            ("subsample", 0.0),
            ("lambda_l2", -1.0),
            ("num_boost_round", 0),
            ("early_stopping_rounds", 0),
            ("seed", -1),
            ("threads", 0),
        ],
    )
    def test_an_impossible_value_names_its_key(self, key: str, value: float) -> None:
        with pytest.raises(ConfigError, match=key) as caught:
            LightGBM(**{**SMALL, key: value})
        assert caught.value.where == f"model.{key}"

    @pytest.mark.parametrize(
        "key", ["seed", "random_state", "num_threads", "n_jobs", "deterministic", "force_col_wise", "eta", "objective"]
    )
    def test_a_parameter_has_one_place_under_any_spelling(self, key: str) -> None:
        with pytest.raises(ConfigError, match="second place"):
            LightGBM(**SMALL, extra={key: 1})

    def test_two_spellings_of_one_extra_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="same parameter"):
            LightGBM(**SMALL, extra={"min_data_in_leaf": 1, "min_child_samples": 2})

    def test_an_unknown_extra_is_refused_with_the_nearest_name(self) -> None:
        with pytest.raises(ConfigError, match="no parameter") as caught:
            LightGBM(**SMALL, extra={"min_data_in_leaves": 1})
        assert caught.value.hint == "did you mean `min_data_in_leaf`?"

    def test_validation_cannot_be_trained_on_and_stop_the_training(self) -> None:
        with pytest.raises(ConfigError, match="cannot be trained on"):
            LightGBM(**SMALL, include_valid=True)
        free = LightGBM(**{**SMALL, "early_stopping_rounds": None}, include_valid=True)
        assert dataclasses.asdict(free)["include_valid"]

    def test_extra_reaches_lightgbm(self) -> None:
        stump = LightGBM(**{**SMALL, "early_stopping_rounds": None}, extra={"min_data_in_leaf": 10_000})
        score = fit(stump, make_table()).predict(np.zeros((2, FEATURES), dtype=np.float32))
        assert score[0] == score[1]
