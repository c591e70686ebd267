from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.adaptation.ddgda.preparation import KnownSimilarity
from baselines.adaptation.ddgda.weight_model import FillMethod, WeightRule

FILLS: list[FillMethod] = ["max", "maxseg", "zero"]


def meta_input(
    known: KnownSimilarity, steps: int, fill: FillMethod, *, undefined_is_best: bool
) -> npt.NDArray[np.float64]:
    return WeightRule(steps, fill, undefined_is_best, plain_tail=False).meta_input(known)


def known(values: list[list[float]], step: int = 1, look_ahead: int = 1) -> KnownSimilarity:
    return KnownSimilarity(start=10, step=step, look_ahead=look_ahead, values=np.array(values, dtype=np.float64))


NAN = np.nan
# Four times, blocks of two times, labels known one time later: a block masks its own two times only.
MATRIX = [
    [0.9, 0.2],
    [0.8, 0.4],
    [0.1, 0.9],
    [0.3, 0.7],
]


def test_a_block_is_masked_at_its_own_times_and_as_long_as_labels_overlap() -> None:
    for look_ahead, masked in ((1, 4), (2, 5), (3, 6)):
        assert known(MATRIX, 2, look_ahead).overlap.sum() == masked


def test_the_mean_of_what_is_not_masked_is_taken_off_and_a_masked_cell_takes_the_best_of_its_time() -> None:
    values = [[NAN, 0.2, 0.4, 0.6], [0.1, NAN, 0.3, 0.5], [0.0, 0.1, NAN, 0.5], [0.2, 0.2, 0.2, NAN]]
    diagonal = np.where(np.isnan(values), 5.0, values).tolist()  # masked by overlap, whatever stands there
    found = meta_input(known(diagonal), 4, "max", undefined_is_best=False)
    expected = [[0.2, -0.2, 0.0, 0.2], [-0.2, 0.2, 0.0, 0.2], [-0.2, -0.1, 0.3, 0.3], [0.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert known(diagonal).overlap.sum() == 4
    assert known(diagonal).block_starts.tolist() == [10, 11, 12, 13]


def test_zero_leaves_a_masked_cell_neutral() -> None:
    found = meta_input(known(MATRIX, 2), 2, "zero", undefined_is_best=False)
    np.testing.assert_array_equal(found, 0.0)


def test_maxseg_takes_the_best_block_that_is_known_over_the_whole_masked_period() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((12, 6))
    found = meta_input(known(values.tolist(), 2, 2), 6, "maxseg", undefined_is_best=False)
    time, block = np.arange(12)[:, None], np.arange(6)[None, :]
    masked = (time >= 2 * block) & (time <= 2 * block + 2)
    free = np.where(masked, np.nan, values)
    centred = free - np.nanmean(free, axis=1, keepdims=True)
    filled = centred.copy()
    for k in range(6):
        period = centred[masked[:, k]]
        means = [period[:, j].mean() for j in range(6) if not np.isnan(period[:, j]).any()]
        filled[masked[:, k], k] = max(means)
    np.testing.assert_allclose(found, filled.reshape(6, 2, 6).mean(axis=1))


def test_steps_are_averaged_oldest_first_and_only_the_newest_are_used() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((20, 10)).tolist()
    longer = meta_input(known(values, 2), 8, "max", undefined_is_best=False)
    shorter = meta_input(known(values, 2), 3, "max", undefined_is_best=False)
    np.testing.assert_array_equal(longer[-3:], shorter)


def test_an_undefined_similarity_is_neutral() -> None:
    values = np.random.default_rng(2).standard_normal((8, 8))
    values[:, 3] = np.nan
    found = meta_input(known(values.tolist()), 8, "max", undefined_is_best=False)
    np.testing.assert_array_equal(np.delete(found[:, 3], 3), 0.0)


def test_in_qlib_an_undefined_similarity_becomes_the_best_of_its_time() -> None:
    # A constant proxy has no rank correlation; the fill for masked cells then makes an untrained block the best one.
    values = np.random.default_rng(2).standard_normal((8, 8))
    values[:, 3] = np.nan
    found = meta_input(known(values.tolist()), 8, "max", undefined_is_best=True)
    np.testing.assert_array_equal(found[:, 3], found.max(axis=1))


def test_a_time_without_any_similarity_says_nothing() -> None:
    values = np.full((4, 4), np.nan)
    for fill in FILLS:
        for best in (True, False):
            assert not meta_input(known(values.tolist()), 4, fill, undefined_is_best=best).any()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    step=st.integers(1, 4),
    look_ahead=st.integers(1, 9),
    fill=st.sampled_from(FILLS),
    share=st.floats(0, 0.4),
)
def test_a_block_cannot_score_itself(seed: int, step: int, look_ahead: int, fill: FillMethod, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((step * 7, 7))
    values[rng.random(values.shape) < share] = np.nan
    before = meta_input(known(values.tolist(), step, look_ahead), 5, fill, undefined_is_best=False)
    time, block = np.arange(step * 7)[:, None], np.arange(7)[None, :]
    own = (time >= step * block) & (time <= step * (block + 1) - 1 + look_ahead - 1)
    after = np.where(own, rng.standard_normal(values.shape), values)
    changed = meta_input(known(after.tolist(), step, look_ahead), 5, fill, undefined_is_best=False)
    np.testing.assert_array_equal(before, changed)


@pytest.mark.parametrize("fill", FILLS)
def test_the_callers_matrix_is_left_alone(fill: FillMethod) -> None:
    similarity = known(MATRIX, 2)
    before = similarity.values.copy()
    meta_input(similarity, 2, fill, undefined_is_best=False)
    np.testing.assert_array_equal(similarity.values, before)
