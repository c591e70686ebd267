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
    file.write_text(text, encoding="utf-8", newline="")
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


@pytest.mark.parametrize("end", ["", "9999-12-31", "99991231", "2099-12-31", "null", "2300"])
def test_an_open_end_never_overflows(tmp_path, end):
    assert _mask(tmp_path, f"A\t2020-01-02\t{end}\n")[:, 0].tolist() == [False, True, True, True, True]


def test_spans_that_reach_nobody_are_named_however_open_they_are(tmp_path):
    with pytest.raises(DataError, match="nobody is ever") as caught:
        _mask(tmp_path, "A\t\t2019-05\n")
    assert caught.value.got == "1677-09-21 … 2019-05-31 of A, …"


def test_an_open_start_reaches_back_to_the_beginning(tmp_path):
    assert _mask(tmp_path, "A\t\t2020-01-02\n")[:, 0].tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    "first", ["20200102", "2020-1-2", "2020/01/02", "2020-01-02 00:00:00", "2020-01-02T00:00:00.000"]
)
def test_a_first_day_means_the_same_however_it_is_written(tmp_path, first):
    assert _mask(tmp_path, f"A\t{first}\t2020-01-03\n")[:, 0].tolist() == [False, True, True, False, False]


def test_a_month_or_a_year_is_a_whole_period_at_either_end(tmp_path):
    calendar = Calendar(np.array(["2019-12-31", "2020-01-01", "2020-02-29", "2020-12-31", "2021-01-01"], dtype="M8[D]"))
    mask = _mask(tmp_path, "A\t2020\t2020\nB\t2020-01\t2020-02\n", calendar)
    assert mask[:, 0].tolist() == [False, True, True, True, False]
    assert mask[:, 1].tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_marks_and_line_ends_of_any_system_are_no_part_of_a_code(tmp_path, mark, line_end):
    spans = _read(tmp_path, mark + line_end.join(["A\t2020\t2020", "", "B\t2020\t2020\t", "", ""]))
    assert spans.codes == ("A", "B")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "gb18030"])
def test_another_encoding_is_refused_with_its_mending(tmp_path, encoding):
    (tmp_path / "universe.txt").write_bytes("甲\t2020\t2020\n".encode(encoding))
    with pytest.raises(DataError, match="not text in UTF-8") as caught:
        read_spans(tmp_path / "universe.txt")
    assert "iconv" in str(caught.value)


def test_a_span_that_ends_at_midnight_of_an_hourly_calendar_does_not_grow_to_the_whole_day(tmp_path):
    mask = np.zeros((8, 1), dtype=bool)
    mask[4] = True  # 2020-01-02 00:00 only
    write_spans(spans_of(mask, HOURS, ("A",)), tmp_path / "universe.txt")
    np.testing.assert_array_equal(mask_of(read_spans(tmp_path / "universe.txt"), HOURS, ("A",), where=""), mask)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_between_two_seconds_are_written_as_exactly_as_they_are(tmp_path, unit):
    calendar = Calendar(np.datetime64("2020-01-01T12:00:00", unit) + np.arange(4) * 3)
    mask = np.array([[False], [True], [True], [False]])
    write_spans(spans_of(mask, calendar, ("A",)), tmp_path / "universe.txt")
    np.testing.assert_array_equal(mask_of(read_spans(tmp_path / "universe.txt"), calendar, ("A",), where=""), mask)


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
        ("A\t2020-02\t2020-01\n", "line 1: A | 2020-02 | 2020-01"),
        ("B\t2020\t2020\n\nA\t2019-02-30\t2020\n", "line 3: A | 2019-02-30 | 2020"),
        ("A\t03/01/2019\t2020\n", "write the year first and with four digits"),
        ("A\t19-03-01\t2020\n", "write the year first and with four digits"),
        ("A\t2019-03-01T00:00:00Z\t2020\n", "without a time zone"),
        ("code\tfirst\tlast\nA\t2020\t2020\n", "a heading or a comment is none"),
        ("# by hand\nA\t2020\t2020\n", "line 1: # by hand"),
        ("A\t2020-01-01\n", "an open end is an empty third column, or 9999-12-31"),
        ("A,2020-01-01,2020-01-02\n", "columns are separated by tabs"),
        ("A\t2020\t2020\t0.5\n", "1 line(s) of the membership file have more than three columns"),
        ("A \t2020\t2020\n", "the code 'A ' has blanks at its ends"),
        ("\t2020\t2020\n", "the code '' is empty"),
        ("A\t2020\t2020\n\ufeffB\t2020\t2020\n", "line 2: \ufeffB"),
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


def test_open_ends_are_written_so_that_they_are_open_when_read(tmp_path):
    first = "A\t\t2020-01-03\nB\t2020-01-02 10:30\t\n"
    spans = _read(tmp_path, first + "A\t2020-02-01\t9999-12-31\nB\t0001-01-01\t2019-05\n")
    file = tmp_path / "again.txt"
    write_spans(spans, file)
    again = read_spans(file)
    assert again.codes == spans.codes
    np.testing.assert_array_equal(again.first, spans.first)
    np.testing.assert_array_equal(again.last, spans.last)
