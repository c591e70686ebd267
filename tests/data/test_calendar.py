from __future__ import annotations

import re
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar
from harness.errors import DataError

DAYS = Calendar(np.array(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"], dtype="datetime64[D]"))
HOURS = Calendar(np.datetime64("2020-01-01T22", "h") + np.arange(5))


def test_times_are_read_only_nanoseconds_whatever_unit_was_given():
    assert DAYS.times.dtype == np.dtype("datetime64[ns]")
    with pytest.raises(ValueError, match="read-only"):
        DAYS.times[0] = DAYS.times[1]


def test_the_callers_array_stays_writable():
    own = np.array(["2020-01-02"], dtype="datetime64[ns]")
    Calendar(own)
    own[0] = np.datetime64("2021-01-01")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "empty"),
        (["2020-01-02", "2020-01-02"], r"not strictly increasing: 1 time"),
        (["2020-01-03", "2020-01-02"], r"2020-01-03.* then 2020-01-02"),
        (["2020-01-02", "NaT"], "missing time"),
        (["2020-01-02", "9999-12-31"], "nanoseconds cannot count"),
        (["0001-01-01", "2020-01-02"], "nanoseconds cannot count"),
        (["1677-09-21T12", "2020-01-02"], "nanoseconds cannot count"),
    ],
)
def test_a_calendar_that_does_not_increase_is_refused(times, message):
    with pytest.raises(DataError) as caught:
        Calendar(np.array(times, dtype="datetime64[h]"))
    assert re.search(message, str(caught.value))


def test_equal_times_make_equal_calendars_with_equal_hashes():
    twin = Calendar(DAYS.times.copy())
    assert twin == DAYS
    assert hash(twin) == hash(DAYS)
    assert HOURS != DAYS


def test_daily_is_told_from_hourly_and_formatted_so():
    assert (DAYS.unit, HOURS.unit) == ("D", "m")
    assert DAYS.format(2) == "2020-01-06"
    assert HOURS.format(2) == "2020-01-02T00:00"


@pytest.mark.parametrize("when", ["2020-01-03", date(2020, 1, 3), datetime(2020, 1, 3), np.datetime64("2020-01-03")])
def test_a_time_is_found_however_it_is_written(when):
    assert DAYS.span(when, when) == (1, 2)


def test_times_that_the_calendar_does_not_hold_have_no_position():
    times = np.array(["2020-01-07", "2020-01-04", "2020-01-02", "2021-01-01", "2019-01-01"], dtype="M8[ns]")
    assert DAYS.positions_of(times).tolist() == [3, -1, 0, -1, -1]


@given(st.lists(st.tuples(st.integers(-2, 12), st.integers(1, 3)), max_size=12))
def test_times_have_the_positions_that_each_alone_has(runs):
    times = np.array([day for day, length in runs for _ in range(length)], dtype="datetime64[D]").astype("M8[ns]")
    calendar = Calendar(np.array([0, 1, 4, 5, 9]).astype("datetime64[D]"))
    known = calendar.times.tolist()
    expected = [known.index(time) if time in known else -1 for time in times.tolist()]
    assert calendar.positions_of(times).tolist() == expected


def test_text_that_is_no_date_is_refused():
    with pytest.raises(DataError, match="not a date"):
        DAYS.first_at_or_after("next friday")


def test_a_span_includes_both_ends():
    assert DAYS.span("2020-01-03", "2020-01-06") == (1, 3)
    assert DAYS.span("2020-01-04", "2020-01-05") == (2, 2)
    assert DAYS.span("2019-01-01", "2030-01-01") == (0, 4)


@pytest.mark.parametrize("end", ["2020-01-01", date(2020, 1, 1), np.datetime64("2020-01-01", "D")])
def test_a_plain_date_reaches_to_the_end_of_its_day(end):
    assert HOURS.span("2020-01-01", end) == (0, 2)


def test_a_clock_time_is_an_exact_end():
    assert HOURS.span("2020-01-01T23:00", "2020-01-02T01:00") == (1, 4)
    assert HOURS.stop_after(datetime(2020, 1, 2, 0, 0)) == 3


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40, unique=True), st.integers(-10, 5010))
def test_positions_agree_with_counting(days, day):
    calendar = Calendar(np.sort(np.array(days)).astype("datetime64[D]"))
    when = np.datetime64(day, "D")
    assert calendar.first_at_or_after(when) == sum(d < day for d in days)
    assert calendar.stop_after(when) == sum(d <= day for d in days)
    assert calendar.positions_of(calendar.times).tolist() == list(range(len(days)))
