"""Quantile models: against scikit-learn, weighted, crossing, and through a whole run with pinball loss and coverage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import mean_pinball_loss
from utilsforecast import losses

from baselines.models.lightgbm import LightGBM
from baselines.models.linear_quantile import LinearQuantile, _Problem
from baselines.models.quantiles import Quantiles
from harness.audit.differences import first_difference
from harness.errors import ConfigError
from harness.evaluation.collection import merge_windows
from harness.samples.interfaces import Model
from tests.adaptation.test_series_adaptations import ran
from tests.models.contract import TRAIN, ModelContract, final_rows, fit, learn, make_table

LEVELS = (0.1, 0.5, 0.9)
SETTINGS: dict[str, Any] = {
    **{"loss": "quantile", "learning_rate": 0.2, "num_leaves": 7, "max_depth": -1, "colsample_bytree": 1.0},
    **{"subsample": 1.0, "subsample_freq": 0, "lambda_l1": 0.0, "lambda_l2": 0.0, "num_boost_round": 20},
    **{"early_stopping_rounds": None, "seed": 1, "threads": 1},
}
TREES = LightGBM(**SETTINGS)


class TestLinearQuantile(ModelContract):
    model: ClassVar[Model] = LinearQuantile(level=0.6)
    steady: ClassVar[Model] = LinearQuantile(level=0.6)
    tolerance: ClassVar[float] = 0.02  # how far it is smoothed depends on how many rows there are


class TestQuantiles(ModelContract):
    model: ClassVar[Model] = Quantiles(LEVELS, LinearQuantile())
    steady: ClassVar[Model] = Quantiles(LEVELS, LinearQuantile())
    tolerance: ClassVar[float] = 0.02


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_its_loss_is_that_of_an_exact_solution(level: float, weighted: bool) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 3))
    y = x @ [1.0, -2.0, 0.5] + (1 + 0.5 * np.abs(x[:, 0])) * rng.standard_t(3, 600)
    weights = rng.uniform(0.1, 2.0, 600) if weighted else np.ones(600)
    exact = QuantileRegressor(quantile=level, alpha=0.0, solver="highs").fit(x, y, weights)
    rows = np.column_stack([x, np.ones(600)])
    problem = _Problem(rows, y, weights / weights.sum(), level, np.zeros(4))
    own = rows @ problem.solved(np.asarray(np.linalg.lstsq(rows, y, rcond=None)[0], dtype=np.float64))
    losses = [mean_pinball_loss(y, score, alpha=level, sample_weight=weights) for score in (own, exact.predict(x))]
    assert losses[1] <= losses[0] <= losses[1] * 1.0005
    assert abs(np.average(y < own, weights=weights) - level) < 0.02


def test_features_that_depend_on_each_other_and_labels_without_spread_have_a_solution() -> None:
    x = np.random.default_rng(0).normal(size=(300, 2))
    rows = np.column_stack([x, x[:, 0] + x[:, 1], np.ones(300)])
    noise = np.random.default_rng(1).normal(size=300)
    for label in (x[:, 0] + noise, np.full(300, 7.0), np.zeros(300)):
        problem = _Problem(rows, label, np.full(300, 1 / 300), 0.9, np.zeros(4))
        assert np.isfinite(problem.solved(np.zeros(4))).all()


def test_trees_forecast_the_quantile_of_their_level() -> None:
    table = make_table()
    label = table.label[table.index.rows(0, 40)]
    for level in (0.1, 0.9):
        score = fit(replace(TREES, level=level), table).predict(table.features[table.index.rows(0, 40)])
        assert abs((label < score).mean() - level) < 0.1


def test_quantiles_do_not_cross_and_the_median_is_the_forecast(tmp_path: Path) -> None:
    table = make_table()
    model = Quantiles(LEVELS, TREES)
    fitted = model.fit(learn(table, TRAIN), None)
    found = fitted.predict_quantiles(final_rows(table))
    assert (np.diff(found, axis=1) >= 0).all()
    assert np.array_equal(found[:, 1], fitted.predict(final_rows(table)))
    fitted.save(tmp_path)
    assert np.array_equal(model.load(tmp_path).predict_quantiles(final_rows(table)), found)


@pytest.mark.parametrize(
    ("levels", "model", "expected"),
    [
        ((0.1, 0.9), LinearQuantile(), "hold the median"),
        ((0.9, 0.5), LinearQuantile(), "must rise"),
        ((0.1, 0.5), replace(TREES, loss="mse"), "has no level"),
    ],
)
def test_levels_without_a_median_or_a_loss_without_a_level_are_refused(levels, model, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Quantiles(levels, model)


def test_only_lightgbm_has_a_quantile_loss_among_the_boosters() -> None:
    from tests.models.contract import from_yaml

    with pytest.raises(ConfigError, match="no such loss"):
        from_yaml("xgboost", loss="quantile")


def test_a_run_judges_quantiles_as_two_libraries_do(tmp_path: Path) -> None:
    found = ran(tmp_path, "model=linear_quantile", "model.levels=[0.1,0.5,0.9]")
    predictions = found.predictions()
    rows = predictions.to_frame().dropna(subset=["label"])
    rows = rows.rename(columns={"instrument": "unique_id", "datetime": "ds", "label": "y"})
    columns = [f"quantile_{level}" for level in LEVELS]
    by_hand = np.mean([mean_pinball_loss(rows.y, rows[c], alpha=q) for c, q in zip(columns, LEVELS, strict=True)])
    assert found.metrics["pinball"] == pytest.approx(by_hand, rel=1e-6)
    series = {group["name"]: group for group in found.snapshot.metrics["groups"] if group["by"] == "series"}
    frame = rows.astype({"unique_id": str})
    each = [
        losses.quantile_loss(frame, {"model": column}, q=level).set_index("unique_id").model
        for column, level in zip(columns, LEVELS, strict=True)
    ]
    for name, value in pd.concat(each, axis=1).mean(axis=1).items():
        assert series[name]["pinball"] == pytest.approx(value, rel=1e-6)
    frame = frame.rename(columns={columns[0]: "m-lo-80", columns[2]: "m-hi-80"})
    for name, value in losses.coverage(frame, ["m"], level=80).set_index("unique_id").m.items():
        assert series[name]["coverage"] == pytest.approx(value)
    assert 0.6 < found.metrics["coverage"] <= 1
    assert {"pinball", "coverage"} <= series["S0"].keys()
    assert any("nominally 80%" in note for note in found.notes)


def test_each_series_has_its_own_quantiles_and_they_are_kept_through_files_and_merging(tmp_path: Path) -> None:
    found = ran(tmp_path, "model=linear_quantile", "model.levels=[0.1,0.5,0.9]", "model.model.per_instrument=true")
    predictions = found.predictions()
    assert predictions.quantiles is not None
    assert predictions.levels == LEVELS
    assert np.array_equal(predictions.quantiles[:, 1], predictions.score, equal_nan=True)
    merged = merge_windows([predictions])
    assert merged.digest == predictions.digest
    moved = replace(predictions, quantiles=predictions.quantiles + np.array([0, 0, 1], dtype=np.float32))
    assert moved.digest != predictions.digest
    both = (predictions.start, predictions.stop)
    assert first_difference(predictions, predictions, *both) is None
    assert first_difference(predictions, moved, *both) is not None
