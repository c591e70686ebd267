"""Medians of columns and of deviations from them: exact, whatever the columns hold, in one look at the rows."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.samples import medians
from harness.samples.medians import column_medians
from tests.samples.test_lazy_rows import awkward, lazy

Floats = npt.NDArray[np.float32]


class Counted:
    """Rows that say how many of them were read."""

    def __init__(self, values: Floats) -> None:
        self.values, self.shape, self.lengths = values, values.shape, list[int]()

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Floats:
        found = self.values[rows]
        self.lengths.append(len(found))  # by several threads
        return found

    @property
    def read(self) -> int:
        return sum(self.lengths)


def spelt_out(values: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the medians of columns and of the deviations from them, sorted column by column."""
    centre, spread = [], []
    for column in values.T:
        present = np.sort(column[~np.isnan(column)]).astype(np.float64)
        if not present.size:
            centre.append(np.nan)
            spread.append(np.nan)
            continue
        with np.errstate(all="ignore"):
            centre.append((present[(present.size - 1) // 2] + present[present.size // 2]) / 2.0)
            away = np.sort(np.abs(present.astype(np.float32) - np.float32(centre[-1]))).astype(np.float64)
            spread.append((away[(away.size - 1) // 2] + away[away.size // 2]) / 2.0)
        if not np.isfinite(centre[-1]):
            spread[-1] = centre[-1]
    return np.array(centre), np.array(spread)


@pytest.mark.parametrize("wide", [medians._WIDE, 0.0])  # of 0, no bracket holds its median at first
@pytest.mark.parametrize("n", [0, 1, 2, 9, 500, 3001])
def test_medians_are_exact_wherever_the_sample_puts_them(monkeypatch: pytest.MonkeyPatch, n: int, wide: float) -> None:
    monkeypatch.setattr(medians, "_WIDE", wide)
    monkeypatch.setattr(medians, "_SMALL", 64)
    with np.errstate(over="ignore"):
        values = awkward(n)
    np.testing.assert_array_equal(column_medians(lazy(values)), spelt_out(values))


@pytest.mark.parametrize("n", [1, 100, 9000])
def test_no_columns_have_no_medians(n: int) -> None:
    for values in column_medians(np.empty((n, 0), np.float32)):
        assert values.shape == (0,)


def test_a_median_of_zeros_has_the_sign_of_the_one_in_the_middle() -> None:
    values = np.array([[0.0], [-0.0], [-0.0]], dtype=np.float32)
    assert np.signbit(column_medians(values)[0][0])
    assert not np.signbit(column_medians(values[[0, 0, 1]])[0][0])


SEVERAL = [0.0, -0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -0.2, 1e30, -3e38, 3e38, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("wide", [medians._WIDE, 0.0])
@settings(derandomize=True, deadline=None, max_examples=60)  # the first compiles
@given(
    few=st.lists(st.sampled_from(SEVERAL), min_size=1, max_size=6),
    shape=st.tuples(st.integers(1, 600), st.integers(1, 18)),
    seed=st.integers(0, 1000),
)
def test_medians_of_few_different_values_are_exact(
    wide: float, few: list[float], shape: tuple[int, int], seed: int
) -> None:
    """Where many values are equal, brackets and tails end on them."""
    values = np.random.default_rng(seed).choice(np.array(few, dtype=np.float32), shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medians, "_WIDE", wide)
        patch.setattr(medians, "_SMALL", 16)
        patch.setattr(medians, "_ROWS", 300)  # more than a block of the kernel
        found = column_medians(values)
    np.testing.assert_array_equal(found, spelt_out(values))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_equal_values_are_not_kept(share: float) -> None:
    values = (np.random.default_rng(0).random((300_000, 16)) < share).astype(np.float32)
    column_medians(values[:1000])  # compiles
    tracemalloc.start()
    found = column_medians(values)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, spelt_out(values))
    assert most < 0.5 * values.nbytes


def columns_of_every_kind(n: int) -> Floats:
    """Return columns as features are: smooth, skewed, shares of few days, mostly equal, of one value, with gaps."""
    rng = np.random.default_rng(n)
    drawn = rng.normal(size=(n, 3))
    columns = [*drawn.T, np.exp(drawn[:, 0]), drawn[:, 0] ** 2, rng.integers(0, 6, n) / 5, rng.integers(0, 61, n) / 60]
    columns += [np.where(drawn[:, 1] > 1, drawn[:, 2], 0.0), np.full(n, 3.0), np.where(drawn[:, 2] > 0, np.nan, 1.0)]
    return np.stack(columns, axis=1).astype(np.float32)


def test_rows_are_read_once_for_both_medians() -> None:
    values = Counted(columns_of_every_kind(60_000))
    np.testing.assert_array_equal(column_medians(values), spelt_out(values.values))  # type: ignore[arg-type]
    assert values.read <= 2.1 * len(values)  # equal values again, of their columns alone
    smooth = Counted(values.values[:, :5])
    column_medians(smooth)  # type: ignore[arg-type]
    assert smooth.read <= 1.1 * len(smooth)


def test_a_column_that_its_sample_misleads_is_looked_for_again() -> None:
    """Every run of the sample is among the rows that differ from all others."""
    n = 200_000
    starts = np.linspace(0, n - medians._RUN, -(-int(medians._SHARE * n ** (2 / 3)) // medians._RUN)).astype(np.int64)
    values = np.random.default_rng(0).normal(size=(n, 9)).astype(np.float32)
    for start in starts:
        values[start : start + medians._RUN, 4] = 50.0
    rows = Counted(values)
    np.testing.assert_array_equal(column_medians(rows), spelt_out(values))  # type: ignore[arg-type]
    assert rows.read > 2 * len(values)
