"""Quantiles, lags and groups of a ranking, each against the computation that a reader would do in pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation import ranking
from harness.evaluation.formulas import rank_ic, score_autocorrelation

calm = settings(derandomize=True, deadline=None, max_examples=30)
COUNT = 3


@st.composite
def rankings(draw: st.DrawFn) -> pd.DataFrame:
    """Rows of a few times in the order of time and instrument, with ties, gaps and a group that changes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    times, width = draw(st.integers(2, 8)), draw(st.integers(4, 20))
    frame = pd.DataFrame({"time": np.repeat(np.arange(times), width), "code": np.tile(np.arange(width), times)})
    frame["score"] = rng.integers(0, 12, len(frame)).astype(np.float32)
    frame["label"] = rng.normal(0, 1, len(frame)).astype(np.float32)
    frame["group"] = rng.integers(0, 3, len(frame)).astype(np.float32)
    for column in ("score", "label", "group"):
        frame.loc[rng.random(len(frame)) < 0.1, column] = np.nan
    return frame[rng.random(len(frame)) < 0.9].reset_index(drop=True)


def offsets_of(frame: pd.DataFrame) -> np.ndarray:
    counts = frame["time"].value_counts().reindex(range(frame["time"].max() + 1), fill_value=0).sort_index()
    return np.concatenate([[0], np.cumsum(counts.to_numpy())]).astype(np.int64)


def quantiles_by_sorting(frame: pd.DataFrame) -> pd.Series:
    found = pd.Series(-1, frame.index)
    for _, rows in frame.dropna(subset="score").groupby("time"):
        if len(rows) >= 2 * COUNT and rows["score"].max() > rows["score"].min():
            ranked = rows.sort_values("score", kind="stable")
            found[ranked.index] = np.arange(len(ranked)) * COUNT // len(ranked)
    return found


@calm
@given(rankings())
def test_quantiles_are_equal_shares_of_the_sorted_scores(frame: pd.DataFrame) -> None:
    found = ranking.quantiles(frame["score"].to_numpy(), offsets_of(frame), COUNT)
    np.testing.assert_array_equal(found, quantiles_by_sorting(frame))


@calm
@given(rankings())
def test_a_quantile_earns_its_mean_label_beyond_that_of_all(frame: pd.DataFrame) -> None:
    quantile, offsets = quantiles_by_sorting(frame), offsets_of(frame)
    found = ranking.quantile_returns(quantile.to_numpy(), frame["label"].to_numpy(), offsets, COUNT)
    rows = frame.assign(quantile=quantile, label=frame["label"].astype(np.float64))[quantile >= 0]
    rows["label"] -= rows.groupby("time")["label"].transform("mean")
    expected = rows.pivot_table("label", "time", "quantile").reindex(
        index=range(offsets.size - 1), columns=range(COUNT)
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


@calm
@given(rankings(), st.integers(1, 2))
def test_turnover_counts_the_names_that_a_quantile_did_not_hold(frame: pd.DataFrame, lag: int) -> None:
    quantile, offsets = quantiles_by_sorting(frame), offsets_of(frame)
    found = ranking.quantile_turnover(quantile.to_numpy(), frame["code"].to_numpy(), offsets, COUNT, lag)
    held = frame.assign(quantile=quantile).groupby(["time", "quantile"])["code"].agg(set).to_dict()
    for time in range(offsets.size - 1):
        for q in range(COUNT):
            now, before = held.get((time, q)), held.get((time - lag, q))
            expected = len(now - before) / len(now) if now and before else np.nan
            assert found[time, q] == pytest.approx(expected, nan_ok=True)


@calm
@given(rankings(), st.integers(0, 3))
def test_a_late_ic_is_that_of_the_labels_some_times_on(frame: pd.DataFrame, lag: int) -> None:
    found = ranking.lagged_rank_ic(
        frame["score"].to_numpy(), frame["label"].to_numpy(), frame["code"].to_numpy(), offsets_of(frame), lag
    )
    later = frame.set_index(["time", "code"])["label"].rename(index=lambda time: time - lag, level=0).rename("later")
    rows = frame.join(later, on=["time", "code"]).astype(np.float64)
    for time, value in enumerate(found):
        expected = rows[rows["time"] == time][["score", "later"]].dropna().corr(method="spearman").iloc[0, 1]
        assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_an_ic_without_a_lag_is_the_ic_and_scores_lagged_by_themselves_are_their_autocorrelation() -> None:
    rng = np.random.default_rng(0)
    offsets, codes = np.arange(0, 121, 10), np.tile(np.arange(10), 12)
    score, label = rng.normal(size=(2, 120)).astype(np.float32)
    found = ranking.lagged_rank_ic(score, label, codes, offsets, 0)
    np.testing.assert_array_equal(found, rank_ic(score, label, offsets))
    before = ranking.lagged_rank_ic(score, score, codes, offsets, -2)
    np.testing.assert_array_equal(before, score_autocorrelation(score, codes, offsets, 2))


@calm
@given(rankings())
def test_a_neutral_ic_is_that_of_what_differs_within_groups(frame: pd.DataFrame) -> None:
    found = ranking.neutral_rank_ic(
        frame["score"].to_numpy(), frame["label"].to_numpy(), frame["group"].to_numpy(), offsets_of(frame)
    )
    rows = frame.dropna().astype(np.float64)
    group = rows.groupby(["time", "group"])
    rows = rows.assign(**{side: rows[side] - group[side].transform("mean") for side in ("score", "label")}).round(6)
    rows = rows[group["score"].transform("size") > 1]
    for time, value in enumerate(found):
        expected = rows[rows["time"] == time][["score", "label"]].corr(method="spearman").iloc[0, 1]
        assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_signal_that_only_knows_the_group_has_no_neutral_ic() -> None:
    rng = np.random.default_rng(0)
    group = np.tile(np.repeat([0.0, 1.0], 20), 30).astype(np.float32)
    score, label = group + 0.0, (group + rng.normal(0, 0.1, group.size)).astype(np.float32)
    offsets = np.arange(0, group.size + 1, 40)
    assert rank_ic(score, label, offsets).min() > 0.8
    assert np.isnan(ranking.neutral_rank_ic(score, label, group, offsets)).all()
