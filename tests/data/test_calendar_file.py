from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar, read_calendar
from harness.data.dates import period_of
from harness.data.text_files import write_lines
from harness.errors import DataError


def _read(tmp_path, text, encoding="utf-8"):
    (tmp_path / "calendar.txt").write_bytes(text.encode(encoding))
    return read_calendar(tmp_path / "calendar.txt")


@pytest.mark.parametrize(
    "text", ["2020-01-01\n2020-01-02\n", "\ufeff20200101\r\n20200102\r\n\r\n", "2020/1/1\r2020/1/2"]
)
def test_a_calendar_is_read_whatever_its_mark_its_line_ends_and_its_dates(tmp_path, text):
    assert _read(tmp_path, text) == Calendar(np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2020-01-01\n\n2020-01-03\n2020-01-02\n", "line 4: 2020-01-02, after 2020-01-03"),
        ("2020-01-01\n2020-01-01 00:00\n", "line 2: 2020-01-01 00:00, after 2020-01-01"),
        ("date\n2020-01-01\n", "line 1: date"),
        ("2020-01-01 # new year\n", "line 1: 2020-01-01 # new year"),
        ("2020-01-01\n2020-02\n", "line 2: 2020-02"),
        ("2020\n", "line 1: 2020"),
        ("2020-01-01\n9999-12-31\n", "line 2: 9999-12-31"),
        ("2020-01-01\nNaT\n", "line 2: NaT"),
        ("01/02/2020\n", "year first"),
        ("2020-01-01T09:30Z\n", "without a time zone"),
        ("\n\n", "The calendar is empty"),
    ],
)
def test_a_line_that_is_no_time_or_steps_back_is_refused_by_its_number(tmp_path, text, told):
    with pytest.raises(DataError) as caught:
        _read(tmp_path, text)
    assert told in str(caught.value)
    assert "calendar.txt" in str(caught.value)


def test_another_encoding_is_refused(tmp_path):
    with pytest.raises(DataError, match="not text in UTF-8"):
        _read(tmp_path, "2020-01-01\n", "utf-16")


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("D", "2020-01-01"),
        ("h", "2020-01-01 00:00:00"),
        ("s", "2020-01-01 00:00:00"),
        ("ms", "2020-01-01 00:00:00.000"),
        ("ns", "2020-01-01 00:00:00.000000000"),
    ],
)
def test_a_calendar_is_written_as_exactly_as_it_is(tmp_path, unit, text):
    calendar = Calendar(np.datetime64("2020-01-01", unit) + np.arange(3))
    assert calendar.texts[0] == text
    write_lines(tmp_path / "calendar.txt", calendar.texts)
    assert read_calendar(tmp_path / "calendar.txt") == calendar
    assert len({calendar.format(position) for position in range(3)}) == 3


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2199, 1, 1)), min_size=1, max_size=5, unique=True),
    st.sampled_from(["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y%m%d%H%M%S"]),
)
def test_a_calendar_is_read_by_the_rule_of_dates(tmp_path_factory, moments, form):
    texts = list(dict.fromkeys(moment.strftime(form) for moment in sorted(moments)))
    folder = tmp_path_factory.mktemp("calendar")
    assert _read(folder, "\n".join(texts)).times.tolist() == [int(period_of(t).first.astype(int)) for t in texts]


def test_a_day_that_does_not_exist_is_refused_by_its_number(tmp_path):
    for text in ("2019-02-30", "2019-02-28 24:00", "2019-02-28 23:59:60"):
        with pytest.raises(DataError, match=f"line 2: {text}"):
            _read(tmp_path, f"2019-02-27\n{text}\n")
