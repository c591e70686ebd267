"""XGBoost: the contract, XGBoost's own trees, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.models.xgboost import FittedXGBoost, XGBoost
from harness.errors import ConfigError, DataError
from tests.models.contract import TRAIN, VALID, ModelContract, final_rows, fit, from_yaml, learn, make_table

xgb = pytest.importorskip("xgboost", reason="the extra driftbench[xgboost] is not installed")

SMALL: dict[str, Any] = {
    "loss": "mse",
    "learning_rate": 0.2,
    "max_depth": 4,
    "max_bin": 256,
    "colsample_bytree": 0.8,
    "subsample": 0.8,
    "num_boost_round": 60,
    "early_stopping_rounds": 5,
    "seed": 7,
    "threads": 1,
}


class TestContract(ModelContract):
    model = XGBoost(**{**SMALL, "threads": 2})
    # A subsample draws rows, whatever they weigh; without it a weight is exactly a number of rows.
    steady = XGBoost(**{**SMALL, "early_stopping_rounds": None, "subsample": 1.0}, extra={"min_child_weight": 5.0})
    tolerance = 1e-4


def grown(model: XGBoost) -> FittedXGBoost:
    fitted = fit(model, make_table())
    assert isinstance(fitted, FittedXGBoost)
    return fitted


def test_the_trees_are_those_of_xgboost_up_to_the_best_round() -> None:
    table = make_table()
    train, valid = (xgb.DMatrix(s.features, s.label) for s in (learn(table, TRAIN), learn(table, VALID)))
    names = ("learning_rate", "max_depth", "max_bin", "colsample_bytree", "subsample", "seed")
    booster = xgb.train(
        {"tree_method": "hist", "nthread": 1, **{k: SMALL[k] for k in names}},
        train,
        num_boost_round=60,
        evals=[(valid, "valid")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    fitted = grown(XGBoost(**SMALL))
    assert fitted.rounds == booster.best_iteration + 1 < 60
    expected = booster.predict(xgb.DMatrix(final_rows(table)), iteration_range=(0, booster.best_iteration + 1))
    assert fitted.predict(final_rows(table)).tobytes() == expected.tobytes()


def test_without_early_stopping_all_trees_are_grown() -> None:
    assert grown(XGBoost(**{**SMALL, "early_stopping_rounds": None})).rounds == 60


def test_the_seed_decides_the_draws() -> None:
    rows = final_rows(make_table())
    first, second = (grown(XGBoost(**{**SMALL, "seed": seed})).predict(rows).tobytes() for seed in (1, 2))
    assert first != second


def test_missing_features_are_fitted_and_predicted() -> None:
    table = make_table()
    features = table.features.copy()
    features[np.random.default_rng(3).random(features.shape) < 0.2] = np.nan
    table = table.with_columns(features, table.feature_names, table.label)
    assert np.isfinite(fit(XGBoost(**SMALL), table).predict(final_rows(table))).all()


def test_an_infinite_feature_is_refused_by_name() -> None:
    table = make_table()
    features = table.features.copy()
    features[3, 1] = np.inf
    with pytest.raises(DataError, match="infinite features") as caught:
        fit(XGBoost(**SMALL), table.with_columns(features, table.feature_names, table.label))
    assert caught.value.got == table.feature_names[1]


def test_the_yaml_holds_the_benchmark_parameters_of_qlib() -> None:
    model = from_yaml("xgboost")
    wanted = {
        "learning_rate": 0.0421,
        "max_depth": 8,
        "colsample_bytree": 0.8879,
        "subsample": 0.8789,
        "num_boost_round": 1000,
        "early_stopping_rounds": 50,
        "seed": 43,
    }
    assert {k: getattr(model, k) for k in wanted} == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", 0.0), ("max_depth", -1), ("max_bin", 1), ("subsample", 1.1), ("threads", 0), ("seed", -1)],
)
def test_an_impossible_value_names_its_key(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        XGBoost(**{**SMALL, key: value})


@pytest.mark.parametrize("key", ["seed", "random_state", "nthread", "n_jobs", "eta", "objective", "tree_method"])
def test_a_parameter_has_one_place_under_any_spelling(key: str) -> None:
    with pytest.raises(ConfigError, match="second place"):
        XGBoost(**SMALL, extra={key: 1})


def test_an_unknown_extra_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no parameter") as caught:
        grown(XGBoost(**SMALL, extra={"min_child_wait": 1}))
    assert caught.value.hint == "did you mean `min_child_weight`?"


def test_validation_cannot_be_trained_on_and_stop_the_training() -> None:
    with pytest.raises(ConfigError, match="cannot be trained on"):
        XGBoost(**SMALL, include_valid=True)
