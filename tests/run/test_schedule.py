"""Configured dates become positions, and what cannot be resolved names its key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.config import WindowsConfig
from harness.data.calendar import Calendar
from harness.errors import ConfigError
from harness.run.schedule import describe_windows, resolve_schedule, resolve_windows
from harness.samples.windows import Kind, Segment

CALENDAR = Calendar(np.arange("2016-01-01", "2018-01-01", dtype="datetime64[D]").astype("datetime64[ns]"))
BY_SPLIT = WindowsConfig(
    kind=Kind.EXPANDING, step=20, train=None, valid=None, test=None, split=(0.5, 0.2, 0.3), embargo=0, purge_valid=True
)
BY_DATE = replace(
    BY_SPLIT, train=("2016-01-01", "2016-12-31"), valid=("2017-01-01", "2017-06-30"), test=("2017-07-01", "2017-12-31")
)


def test_dates_include_both_ends() -> None:
    schedule = resolve_schedule(BY_DATE, CALENDAR, look_ahead=21)
    assert CALENDAR.format(schedule.train.last) == "2016-12-31"
    assert CALENDAR.format(schedule.test.start) == "2017-07-01"
    assert schedule.test.last == len(CALENDAR) - 1


def test_shares_cut_the_whole_calendar() -> None:
    schedule = resolve_schedule(BY_SPLIT, CALENDAR, look_ahead=21)
    assert schedule.train == Segment(0, 366)
    assert schedule.valid is not None
    assert schedule.valid.stop == schedule.test.start
    assert schedule.test.stop == len(CALENDAR)


def test_no_share_for_valid_means_none() -> None:
    assert resolve_schedule(replace(BY_SPLIT, split=(0.6, 0.0, 0.4)), CALENDAR, look_ahead=1).valid is None


@pytest.mark.parametrize("key", ["train", "valid", "test"])
def test_a_segment_off_the_calendar_names_its_key_and_the_range(key: str) -> None:
    change: dict[str, Any] = {key: ("1990-01-01", "1990-12-31")}
    with pytest.raises(ConfigError) as caught:
        resolve_schedule(replace(BY_DATE, **change), CALENDAR, look_ahead=21)
    assert caught.value.where == f"windows.{key}"
    assert "2016-01-01 … 2017-12-31" in str(caught.value)


def test_windows_are_described_by_their_first_and_last_dates() -> None:
    windows = resolve_windows(BY_DATE, CALENDAR, look_ahead=21)
    first = describe_windows(windows, CALENDAR)[0]
    assert first["test"] == ["2017-07-01", "2017-07-20"]
    assert first["valid"] == ["2017-01-01", "2017-06-10"]
    assert first["train"] == ["2016-01-01", "2016-12-11"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"step": 0}, "windows.step"),
        ({"embargo": -1}, "windows.embargo"),
        ({"split": (0.5, 0.5, 0.5)}, "split"),
        ({"split": (0.0, 0.5, 0.5)}, "split"),
        ({"test": None}, "train"),
        ({"train": None}, "train"),
    ],
)
def test_an_impossible_schedule_is_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(BY_DATE, **change)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((2016, 2017), ("2016", "2017")),
        ((20160101, "20171231"), ("2016-01-01", "2017-12-31")),
        (("2016/1/1", "2017-12"), ("2016-01-01", "2017-12")),
        ((None, ""), (None, None)),
        ((None, "9999-12-31"), (None, "9999-12-31")),
    ],
)
def test_segments_mean_the_same_however_their_dates_are_written(given, kept) -> None:
    config = replace(BY_SPLIT, train=("2015", "2015"), test=given)
    assert config.test == kept
    assert config.test is not None
    assert CALENDAR.span(*config.test) == (0, len(CALENDAR))


@pytest.mark.parametrize("key", ["train", "valid", "test"])
@pytest.mark.parametrize(
    ("dates", "told"),
    [
        (("2016-12-31", "2016-01-01"), "last date lies before the first"),
        ((2017, 2016), "last date lies before the first"),
        (("01/02/2016", "2017"), "year first"),
        (("2016-02-30", "2017"), "no such day"),
        (("2016", "2017-01-01T00:00Z"), "without a time zone"),
        (("2016", 201702), "four digits"),
    ],
)
def test_dates_that_are_none_or_in_the_wrong_order_are_refused_with_their_key(key, dates, told) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(BY_DATE, **{key: dates})
    assert caught.value.where == key
    assert told in str(caught.value)
