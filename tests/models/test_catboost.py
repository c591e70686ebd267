"""CatBoost: the contract, CatBoost's own trees, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.models.catboost import CatBoost, FittedCatBoost
from harness.errors import ConfigError
from tests.models.contract import TRAIN, VALID, ModelContract, final_rows, fit, from_yaml, learn, make_table

catboost = pytest.importorskip("catboost", reason="the extra driftbench[catboost] is not installed")

SMALL: dict[str, Any] = {
    "loss": "mse",
    "learning_rate": 0.2,
    "grow_policy": "Lossguide",
    "max_depth": 4,
    "num_leaves": 12,
    "bootstrap_type": "Bernoulli",
    "subsample": 0.8,
    "num_boost_round": 60,
    "early_stopping_rounds": 5,
    "seed": 7,
    "threads": 1,
}
STEADY = {**SMALL, "early_stopping_rounds": None, "bootstrap_type": "No", "subsample": None}


class TestContract(ModelContract):
    model = CatBoost(**{**SMALL, "threads": 2})
    # Without draws, without noise in the scores, and without a penalty (which CatBoost scales by the mean weight) a
    # weight is exactly a number of rows.
    steady = CatBoost(**STEADY, extra={"random_strength": 0.0, "l2_leaf_reg": 0.0})
    tolerance = 1e-6


def grown(model: CatBoost) -> FittedCatBoost:
    fitted = fit(model, make_table())
    assert isinstance(fitted, FittedCatBoost)
    return fitted


def test_the_trees_are_those_of_catboost_up_to_the_best_round() -> None:
    table = make_table()
    train, valid = (catboost.Pool(s.features, s.label) for s in (learn(table, TRAIN), learn(table, VALID)))
    model = catboost.CatBoost(
        {
            "loss_function": "RMSE",
            "learning_rate": 0.2,
            "grow_policy": "Lossguide",
            "max_depth": 4,
            "num_leaves": 12,
            "bootstrap_type": "Bernoulli",
            "subsample": 0.8,
            "iterations": 60,
            "early_stopping_rounds": 5,
            "random_seed": 7,
            "thread_count": 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
    )
    model.fit(train, eval_set=valid, use_best_model=True)
    fitted = grown(CatBoost(**SMALL))
    assert fitted.rounds == model.tree_count_ < 60
    assert fitted.predict(final_rows(table)).tobytes() == model.predict(final_rows(table)).tobytes()


def test_without_early_stopping_all_trees_are_grown() -> None:
    assert grown(CatBoost(**{**SMALL, "early_stopping_rounds": None})).rounds == 60


def test_the_seed_decides_the_draws() -> None:
    rows = final_rows(make_table())
    first, second = (grown(CatBoost(**{**SMALL, "seed": seed})).predict(rows).tobytes() for seed in (1, 2))
    assert first != second


def test_missing_features_are_fitted_and_predicted() -> None:
    table = make_table()
    features = table.features.copy()
    features[np.random.default_rng(3).random(features.shape) < 0.2] = np.nan
    table = table.with_columns(features, table.feature_names, table.label)
    assert np.isfinite(fit(CatBoost(**SMALL), table).predict(final_rows(table))).all()


def test_the_yaml_holds_the_benchmark_parameters_of_qlib() -> None:
    model = from_yaml("catboost")
    wanted = {
        "learning_rate": 0.0421,
        "grow_policy": "Lossguide",
        "max_depth": 6,
        "num_leaves": 100,
        "subsample": 0.8789,
        "num_boost_round": 1000,
        "early_stopping_rounds": 50,
        "seed": 43,
    }
    assert {k: getattr(model, k) for k in wanted} == wanted


def test_the_bootstrap_of_qlibs_benchmark_needs_a_gpu_which_is_why_ours_differs() -> None:
    model = catboost.CatBoost({"bootstrap_type": "Poisson", "allow_writing_files": False, "logging_level": "Silent"})
    train = learn(make_table(), TRAIN)
    with pytest.raises(catboost.CatBoostError, match="poisson bootstrap is not supported on CPU"):
        model.fit(catboost.Pool(train.features, train.label))


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", 0.0), ("max_depth", 17), ("num_leaves", 1), ("subsample", 1.1), ("threads", 0), ("seed", -1)],
)
def test_an_impossible_value_names_its_key(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        CatBoost(**{**SMALL, key: value})


@pytest.mark.parametrize(
    "changes",
    [{"num_leaves": None}, {"grow_policy": "Depthwise"}, {"subsample": None}, {"bootstrap_type": "No"}],
)
def test_parameters_that_have_no_effect_together_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        CatBoost(**{**SMALL, **changes})


@pytest.mark.parametrize("key", ["random_seed", "random_state", "thread_count", "eta", "n_estimators", "train_dir"])
def test_a_parameter_has_one_place_under_any_spelling(key: str) -> None:
    with pytest.raises(ConfigError, match="second place"):
        CatBoost(**SMALL, extra={key: 1})


def test_an_unknown_extra_is_refused() -> None:
    with pytest.raises(ConfigError, match="CatBoost refuses") as caught:
        grown(CatBoost(**SMALL, extra={"l2_leaf_rag": 1}))
    assert "l2_leaf_rag" in str(caught.value.got)


def test_validation_cannot_be_trained_on_and_stop_the_training() -> None:
    with pytest.raises(ConfigError, match="cannot be trained on"):
        CatBoost(**SMALL, include_valid=True)
