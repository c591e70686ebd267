from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from baselines.adaptation.ddgda import rank_correlation
from baselines.adaptation.ddgda.rank_correlation import linear_rank_ic, rank_ic, rank_labels


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    if a.size < 2 or np.unique(a).size < 2 or np.unique(b).size < 2:
        return np.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


VALUES = st.floats(-4, 4, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 3e38, -3e38, 1e-40])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.tuples(VALUES, VALUES), max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_every_time_has_the_spearman_correlation_of_average_ranks(
    rows: list[tuple[float, float]], cuts: list[int]
) -> None:
    values = np.array(rows, dtype=np.float32).reshape(-1, 2)
    offsets = np.sort(np.array([0, *(min(cut, len(rows)) for cut in cuts), len(rows)], dtype=np.int64))
    prediction, label = values[:, 0].copy(), values[:, 1].copy()
    expected = [spearman(prediction[a:b], label[a:b]) for a, b in itertools.pairwise(offsets)]
    found = rank_ic(prediction, rank_labels(label, offsets))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_many_linear_models_are_ranked_as_one_by_one_and_whatever_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([0, 50, 50, 120, 121, 300])
    features = rng.standard_normal((300, 4)).astype(np.float32)
    ranks = rank_labels(rng.standard_normal(300).astype(np.float32), offsets)
    models = rng.standard_normal((7, 4))
    together = linear_rank_ic(features, models, ranks)
    singly = np.stack([linear_rank_ic(features, model[None], ranks)[:, 0] for model in models], axis=1)
    np.testing.assert_array_equal(together, singly)
    monkeypatch.setattr(rank_correlation, "_SHARE", 1)
    monkeypatch.setattr(rank_correlation, "kernel_threads", lambda: 4)
    np.testing.assert_array_equal(linear_rank_ic(features, models, ranks), together)
    assert np.isnan(together[[1, 3]]).all()


def test_constant_or_missing_predictions_have_no_similarity() -> None:
    label = np.array([1, 2, 3], dtype=np.float32)
    ranks = rank_labels(label, np.array([0, 3]))
    assert np.isnan(rank_ic(np.full(3, 0.25, dtype=np.float32), ranks)).all()
    assert np.isnan(rank_ic(np.array([1, np.nan, 3], dtype=np.float32), ranks)).all()
    assert np.isnan(rank_ic(label, rank_labels(np.ones(3, dtype=np.float32), np.array([0, 3])))).all()


def test_a_period_is_ranked_like_the_whole() -> None:
    rng = np.random.default_rng(1)
    offsets = np.array([0, 10, 25, 40])
    values, label = rng.random(40).astype(np.float32), rng.random(40).astype(np.float32)
    ranks = rank_labels(label, offsets)
    later = rank_labels(label[10:], offsets[1:] - 10)
    np.testing.assert_array_equal(rank_ic(values[10:], later), rank_ic(values, ranks)[1:])
