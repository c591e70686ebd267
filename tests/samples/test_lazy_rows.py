"""Rows that are never held as a whole: every slice, statistic, sum and tree is that of the array, bit for bit."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.models import lightgbm
from harness.samples import preprocess
from harness.samples.chunks import LazyRows, columns_of, part_of, rows_where
from harness.samples.column_statistics import column_extremes, column_moments
from harness.samples.gram import NormalEquations
from harness.samples.medians import column_medians
from harness.samples.preprocess import Pipeline, Processor
from harness.samples.processors import RobustZScoreNorm, ZScoreNorm
from harness.store.compiled import kernel_threads
from harness.store.records import describe
from tests.samples.test_preprocess import EVERY, FIT, TIMES, make_table, name_of

Floats = npt.NDArray[np.float32]


def lazy(values: Floats, cuts: tuple[int, ...] = (0, 3, 3, 40)) -> LazyRows:
    """Return the rows of an array in chunks that end at the cuts."""
    bounds = np.unique([0, *(min(cut, len(values)) for cut in cuts), len(values)])
    return LazyRows.of_chunks(bounds, lambda k: values[bounds[k] : bounds[k + 1]], values.shape[1])


def some(n: int, width: int = 5) -> Floats:
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n, width)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@given(st.integers(0, 60), st.integers(-70, 70), st.integers(-70, 70), st.integers(0, 60))
def test_slices_of_slices_are_those_of_the_array(n: int, start: int, stop: int, first: int) -> None:
    values, at, columns = some(n), slice(start, stop), np.array([4, 1])
    keep = np.random.default_rng(n).random(n) < 0.6
    for rows, wanted in (
        (lazy(values), values),
        (columns_of(lazy(values), columns), values[:, columns]),
        (rows_where(lazy(values), keep), values[keep]),
        (rows_where(columns_of(lazy(values), columns), keep), values[:, columns][keep]),
    ):
        np.testing.assert_array_equal(rows[at], wanted[at])
        np.testing.assert_array_equal(part_of(rows, at)[first:], wanted[at][first:])
        np.testing.assert_array_equal(np.asarray(part_of(rows, at)), wanted[at])
        assert rows.shape == wanted.shape


def awkward(n: int) -> Floats:
    rng = np.random.default_rng(n)
    drawn = rng.normal(size=n)
    columns = [
        *(drawn, np.sort(drawn), -np.sort(drawn), np.round(drawn), np.zeros(n), np.full(n, np.nan), 1e-40 * drawn),
        *(
            np.where(drawn < 0, 0.0, -0.0),
            np.where(drawn < 0.3, np.inf, 1.0),
            np.arange(n) // 16 % 2,
            np.exp(30 * drawn),
        ),
    ]
    values = np.stack(columns, axis=1).astype(np.float32)
    values[rng.random(values.shape) < 0.03] = np.nan
    return values


def test_moments_and_extremes_are_those_of_the_array() -> None:
    values = some(50_000, 3)
    for statistic in (column_moments, column_extremes):
        for a, b in zip(statistic(values), statistic(lazy(values, (1000, 17_000))), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("chain", [(one,) for one in EVERY] + [(ZScoreNorm(), RobustZScoreNorm())], ids=str)
def test_processing_a_slice_gives_the_slice_of_what_is_processed(
    monkeypatch: pytest.MonkeyPatch, chain: tuple[Processor, ...]
) -> None:
    table = make_table(3)
    rows, offsets = table.features, table.index.offsets
    streamed: Any = lazy(rows)
    found = []
    for features, limit in ((rows, 0), (streamed, 0), (streamed, 1 << 30)):
        monkeypatch.setattr(preprocess, "IN_MEMORY", limit)
        seen = table.with_columns(features, table.feature_names, table.label).as_of(TIMES - 1)
        fitted = Pipeline(chain, (), "once").fit(seen, FIT)
        found.append((describe([step[1] for step in fitted.feature_steps]), fitted.features(features, offsets)))
    assert [isinstance(one, LazyRows) for _, one in found] == [False, True, False], name_of(chain[0])
    assert repr(found[0][0]) == repr(found[1][0])
    for start, stop in ((0, len(rows)), (1, 2), (5, 5), (7, 60), (30, len(rows) - 1)):
        np.testing.assert_array_equal(found[0][1][start:stop], found[1][1][start:stop])


def test_sums_are_those_of_the_array() -> None:
    values = np.nan_to_num(some(40_000, 3))
    label = some(40_000, 1)[:, 0]
    ours, wanted = (NormalEquations.from_rows(rows, label, None) for rows in (lazy(values, (33_000,)), values))
    np.testing.assert_array_equal(ours.gram, wanted.gram)
    np.testing.assert_array_equal(ours.moment, wanted.moment)


@pytest.mark.parametrize("seed", [{}, {"seed": 7}, {"seed": 7, "data_random_seed": 3}], ids=str)
def test_trees_of_rows_in_batches_are_those_of_the_array(monkeypatch: pytest.MonkeyPatch, seed: dict[str, int]) -> None:
    values, label = some(3000), np.nan_to_num(some(3000, 1)[:, 0])
    values[:, 3] = np.where(values[:, 3] > 1, values[:, 3], 0)
    asked = {"objective": "mse", "bin_construct_sample_cnt": 400, "num_threads": 1, **lightgbm.SAME_BITS, **seed}
    texts = []
    for limit, batch in ((1 << 30, 64), (0, 64), (0, 5000)):
        monkeypatch.setattr(lightgbm, "_IN_MEMORY", limit)
        monkeypatch.setattr(lightgbm, "_BATCH", batch)
        rows = lazy(values, (700, 2000))
        data = lightgbm.dataset(rows, label, asked)
        watched = lightgbm.dataset(rows.part(slice(1500, None)), label[1500:], asked, reference=data)
        scores: dict[str, Any] = {}
        record = lgb.record_evaluation(scores)
        booster = lgb.train(asked, data, 5, valid_sets=[watched], callbacks=[record])
        texts.append((booster.model_to_string(), scores))
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("learn", ["medians", "moments", "extremes", "sums", "trees"])
def test_whoever_learns_from_rows_keeps_none_of_the_chunks_that_it_has_read(
    monkeypatch: pytest.MonkeyPatch, learn: str
) -> None:
    """A chunk is a mapped file: while any of it is kept, all of it that was read counts as this process's memory."""
    monkeypatch.setattr(lightgbm, "_IN_MEMORY", 0)
    monkeypatch.setattr(lightgbm, "_BATCH", 512)
    values, size, alive, most = np.nan_to_num(some(400_000, 3)), 10_000, dict[int, weakref.ref[Floats]](), [0]

    def chunk(k: int) -> Floats:
        made = values[k * size : (k + 1) * size].copy()
        alive[len(alive)] = weakref.ref(made)
        most[0] = max(most[0], sum(one() is not None for one in alive.values()))
        return made

    rows, label = LazyRows.of_chunks(np.arange(0, 400_001, size), chunk, 3), values[:, 0].copy()
    asked = {"objective": "mse", "bin_construct_sample_cnt": 4000, "num_threads": 1, **lightgbm.SAME_BITS}
    work: dict[str, Callable[[], object]] = {
        "medians": lambda: column_medians(rows),
        "moments": lambda: column_moments(rows),
        "extremes": lambda: column_extremes(rows),
        "sums": lambda: NormalEquations.from_rows(rows, label, None),
        "trees": lambda: lightgbm.dataset(rows, label, asked).construct(),
    }
    kept = work[learn]()
    assert len(alive) >= 40
    assert most[0] <= 10 * kernel_threads()  # a thread reads one slice after the other
    assert not [one for one in alive.values() if one() is not None], kept
