from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.data.calendar import Calendar
from harness.data.membership import mask_of, read_spans, spans_of, write_spans
from harness.errors import DataError

DAYS = Calendar(np.datetime64("2020-01-01", "D") + np.arange(5))
HOURS = Calendar(np.datetime64("2020-01-01T20", "h") + np.arange(8))


def _read(tmp_path, text):
    file = tmp_path / "universe.txt"
    file.write_text(text)
    return read_spans(file)


def _mask(tmp_path, text, calendar=DAYS, **options):
    return mask_of(_read(tmp_path, text), calendar, ("A", "B"), where="universe.txt", **options)


def test_an_instrument_is_a_member_from_first_to_last_day_only(tmp_path):
    mask = _mask(tmp_path, "A\t2020-01-02\t2020-01-03\nB\t2019-01-01\t2030-01-01\n")
    assert mask[:, 0].tolist() == [False, True, True, False, False]
    assert mask[:, 1].all()


def test_an_instrument_may_leave_and_come_back_and_spans_may_touch_or_overlap(tmp_path):
    text = (
        "A\t2020-01-01\t2020-01-01\nA\t2020-01-03\t2020-01-04\nB\t2020-01-01\t2020-01-03\nB\t2020-01-02\t2020-01-04\n"
    )
    mask = _mask(tmp_path, text)
    assert mask[:, 0].tolist() == [True, False, True, True, False]
    assert mask[:, 1].tolist() == [True, True, True, True, False]


def test_a_last_day_reaches_to_its_end_on_an_hourly_calendar(tmp_path):
    assert _mask(tmp_path, "A\t2020-01-01\t2020-01-01\n", HOURS)[:, 0].sum() == 4
    assert _mask(tmp_path, "A\t2020-01-01 21:00:00\t2020-01-02 01:00:00\n", HOURS)[:, 0].sum() == 5


def test_unknown_members_are_refused_by_name_unless_dropping_them_is_asked_for(tmp_path):
    text = "A\t2020-01-01\t2020-01-05\nC1\t2020-01-01\t2020-01-05\nC2\t2020-01-01\t2020-01-05\n"
    with pytest.raises(DataError, match=r"2 instrument\(s\) that have no prices") as caught:
        _mask(tmp_path, text)
    assert "C1, C2" in str(caught.value)
    assert _mask(tmp_path, text, unknown="drop")[:, 0].all()


def test_spans_that_miss_the_calendar_are_refused(tmp_path):
    with pytest.raises(DataError, match="do not overlap") as caught:
        _mask(tmp_path, "A\t2010-01-01\t2010-12-31\n")
    assert "2010-01-01 … 2010-12-31" in str(caught.value)
    assert "2020-01-01 … 2020-01-05" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("A 2020-01-01 2020-01-02\nB\t2020-01-01\t2020-01-02\n", "1 line(s) of the membership file lack a column"),
        ("B\t2020-01-01\t2020-01-02\nA\tsoon\t2020-01-02\n", "line 2: A | soon | 2020-01-02"),
        ("A\t2020-01-03\t2020-01-02\n", "1 line(s) of the membership file end before they begin"),
    ],
)
def test_a_damaged_file_is_refused_with_its_first_bad_lines(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        _read(tmp_path, text)
    assert message in str(caught.value)


def test_a_binary_file_is_refused(tmp_path):
    file = tmp_path / "universe.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not text"):
        read_spans(file)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(mask=hnp.arrays(bool, (8, 2), elements=st.booleans()), hourly=st.booleans())
def test_writing_and_reading_a_membership_gives_the_same_membership(tmp_path_factory, mask, hourly):
    mask[0, 0] = True
    calendar = HOURS if hourly else Calendar(np.datetime64("2020-01-01", "D") + np.arange(8) * 3)
    file = tmp_path_factory.mktemp("spans") / "universe.txt"
    write_spans(spans_of(mask, calendar, ("A", "B")), file)
    np.testing.assert_array_equal(mask_of(read_spans(file), calendar, ("A", "B"), where=""), mask)
