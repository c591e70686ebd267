from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from baselines.adaptation.ddgda.preparation import Similarity, gbdt_similarity, linear_similarity
from baselines.adaptation.ddgda.proxy import GbdtParameters, SimilarityMetric, important_features
from harness.errors import ConfigError, LookAheadError
from harness.execution.progress import Silent
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import Doubles
from harness.samples.table import SampleTable
from tests.adaptation.streams import Stream

STEP, START = 10, 5
SMALL = GbdtParameters(
    rounds=5,
    learning_rate=0.2,
    colsample_bytree=0.9,
    subsample=0.9,
    lambda_l1=0.0,
    lambda_l2=1.0,
    max_depth=4,
    num_leaves=8,
    min_leaf_share=0.02,
)


@pytest.fixture(scope="module")
def table() -> SampleTable:
    return Stream("gradual", times=120).table(0)


def by_ridge(table: SampleTable, start: int = START, decision: int | None = None) -> Similarity:
    blocks = GramBlocks(table.features, table.label, table.index.offsets, step=STEP, origin=start)
    view = table.as_of(len(table.calendar) - 1 if decision is None else decision)
    return linear_similarity(view, start, blocks, step=STEP, alpha=0.05)


def by_trees(table: SampleTable, parameters: GbdtParameters = SMALL) -> Similarity:
    view = table.as_of(len(table.calendar) - 1)
    return gbdt_similarity(view, START, STEP, parameters, seed=0, observer=Silent())


def test_a_cell_is_the_rank_ic_of_the_blocks_own_ridge(table: SampleTable) -> None:
    found = by_ridge(table)
    assert found.values.shape == (120 - 6 - START, (120 - 6 - START) // STEP)
    for time, block in ((0, 0), (50, 3), (108, 9)):
        rows = table.index.rows(START + STEP * block, START + STEP * (block + 1))
        x, y = table.features[rows].astype(np.float64), table.label[rows].astype(np.float64)
        theta = np.linalg.solve(x.T @ x + 0.05 * np.eye(6), x.T @ y)
        at = table.index.rows(START + time, START + time + 1)
        expected = spearmanr(table.features[at] @ theta.astype(np.float32), table.label[at])[0]
        np.testing.assert_allclose(found.values[time, block], expected, atol=1e-12)


def test_a_cell_depends_on_its_time_and_its_block_only(table: SampleTable) -> None:
    features, label = table.features.copy(), table.label.copy()
    rows = table.index.rows(47, 48)  # in block 4
    features[rows], label[rows] = -features[rows][::-1], label[rows][::-1]
    changed = by_ridge(table.with_columns(features, table.feature_names, label)).values
    same = changed == by_ridge(table).values
    same[47 - START], same[:, 4] = True, True
    assert same.all()


def test_rows_without_a_label_do_not_count(table: SampleTable) -> None:
    label = table.label.copy()
    label[table.index.rows(30, 31)] = np.nan
    label[table.index.rows(31, 32).start] = np.nan
    found = by_ridge(table.with_columns(table.features.copy(), table.feature_names, label))
    assert np.isnan(found.values[30 - START]).all()
    assert not np.isnan(found.values[31 - START]).any()


@pytest.mark.parametrize("metric", ["rank_ic", "error"])
@pytest.mark.parametrize("trees", [False, True])
def test_a_block_in_a_gap_of_the_data_is_like_nothing_and_changes_no_other(
    table: SampleTable, metric: SimilarityMetric, trees: bool
) -> None:
    def similarity(of: SampleTable) -> Doubles:
        view = of.as_of(len(of.calendar) - 1)
        if trees:
            return gbdt_similarity(view, START, STEP, SMALL, seed=0, observer=Silent(), metric=metric).values
        blocks = GramBlocks(of.features, of.label, of.index.offsets, step=STEP, origin=START)
        return linear_similarity(view, START, blocks, step=STEP, alpha=0.05, metric=metric).values

    label, (first, last) = table.label.copy(), (START + 4 * STEP, START + 5 * STEP)
    label[table.index.rows(first, last)] = np.nan
    gap, full = similarity(table.with_columns(table.features.copy(), table.feature_names, label)), similarity(table)
    assert np.isnan(gap[:, 4]).all()
    assert np.isnan(gap[4 * STEP : 5 * STEP]).all()
    kept = np.delete(np.delete(gap, 4, axis=1), np.s_[4 * STEP : 5 * STEP], axis=0)
    np.testing.assert_array_equal(kept, np.delete(np.delete(full, 4, axis=1), np.s_[4 * STEP : 5 * STEP], axis=0))


def test_as_of_shows_what_was_known_and_is_what_would_have_been_computed_then(table: SampleTable) -> None:
    decision = 77
    then, cut = by_ridge(table, decision=decision), by_ridge(table).as_of(decision)
    assert cut.values.shape == (decision - 6 + 1 - START, 6)
    np.testing.assert_array_equal(then.values, cut.values)


def test_asking_for_what_is_not_known_is_an_error(table: SampleTable) -> None:
    known = by_ridge(table).as_of(77)
    assert known.until(60).values.shape == (55, 5)
    with pytest.raises(LookAheadError, match="not known"):
        known.until(73)


def test_a_history_shorter_than_a_block_is_refused(table: SampleTable) -> None:
    with pytest.raises(ConfigError, match="shorter than one block"):
        by_ridge(table, decision=START + 10)


class TestTrees:
    def test_the_result_does_not_depend_on_the_number_of_threads(
        self, table: SampleTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("numba.get_num_threads", lambda: 1)
        one = by_trees(table).values
        monkeypatch.setattr("numba.get_num_threads", lambda: 3)
        np.testing.assert_array_equal(by_trees(table).values, one)

    def test_a_cell_is_the_rank_ic_of_the_blocks_own_booster(self, table: SampleTable) -> None:
        rows = table.index.rows(START + 30, START + 40)
        booster = SMALL.grow(table.features[rows], table.label[rows], seed=0, threads=1)
        at = table.index.rows(100, 101)
        expected = spearmanr(np.asarray(booster.predict(table.features[at]), dtype=np.float32), table.label[at])[0]
        np.testing.assert_allclose(by_trees(table).values[100 - START, 3], expected, atol=1e-12)

    def test_a_proxy_that_cannot_split_has_no_similarity(self, table: SampleTable) -> None:
        # The published leaf sizes are made for samples a thousand times larger than one block.
        published = dataclasses.replace(SMALL, lambda_l1=205.6999, lambda_l2=580.9768, min_leaf_share=None)
        assert by_trees(table, published).undefined == by_trees(table).values.size

    def test_leaf_sizes_scale_with_the_block(self, table: SampleTable) -> None:
        assert SMALL.for_rows(400, 0, 1)["min_data_in_leaf"] == 8
        assert SMALL.for_rows(4000, 0, 1)["min_data_in_leaf"] == 80
        assert by_trees(table).undefined == 0

    @pytest.mark.parametrize("key", ["rounds", "min_leaf_share"])
    def test_impossible_parameters_are_refused(self, key: str) -> None:
        with pytest.raises(ConfigError):
            dataclasses.replace(SMALL, **{key: 0})

    @pytest.mark.parametrize("kind", ["split", "gain"])
    def test_importance_finds_what_the_label_is_made_of(self, table: SampleTable, kind: str) -> None:
        rng = np.random.default_rng(0)
        features = rng.standard_normal((4000, 6)).astype(np.float32)
        label = (features[:, 4] - 2 * features[:, 1]).astype(np.float32)
        booster = SMALL.grow(features, label, seed=0, threads=1)
        chosen, used = important_features(booster, tuple("abcdef"), 2, kind)  # type: ignore[arg-type]
        assert set(chosen) == {"b", "e"}
        assert used == 2

    def test_ties_keep_the_order_of_the_table_and_unused_features_are_counted(self) -> None:
        features = np.zeros((200, 4), dtype=np.float32)
        features[:, 2] = np.arange(200)
        booster = SMALL.grow(features, features[:, 2].copy(), seed=0, threads=1)
        assert important_features(booster, tuple("abcd"), 3, "split") == (("c", "a", "b"), 1)
