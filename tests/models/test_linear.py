"""The linear model: its contract, and every estimator against a direct solve over the n rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import Lasso, LinearRegression, Ridge

from baselines.models.linear import FittedLinear, Linear
from harness.errors import ConfigError, DataError
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import LearnSet, TimeWeights
from tests.models.contract import (
    HALF,
    TEST,
    TRAIN,
    VALID,
    ModelContract,
    final_rows,
    fit,
    from_yaml,
    learn,
    make_table,
    two_blocks,
)

LOOSE = Linear(estimator="ols")
DECAY = TimeWeights(np.array([0, 10, 20, 35], dtype=np.int64), np.array([0.3, 0.7, 1.0, 2.5]))


class TestRidgeContract(ModelContract):
    model = from_yaml("linear")  # type: ignore[assignment]  # checked by the contract
    steady = LOOSE
    tolerance = 1e-6


class TestNonNegativeContract(ModelContract):
    model = Linear(estimator="nnls", fit_intercept=True)
    steady = model
    tolerance = 1e-6


class TestLassoContract(ModelContract):
    model = Linear(estimator="lasso", alpha=0.01)
    steady = model
    tolerance = 1e-6


def rows_of(weights: TimeWeights | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    train = learn(make_table(), TRAIN, weights)
    row_weights = np.ones(len(train.label)) if train.weights is None else train.weights
    return train.features.astype(np.float64), train.label.astype(np.float64), row_weights


def linear(model: Linear, weights: TimeWeights | None = None) -> FittedLinear:
    return model.fit(learn(make_table(), TRAIN, weights), None)


@pytest.mark.parametrize("weights", [None, DECAY], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("fit_intercept", [False, True], ids=["no-intercept", "intercept"])
class TestDirectSolve:
    """Through p × p statistics, each estimator finds what a direct solver finds over the n rows."""

    def test_ols(self, weights: TimeWeights | None, fit_intercept: bool) -> None:
        x, y, w = rows_of(weights)
        direct = LinearRegression(fit_intercept=fit_intercept).fit(x, y, sample_weight=w)
        self.check(linear(Linear(estimator="ols", fit_intercept=fit_intercept), weights), direct, 1e-10)

    def test_ridge(self, weights: TimeWeights | None, fit_intercept: bool) -> None:
        x, y, w = rows_of(weights)
        direct = Ridge(alpha=7.0, fit_intercept=fit_intercept).fit(x, y, sample_weight=w)
        self.check(linear(Linear(alpha=7.0, fit_intercept=fit_intercept), weights), direct, 1e-10)

    @pytest.mark.parametrize("alpha", [0.003, 0.03, 0.3])
    def test_lasso(self, weights: TimeWeights | None, fit_intercept: bool, alpha: float) -> None:
        x, y, w = rows_of(weights)
        direct = Lasso(alpha=alpha, fit_intercept=fit_intercept, tol=1e-12, max_iter=100_000).fit(x, y, sample_weight=w)
        fitted = linear(Linear(estimator="lasso", alpha=alpha, fit_intercept=fit_intercept), weights)
        self.check(fitted, direct, 2e-6)
        np.testing.assert_array_equal(fitted.solution.theta == 0, direct.coef_ == 0)

    def test_nnls(self, weights: TimeWeights | None, fit_intercept: bool) -> None:
        x, y, w = rows_of(weights)
        direct = LinearRegression(fit_intercept=fit_intercept, positive=True).fit(x, y, sample_weight=w)
        fitted = linear(Linear(estimator="nnls", fit_intercept=fit_intercept), weights)
        self.check(fitted, direct, 1e-9)
        assert (fitted.solution.theta >= 0).all()
        assert (fitted.solution.theta == 0).any()

    def check(self, fitted: FittedLinear, direct: Any, tolerance: float) -> None:
        np.testing.assert_allclose(fitted.solution.theta, direct.coef_, rtol=0, atol=tolerance)
        np.testing.assert_allclose(fitted.solution.intercept, direct.intercept_, rtol=0, atol=tolerance)


def test_the_intercept_of_nnls_may_be_negative_unlike_in_qlib() -> None:
    # qlib appends a column of ones to the features, so that its intercept may not be negative either: an artefact.
    table = make_table()
    shifted = table.with_columns(np.array(table.features), table.feature_names, table.label - np.float32(2.0))
    train = LearnSet(shifted.as_of(TEST.start), TRAIN)
    ours = Linear(estimator="nnls", fit_intercept=True).fit(train, None).solution
    with_ones = np.column_stack([train.features, np.ones(len(train.label))]).astype(np.float64)
    theirs = nnls(with_ones, train.label.astype(np.float64))[0]
    assert ours.intercept < -1.5
    assert theirs[-1] == 0


def test_shared_blocks_and_rows_give_the_same_model() -> None:
    table = make_table()
    blocks = GramBlocks(table.features, table.label, table.index.offsets, step=7)
    view = table.as_of(TEST.start)
    for weights in (None, DECAY):
        shared = Linear().fit(LearnSet(view, TRAIN, weights, blocks), None).solution
        np.testing.assert_allclose(shared.theta, linear(Linear(), weights).solution.theta, rtol=0, atol=1e-12)


def test_shared_blocks_spare_the_copy_of_the_labelled_rows() -> None:
    table = make_table()
    label = table.label.copy()
    label[::5] = np.nan
    table = table.with_columns(np.array(table.features), table.feature_names, label)
    blocks = GramBlocks(table.features, table.label, table.index.offsets, step=7)
    Linear().fit(LearnSet(table.as_of(TEST.start), TRAIN, None, blocks), None)
    assert "labelled" not in vars(table)


def test_what_was_read_is_recorded_with_shared_blocks_too() -> None:
    table = make_table()
    blocks = GramBlocks(table.features, table.label, table.index.offsets, step=7)
    view = table.as_of(TEST.start)
    Linear().fit(LearnSet(view, TRAIN, None, blocks), None)
    assert view.reads.feature == TRAIN.last
    assert view.reads.label_known == TRAIN.last + table.look_ahead


def test_dependent_features_give_the_smallest_solution_and_say_so() -> None:
    table = make_table()
    doubled = np.concatenate([table.features, table.features[:, :1], table.features[:, :1] * 2], axis=1)
    wide = table.with_columns(doubled, (*table.feature_names, "copy", "twice"), np.array(table.label))
    train = LearnSet(wide.as_of(TEST.start), TRAIN)
    solution = LOOSE.fit(train, None).solution
    x, y = train.features.astype(np.float64), train.label.astype(np.float64)
    np.testing.assert_allclose(solution.theta, np.linalg.lstsq(x, y, rcond=1e-9)[0], rtol=0, atol=1e-9)
    assert solution.rank == 5
    assert solution.condition < 1e6
    ridge = Linear(alpha=0.05).fit(train, None).solution
    assert ridge.rank == 5
    assert ridge.condition > 1e3
    np.testing.assert_allclose(ridge.theta, Ridge(alpha=0.05, fit_intercept=False).fit(x, y).coef_, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_dependent_features_leave_non_negative_coefficients_bounded(fit_intercept: bool) -> None:
    # The rows say nothing about θ along up + down − total = 0; a solver left alone runs off to 1e6 there.
    rng = np.random.default_rng(3)
    table = make_table(instruments=200)
    up, down = rng.random((2, len(table))).astype(np.float32)
    label = (up - 0.5 * down + rng.normal(size=len(table))).astype(np.float32)
    features = np.column_stack([up, down, up + down, (up - down) / 3, -up])
    dependent = table.with_columns(features, table.feature_names, label)
    train = LearnSet(dependent.as_of(TEST.start), TRAIN)
    model = Linear(estimator="nnls", fit_intercept=fit_intercept)
    solution = model.fit(train, None).solution
    assert solution.rank == 2
    assert solution.theta.max() < 2
    x = train.features.astype(np.float64)
    direct = LinearRegression(fit_intercept=fit_intercept, positive=True).fit(x, train.label.astype(np.float64))
    ours = np.square(train.label - x @ solution.theta - solution.intercept).sum()
    theirs = np.square(train.label - x @ direct.coef_ - direct.intercept_).sum()
    assert ours <= theirs * (1 + 1e-9)


def test_rank_and_condition_are_saved(tmp_path: Path) -> None:
    fitted = linear(Linear())
    fitted.save(tmp_path)
    again = Linear().load(tmp_path)
    assert again.solution.rank == 5
    assert again.solution.condition == fitted.solution.condition >= 1
    assert again.feature_names == fitted.feature_names


def test_predictions_do_not_depend_on_batch_or_position() -> None:
    table = make_table()
    fitted = linear(Linear(fit_intercept=True))
    rows = final_rows(table)
    every = fitted.predict(rows)
    one_by_one = np.concatenate([fitted.predict(rows[i : i + 1]) for i in range(len(rows))])
    assert every.dtype == np.float32
    assert one_by_one.tobytes() == every.tobytes()
    exact = rows.astype(np.float64) @ fitted.solution.theta + fitted.solution.intercept
    np.testing.assert_allclose(every, exact, rtol=1e-6, atol=1e-7)


def test_missing_features_are_refused_by_name() -> None:
    table = make_table()
    features = table.features.copy()
    features[3, 2] = np.nan
    with pytest.raises(DataError) as caught:
        fit(Linear(), table.with_columns(features, table.feature_names, np.array(table.label)))
    assert caught.value.got == "f[2], lag"
    assert "Fillna" in str(caught.value)


@pytest.mark.parametrize("estimator", ["ridge", "lasso"])
@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_a_penalty_that_is_none_is_refused(estimator: Any, alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        Linear(estimator=estimator, alpha=alpha)


def test_a_lasso_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.models.linear._LASSO_SWEEPS", 1)
    with pytest.raises(DataError, match="did not converge"):
        linear(Linear(estimator="lasso", alpha=1e-6))


def test_weights_move_the_coefficients_toward_the_weighted_times() -> None:
    table = make_table()
    late = fit(LOOSE, table, two_blocks(1e-6, 1.0))
    only_late = LOOSE.fit(LearnSet(table.as_of(TEST.start), type(TRAIN)(HALF, TRAIN.stop)), None)
    assert isinstance(late, FittedLinear)
    np.testing.assert_allclose(late.solution.theta, only_late.solution.theta, atol=1e-4)


def test_valid_is_not_read_unless_it_is_part_of_train() -> None:
    view = make_table().as_of(TEST.start)
    Linear().fit(LearnSet(view, TRAIN), LearnSet(view, VALID))
    assert view.reads.feature == TRAIN.last
