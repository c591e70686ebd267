from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.data.panel import Panel, Truth
from harness.data.source import Source
from harness.data.sources.synthetic import SyntheticMarket
from harness.data.validation import check_panel, validate
from harness.errors import ConfigError
from harness.samples.table import index_rows

SMALL = SyntheticMarket(instruments=30, days=200, members=20, review_every=40)
QUIET = SyntheticMarket(
    instruments=60,
    days=500,
    members=60,
    signal=0.3,
    time_scale=60.0,
    market_return=0.0,
    market_volatility=0.0,
    suspension_rate=0.0,
    late_listings=0.0,
    delistings=0.0,
)
DRIFTS = ("none", "gradual", "recurring", "abrupt")


@pytest.fixture(scope="module")
def panel():
    return SyntheticMarket().load()


def _truth(panel: Panel) -> Truth:
    assert panel.truth is not None
    return panel.truth


def _label(panel):
    """Return the 20-step label, Ref($close, -21) / Ref($close, -1) - 1."""
    close = panel.fields["close"].astype(np.float64)
    label = np.full(close.shape, np.nan)
    label[:-21] = close[21:] / close[1:-20] - 1
    return label


def _daily_ic(score, label, mask):
    rows = mask & np.isfinite(score) & np.isfinite(label)
    return np.array([np.corrcoef(score[t, r], label[t, r])[0, 1] for t, r in enumerate(rows) if r.sum() > 10])


def test_it_is_a_source_without_inputs():
    assert isinstance(SMALL, Source)
    assert SMALL.inputs() == {}


def test_the_same_fields_give_the_same_bits_and_another_seed_others():
    assert SMALL.load().fingerprint == SMALL.load().fingerprint
    assert replace(SMALL, seed=1).load().fingerprint != SMALL.load().fingerprint


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_function_that_differs_in_its_last_place_on_another_processor_changes_nothing(drift, monkeypatch):
    market = replace(SMALL, drift=drift)
    here = market.load().fingerprint
    for name in ("exp", "sin", "tanh"):
        exact = getattr(np, name)
        monkeypatch.setattr(np, name, lambda x, exact=exact: np.nextafter(exact(x), np.inf))
    assert market.load().fingerprint == here


def test_the_panel_is_sound(panel):
    assert check_panel(panel, where="synthetic") is panel
    odd = {finding.what: finding.count for finding in validate(panel)}
    assert set(odd) <= {"members have no price at that time"}
    assert set(panel.fields) == {"open", "high", "low", "close", "vwap", "volume", "factor"}


def test_bars_contain_their_prices(panel):
    fields = panel.fields
    traded = panel.traded
    for name in ("open", "close", "vwap"):
        assert (fields[name][traded] <= fields["high"][traded]).all()
        assert (fields[name][traded] >= fields["low"][traded]).all()
    for values in fields.values():
        np.testing.assert_array_equal(np.isnan(values), ~traded)


def test_changing_one_option_does_not_reshuffle_the_rest():
    base, drifted = SMALL.load(), replace(SMALL, drift="abrupt").load()
    np.testing.assert_array_equal(_truth(base).exposures, _truth(drifted).exposures)
    np.testing.assert_array_equal(base.traded, drifted.traded)
    np.testing.assert_array_equal(base.fields["factor"], drifted.fields["factor"])
    assert not np.array_equal(base.fields["close"], drifted.fields["close"], equal_nan=True)
    quiet = replace(SMALL, suspension_rate=0.0).load()
    both = base.traded & quiet.traded
    np.testing.assert_array_equal(base.fields["close"][both], quiet.fields["close"][both])


def test_volatility_is_realistic_clustered_and_fat_tailed(panel):
    close = panel.fields["close"].astype(np.float64)
    moves = close[1:] / close[:-1] - 1
    own = moves - np.nanmean(moves, axis=1, keepdims=True)
    scaled = (own / np.nanstd(own, axis=0)).ravel()
    scaled = scaled[np.isfinite(scaled)]
    assert 0.018 < np.nanstd(own) < 0.023
    assert 0.009 < np.nanstd(np.nanmean(moves, axis=1)) < 0.014
    assert np.mean(scaled**4) > 4.0
    size = np.abs(own)
    days = size - np.nanmean(size, axis=0)
    assert np.nanmean(days[20:] * days[:-20]) / np.nanmean(days**2) > 0.03


def test_returns_follow_the_law_that_the_truth_states(panel):
    # What is left of a step's return after the truth, on those who did trade, must not be explained by the truth.
    close = panel.fields["close"].astype(np.float64)
    moves = close[1:] / close[:-1] - 1
    expected = _truth(panel).expected_return(1, 1)[:-1]
    rows = np.isfinite(moves)
    centred = np.where(rows, moves - np.nanmean(np.where(rows, moves, np.nan), axis=1, keepdims=True), 0)
    slope = (expected * centred)[rows].sum() / (expected**2)[rows].sum()
    # Standard error: 0.023 / 0.001 / √(2·10⁵) = 0.05.
    assert slope == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("drift", DRIFTS)
def test_the_truth_is_the_conditional_expectation_of_the_horizon(drift):
    # Monte Carlo over independent markets with a strong signal: least squares of realised sums of returns on the
    # truth gives slope 1. Overlap, common premia and 12 markets leave a standard error of about 0.02.
    top = bottom = 0.0
    for seed in range(12):
        market = replace(QUIET, seed=seed, drift=drift)
        panel = market.load()
        close = panel.fields["close"].astype(np.float64)
        steps = np.cumsum(close[1:] / close[:-1] - 1, axis=0)
        realised = steps[21:] - steps[1:-20]  # steps t+3 … t+22 seen from position t+1
        expected = _truth(panel).expected_return(2, 21)[1 : 1 + realised.shape[0]]
        top += float((expected * realised).sum())
        bottom += float((expected**2).sum())
    assert top / bottom == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("drift", DRIFTS)
def test_an_oracle_reaches_a_realistic_ic(drift):
    panel = SyntheticMarket(drift=drift).load()
    ic = _daily_ic(_truth(panel).expected_return(2, 21), _label(panel), panel.membership).mean()
    assert 0.08 < ic < 0.22


def test_the_oracle_ic_grows_with_the_signal_and_is_nothing_without_one():
    weak = SyntheticMarket(signal=0.02).load()
    strong = SyntheticMarket(signal=0.1).load()
    reached = [_daily_ic(_truth(p).expected_return(2, 21), _label(p), p.membership).mean() for p in (weak, strong)]
    assert reached[1] > 2 * reached[0]
    none = replace(SMALL, signal=0.0).load()
    assert not _truth(none).expected_return(1, 20).any()


def test_bars_show_the_characteristics_with_little_noise(panel):
    fields = {name: values.astype(np.float64) for name, values in panel.fields.items()}
    opened, high, low, close = (fields[name] for name in ("open", "high", "low", "close"))
    width = high - low
    upper, lower = high - np.maximum(opened, close), np.minimum(opened, close) - low
    seen = {
        "body": (close - opened) / width,
        "shadow": (upper - lower) / width,
        "vwap": (fields["vwap"] - low) / width,
        "range": np.log(width / close / np.nanstd(close[1:] / close[:-1], axis=0)),
        "volume": np.log(fields["volume"] / np.nanmean(fields["volume"], axis=0)),
    }
    visible = {
        name: _daily_ic(shown, panel.truth.exposures[j].astype(np.float64), panel.membership).mean()
        for j, (name, shown) in enumerate(seen.items())
    }
    assert min(visible.values()) > 0.7, visible


def test_membership_is_known_at_its_time_and_changes_at_reviews(panel):
    members = panel.membership
    changes = np.flatnonzero((np.diff(members.astype(int), axis=0) == 1).any(axis=1)) + 1
    assert set(changes) <= set(range(126, 1800, 126))
    assert changes.size > 3
    assert members.sum(axis=1).max() == 80
    assert members.sum(axis=1).min() > 70


def test_some_list_late_some_leave_and_some_are_suspended(panel):
    traded = panel.traded
    first = traded.argmax(axis=0)
    last = traded.shape[0] - 1 - traded[::-1].argmax(axis=0)
    assert (first > 90).sum() == 12
    assert (last < 1700).sum() >= 2
    inside = (np.arange(traded.shape[0])[:, None] >= first) & (np.arange(traded.shape[0])[:, None] <= last)
    assert 0.001 < (inside & ~traded).sum() / inside.sum() < 0.02


def test_the_default_market_has_enough_rows_to_learn_from(panel):
    assert index_rows(panel).offsets[-1] > 130_000


@pytest.mark.parametrize(
    "change",
    [
        {"days": 1},
        {"members": 31},
        {"signal": -0.1},
        {"signal": 0.9},
        {"volatility": 0.3},
        {"stable": 1.5},
        {"late_listings": 0.7, "delistings": 0.7},
        {"half_lives": (60.0, 30.0, 20.0, 12.0, 0.0)},
        {"seed": -1},
        {"start": "soon"},
        {"suspension_rate": float("nan")},
    ],
    ids=str,
)
def test_an_impossible_market_is_refused(change):
    with pytest.raises(ConfigError, match=r"cannot be simulated|not a date|out of range") as caught:
        replace(SMALL, **change)
    assert next(iter(change)) in str(caught.value.where)
