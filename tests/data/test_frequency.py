"""Times in a year follow from the calendar, and from its beginning alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.data.calendar import Calendar, Frequency, frequency_of

START = "2018-01-01"  # a Monday
DAYS = pd.bdate_range(START, periods=300)
HOURS = pd.date_range(START, periods=2000, freq="h")


def found(times: Any) -> Frequency:
    return frequency_of(Calendar(pd.DatetimeIndex(times).to_numpy()))


def session(days: pd.DatetimeIndex, minutes: int, bars: int) -> list[pd.Timestamp]:
    return [day + pd.Timedelta(minutes=570 + minutes * bar) for day in days for bar in range(bars)]


@pytest.mark.parametrize(
    ("times", "periods"),
    [
        (DAYS, 252),
        (DAYS + pd.Timedelta(hours=16), 252),
        ([d for d in pd.date_range(START, periods=400) if d.weekday() not in (4, 5)], 252),  # Sunday to Thursday
        (pd.date_range(START, periods=300), 365),
        ([d for d in pd.date_range(START, periods=400) if d.weekday() in (0, 2, 4)], 156),
        (pd.date_range(START, periods=200, freq="2D"), 183),
        (pd.date_range(START, periods=100, freq="36h"), 244),
        (pd.date_range(START, periods=60, freq="W-FRI"), 52),
        (pd.date_range(START, periods=60, freq="14D"), 26),
        (pd.date_range(START, periods=60, freq="SME"), 24),
        (pd.date_range(START, periods=60, freq="28D"), 13),
        (pd.date_range(START, periods=60, freq="ME"), 12),
        (pd.date_range(START, periods=60, freq="BME"), 12),
        (pd.date_range(START, periods=30, freq="MS"), 12),
        (pd.date_range(START, periods=30, freq="QE"), 4),
        (pd.date_range(START, periods=20, freq="YE"), 1),
        (pd.date_range(START, periods=60, freq="10D"), 37),
        (HOURS, 8760),
        (HOURS[:40], 8760),
        (pd.date_range(START, periods=2000, freq="15min"), 35040),
        (pd.date_range(START, periods=2000, freq="4h"), 2190),
        (session(DAYS, 60, 7), 7 * 252),
        (session(DAYS[:40], 1, 240), 240 * 252),
        (session(DAYS[:1], 5, 78), 78 * 252),
        (session(DAYS[:4], 5, 78), 78 * 252),
        (session(DAYS[:9], 5, 78), 78 * 252),
        (pd.date_range(START, periods=15, freq="4h"), 2190),
        ([t for t in HOURS if t.weekday() < 5], 24 * 252),
        (DAYS[:3], 252),
        (DAYS[:1], 252),
    ],
)
def test_the_spacing_of_the_times_gives_the_times_in_a_year(times: object, periods: int) -> None:
    assert found(times).periods_per_year == periods


@pytest.mark.parametrize(
    "times", [DAYS, HOURS, pd.date_range(START, periods=300), pd.DatetimeIndex(session(DAYS, 60, 7))]
)
def test_holidays_gaps_and_a_few_odd_days_change_nothing(times: pd.DatetimeIndex) -> None:
    plain = found(times)
    rng = np.random.default_rng(0)
    assert found(times[rng.random(times.size) < 0.95]) == plain
    middle = times.size // 2
    assert found(times.delete(np.arange(middle, middle + times.size // 5))) == plain
    if plain.is_exchange_daily:
        assert found(times.union(pd.DatetimeIndex(["2018-02-03", "2018-02-11"]))) == plain  # make-up days


def test_clocks_that_change_leave_hours_hours() -> None:
    local = pd.date_range("2018-01-01", periods=6000, freq="h", tz="Europe/Berlin").tz_localize(None)
    assert found(local.unique().sort_values()).periods_per_year == 8760


@pytest.mark.parametrize("freq", ["B", "D", "h", "W-FRI", "BME", "4h"])
def test_days_that_are_appended_change_nothing(freq: str) -> None:
    times = pd.date_range(START, periods=800, freq=freq)
    assert len({found(times[:size]).periods_per_year for size in (60, 61, 65, 100, 400, 501, 800)}) == 1


def test_only_five_weekdays_once_a_day_are_the_days_of_an_exchange() -> None:
    assert found(DAYS).is_exchange_daily
    for other in (HOURS, pd.date_range(START, periods=300), pd.date_range(START, periods=60, freq="W-FRI")):
        assert not found(other).is_exchange_daily
