from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar
from harness.data.dates import period_of
from harness.data.sources.synthetic import SyntheticMarket
from harness.errors import ConfigError, DataError

BEFORE_ALL, AFTER_ALL = np.datetime64(-(2**63 - 1), "ns"), np.datetime64(2**63 - 1, "ns")


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        (("2019", 2019, np.datetime64("2019")), "2019-01-01", "2019-12-31T23:59:59.999999999"),
        (("2020-02", "2020/2", np.datetime64("2020-02")), "2020-02-01", "2020-02-29T23:59:59.999999999"),
        (
            (
                "2019-03-01",
                "20190301",
                20190301,
                "2019/03/01",
                "2019/3/1",
                "2019.3.1",
                " 2019-03-01 ",
                date(2019, 3, 1),
            ),
            "2019-03-01",
            "2019-03-01T23:59:59.999999999",
        ),
        (
            (
                "2019-03-01 10:30",
                "2019-03-01T10:30:00",
                "20190301T1030",
                "20190301103000",
                datetime(2019, 3, 1, 10, 30),
            ),
            "2019-03-01T10:30",
            "2019-03-01T10:30",
        ),
        (("2019-03-01 00:00", np.datetime64("2019-03-01", "s")), "2019-03-01", "2019-03-01"),
        (
            ("2019-03-01T10:30:00.123456789", "20190301 103000.123456789"),
            "2019-03-01T10:30:00.123456789",
            "2019-03-01T10:30:00.123456789",
        ),
    ],
)
def test_a_date_means_its_whole_period_and_a_time_its_instant(written, first, last):
    for text in written:
        period = period_of(text)
        assert (period.first, period.last) == (np.datetime64(first, "ns"), np.datetime64(last, "ns")), text
    assert len({period_of(text).text for text in written}) == 1


@pytest.mark.parametrize("written", ["", None, "null", "None", "NaT", "nan", np.datetime64("NaT", "D")])
def test_an_empty_date_is_an_open_end(written):
    period = period_of(written)
    assert (period.first, period.last, period.extent) == (BEFORE_ALL, AFTER_ALL, "open")
    assert period_of(written).text == ""


@pytest.mark.parametrize("written", ["9999-12-31", "99991231", 9999, "9999-12-31 23:59:59", "2999-01", "2262-04-12"])
def test_a_date_that_nanoseconds_cannot_count_lies_after_everything_and_never_overflows(written):
    assert period_of(written).last == AFTER_ALL
    assert not period_of(written).is_one_time
    assert Calendar(np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]")).span("2020-01-02", written) == (1, 2)


def test_a_date_before_1678_lies_before_everything():
    assert period_of("0001-01-01").first == period_of("1600").last == BEFORE_ALL


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("03/01/2019", "year first"),
        ("31.12.2019", "year first"),
        ("19-03-01", "four digits"),
        ("190301", "four digits"),
        ("201903", "four digits"),
        ("2019-02-30", "no such day"),
        ("20190230", "no such day"),
        ("2019-13", "no such day"),
        ("0000", "no such day"),
        ("2019-03-01 24:00", "no such time"),
        ("2019-03-01T23:59:60", "no such time"),
        ("2019-03-01T10:30:00Z", "without a time zone"),
        ("2019-03-01 10:30+08:00", "without a time zone"),
        ("2019-03-01 10:30 Asia/Shanghai", "without a time zone"),
        (datetime(2019, 3, 1, tzinfo=UTC), "without a time zone"),
        ("2019-03 10:30", None),
        ("2019-03/01", None),
        ("2019-03-01T10:30:00.1234567890", None),
        ("1551398400", None),
        ("20190301.0", None),
        ("20,190,301", None),
        ("２０１９", None),
        ("+2019", None),
        ("soon", None),
        (True, None),
    ],
)
def test_what_can_be_read_in_two_ways_or_does_not_exist_is_refused(written, hint):
    with pytest.raises(DataError, match="not a date") as caught:
        period_of(written)
    assert str(written) in str(caught.value.got)
    assert hint is None or hint in str(caught.value.hint)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    st.integers(0, 999),
    st.sampled_from(["ns", "us", "s", "m"]),
)
def test_every_moment_survives_its_text_at_its_own_precision(moment, nanoseconds, unit):
    exact = (np.datetime64(moment, "ns") + np.timedelta64(nanoseconds, "ns")).astype(f"M8[{unit}]")
    for text in (str(exact), str(exact).replace("T", " ")):
        assert period_of(text).first == period_of(text).last == exact
        assert period_of(period_of(text).text) == period_of(text)


def test_a_simulated_market_begins_on_a_date_however_it_is_written_and_ends_before_the_last_nanosecond():
    plain = SyntheticMarket(instruments=3, days=5, members=2, start="2019-01-01").load().calendar
    for start in (2019, "2019-01", 20190101, "2019/1/1"):
        assert SyntheticMarket(instruments=3, days=5, members=2, start=start).load().calendar == plain
    assert SyntheticMarket(start=2019).start == "2019"
    for start, days in (("01/01/2019", 5), ("", 5), ("1600", 5), ("9999-12-31", 5), ("2019", 100_000)):
        with pytest.raises(ConfigError, match=r"not a date|begins on a day") as caught:
            SyntheticMarket(start=start, days=days)
        assert "data.start" in str(caught.value)
        assert ("fewer days" in str(caught.value)) is ("2262" in str(caught.value) and start != "")
