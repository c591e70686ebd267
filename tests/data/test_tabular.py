from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.data.calendar import Calendar
from harness.data.convert import write_long
from harness.data.panel import Panel
from harness.data.sources.tabular import TabularSource
from harness.errors import ConfigError, DataError
from tests.data.small_panel import small_panel

COLUMNS = {"time": "day", "instrument": "ticker", "close": "last"}
ROWS: dict[str, Any] = {
    "day": np.array(["2020-01-01", "2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
    "ticker": ["A", "B", "B"],
    "last": [1.0, 2.0, 3.0],
}


@pytest.fixture(params=["csv", "parquet"])
def suffix(request):
    return request.param


def _write(folder, rows, suffix="parquet", name="prices"):
    table = pa.table(rows)
    file = folder / f"{name}.{suffix}"
    pq.write_table(table, file) if suffix == "parquet" else pacsv.write_csv(table, file)
    return file.name


def _source(folder, rows=ROWS, suffix="parquet", **options):
    return TabularSource(root=str(folder), path=_write(folder, rows, suffix), columns=COLUMNS, **options)


def test_rows_become_dense_arrays_with_nan_where_a_row_is_missing(tmp_path, suffix):
    panel = _source(tmp_path, suffix=suffix).load()
    assert panel.instruments == ("A", "B")
    assert panel.calendar.format(1) == "2020-01-02"
    np.testing.assert_array_equal(panel.fields["close"], np.array([[1, 2], [np.nan, 3]], dtype=np.float32))


def test_without_a_membership_file_everyone_is_always_in_the_universe(tmp_path):
    assert _source(tmp_path).load().membership.all()


def test_only_mapped_columns_are_read(tmp_path):
    assert set(_source(tmp_path, ROWS | {"secret": ["x", "y", "z"]}).load().fields) == {"close"}


def test_codes_of_digits_stay_text(tmp_path, suffix):
    panel = _source(tmp_path, ROWS | {"ticker": ["000001", "600000", "600000"]}, suffix).load()
    assert panel.instruments == ("000001", "600000")


def test_whole_numbers_and_hours_are_read(tmp_path, suffix):
    hours = np.array(["2020-01-01T01", "2020-01-01T01", "2020-01-01T02"], dtype="datetime64[s]")
    panel = _source(tmp_path, ROWS | {"day": hours, "last": [1, 2, 3]}, suffix).load()
    assert panel.calendar.format(1) == "2020-01-01T02:00"
    assert panel.fields["close"][1, 1] == 3


def test_an_empty_cell_is_not_traded(tmp_path, suffix):
    panel = _source(tmp_path, ROWS | {"last": [1.0, None, 3.0]}, suffix).load()
    assert not panel.traded[0, 1]


def test_membership_benchmark_and_calendar_files_are_used(tmp_path):
    (tmp_path / "members.txt").write_text("B\t2020-01-02\t2020-12-31\n")
    (tmp_path / "calendar.txt").write_text("2020-01-01\n2020-01-02\n2020-01-03\n")
    index = {
        "day": np.array(["2020-01-01", "2020-01-03"], dtype="datetime64[D]"),
        "ticker": ["I", "I"],
        "last": [9.0, 8.0],
    }
    panel = _source(
        tmp_path,
        membership="members.txt",
        calendar="calendar.txt",
        benchmark=_write(tmp_path, index, name="index"),
        benchmark_instrument="I",
    ).load()
    np.testing.assert_array_equal(panel.membership, [[False, False], [False, True], [False, True]])
    assert panel.benchmark.name == "I"
    np.testing.assert_array_equal(panel.benchmark.close, np.array([9, np.nan, 8], dtype=np.float32))


@pytest.mark.parametrize(
    ("rows", "message", "detail"),
    [
        ({"day": ROWS["day"][::-1]}, "1 row(s) step back", "row 1: 2020-01-01 B"),
        ({"ticker": ["B", "A", "B"]}, "1 row(s) step back", "row 1: 2020-01-01 A"),
        ({"ticker": ["A", "A", "B"]}, "1 row(s) repeat the key", "row 1: 2020-01-01 A"),
        ({"day": ROWS["day"][[0, 2, 2]]}, "1 row(s) repeat the key", "row 2: 2020-01-02 B"),
        ({"ticker": ["B", "A", "B"]}, "1 row(s) step back", "data.sort=true takes rows in any order"),
        ({"last": [1.0, -2.0, 0.0]}, "2 values of `close` are not positive", "2020-01-01 B close=-2"),
        ({"last": ["1.0", "n/a", "3.0"]}, "of column `last` have the wrong type", "row 1: 'n/a'"),
        ({"day": ["2020-01-01", "soon", "2020-01-02"]}, "1 value(s) of column `day`", "row 1: 'soon'"),
        ({"ticker": ["A", None, "B"]}, "1 row(s) have no key", "row 1"),
    ],
    ids=[
        *("unsorted times", "unsorted codes", "repeated", "repeated day", "remedy", "not positive", "text", "no date"),
        "no key",
    ],
)
def test_a_bad_table_is_refused_with_the_first_offending_rows(tmp_path, rows, message, detail):
    with pytest.raises(DataError) as caught:
        _source(tmp_path, ROWS | rows, sort=False).load()
    assert message in str(caught.value)
    assert detail in str(caught.value)


def test_wrong_types_are_named_in_csv_too(tmp_path):
    for rows, detail in (
        ({"last": ["1", "x", "y"]}, "2 value(s) of column `last`"),
        ({"day": ["a", "b", "c"]}, "`day`"),
    ):
        with pytest.raises(DataError) as caught:
            _source(tmp_path, ROWS | rows, "csv").load()
        assert detail in str(caught.value)


def test_a_time_zone_is_refused(tmp_path):
    zoned = pa.array(ROWS["day"].astype("datetime64[s]")).cast(pa.timestamp("s", "Asia/Shanghai"))
    with pytest.raises(DataError, match="`day`") as caught:
        _source(tmp_path, ROWS | {"day": zoned}).load()
    assert "without a time zone" in str(caught.value)


def test_high_below_low_is_refused(tmp_path):
    source = _source(tmp_path, ROWS | {"top": [1.0, 2.0, 3.0], "bottom": [1.0, 2.5, 3.0]})
    with pytest.raises(DataError, match="1 rows have high < low"):
        replace(source, columns=COLUMNS | {"high": "top", "low": "bottom"}).load()


def test_an_unknown_member_is_refused_unless_dropping_is_asked_for(tmp_path):
    (tmp_path / "members.txt").write_text("B\t2020-01-02\t2020-12-31\nC\t2020-01-02\t2020-12-31\n")
    source = _source(tmp_path, membership="members.txt")
    with pytest.raises(DataError, match=r"1 instrument\(s\) that have no prices"):
        source.load()
    assert replace(source, unknown_members="drop").load().membership.sum() == 1


def test_files_that_do_not_overlap_are_refused(tmp_path):
    (tmp_path / "members.txt").write_text("B\t2010-01-02\t2010-12-31\n")
    with pytest.raises(DataError, match="do not overlap"):
        _source(tmp_path, membership="members.txt").load()
    (tmp_path / "calendar.txt").write_text("2010-01-01\n")
    with pytest.raises(DataError, match=r"2 time\(s\) of the table are not on the calendar"):
        _source(tmp_path, calendar="calendar.txt").load()
    index = {"day": ROWS["day"][:1] - np.timedelta64(9, "D"), "ticker": ["I"], "last": [1.0]}
    name = _write(tmp_path, index, name="index")
    with pytest.raises(DataError, match="benchmark and the panel do not overlap"):
        _source(tmp_path, benchmark=name, benchmark_instrument="I").load()


@pytest.mark.parametrize(
    ("lines", "message"),
    [("2020-01-01\nsoon\n", "line 2: soon"), ("2020-01-02\n2020-01-01\n", "not strictly increasing"), ("", "empty")],
)
def test_a_damaged_calendar_is_refused(tmp_path, lines, message):
    (tmp_path / "calendar.txt").write_text(lines)
    with pytest.raises(DataError) as caught:
        _source(tmp_path, calendar="calendar.txt").load()
    assert message in str(caught.value)
    assert "calendar.txt" in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path, suffix):
    source = _source(tmp_path, suffix=suffix)
    file = tmp_path / source.path
    file.write_bytes(file.read_bytes()[: -12 if suffix == "csv" else -20])
    with pytest.raises(DataError, match="may be truncated"):
        source.load()


def test_an_empty_file_and_a_table_without_rows_are_refused(tmp_path, suffix):
    source = _source(tmp_path, suffix=suffix)
    (tmp_path / source.path).write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        source.load()
    _write(tmp_path, {name: values[:0] for name, values in ROWS.items()}, suffix)
    with pytest.raises(DataError, match=r"no rows|wrong type"):
        source.load()


def test_a_missing_column_is_named_with_a_suggestion(tmp_path, suffix):
    source = replace(_source(tmp_path, suffix=suffix), columns=COLUMNS | {"close": "lst"})
    with pytest.raises(DataError, match="lacks a column") as caught:
        source.load()
    assert "did you mean `last`?" in str(caught.value)


def test_a_missing_file_is_named_with_its_key_and_its_neighbours(tmp_path):
    source = replace(_source(tmp_path), path="elsewhere.parquet")
    with pytest.raises(DataError, match="no such file") as caught:
        source.load()
    text = str(caught.value)
    assert "data.path" in text
    assert "elsewhere.parquet" in text
    assert "holds: prices.parquet" in text


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "prices.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="not known"):
        replace(_source(tmp_path), path="prices.xlsx").load()


def test_an_unknown_benchmark_instrument_is_refused(tmp_path):
    source = _source(tmp_path)
    with pytest.raises(DataError, match="lacks the benchmark"):
        replace(source, benchmark=source.path, benchmark_instrument="I").load()


@pytest.mark.parametrize(
    "change",
    [
        {"columns": {"time": "day", "close": "last"}},
        {"price_field": "value"},
        {"benchmark": "x"},
        {"benchmark_instrument": "x"},
    ],
    ids=str,
)
def test_keys_that_contradict_each_other_are_refused(change):
    with pytest.raises(ConfigError):
        TabularSource(**{"path": "x.csv", "columns": COLUMNS} | change)


def test_inputs_are_the_digests_of_the_named_files_and_follow_their_content(tmp_path):
    (tmp_path / "members.txt").write_text("B\t2020-01-02\t2020-12-31\n")
    source = _source(tmp_path, membership="members.txt")
    before = source.inputs()
    assert set(before) == {"path", "membership"}
    (tmp_path / "members.txt").write_text("B\t2020-01-01\t2020-12-31\n")
    after = source.inputs()
    assert after["path"] == before["path"]
    assert after["membership"] != before["membership"]


def test_relative_paths_start_at_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = _write(tmp_path, ROWS)
    assert len(TabularSource(path=name, columns=COLUMNS).load().calendar) == 2


LONG_COLUMNS = {name: name for name in ("instrument", "open", "high", "low", "close", "volume")} | {"time": "datetime"}


@pytest.mark.parametrize("hourly", [False, True])
def test_a_panel_written_in_long_form_is_read_back_exactly(tmp_path, hourly):
    panel = small_panel(hourly=hourly)
    write_long(panel, tmp_path / "out", universe="some")
    source = TabularSource(
        root=str(tmp_path / "out"),
        path="panel.parquet",
        columns=LONG_COLUMNS,
        membership="some.txt",
        calendar="calendar.txt",
        benchmark="benchmark.parquet",
        benchmark_instrument="SH000300",
    )
    assert source.load().fingerprint == panel.fingerprint


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    values=hnp.arrays(np.float32, (5, 3), elements=st.one_of(st.just(np.nan), st.floats(0.5, 1e6, width=32))),
    suffix=st.sampled_from(["csv", "parquet"]),
)
def test_any_presence_pattern_survives_the_way_through_a_file(tmp_path_factory, values, suffix):
    values[:, 0], values[0, :] = 1.0, 2.0
    times, codes = np.nonzero(~np.isnan(values))
    days = np.datetime64("2020-01-01", "D") + np.arange(5)
    folder = tmp_path_factory.mktemp("long")
    rows = {"day": days[times], "ticker": np.array(["A", "B", "C"])[codes].tolist(), "last": values[times, codes]}
    expected = Panel(Calendar(days), ("A", "B", "C"), {"close": values}, np.ones((5, 3), dtype=bool))
    assert _source(folder, rows, suffix).load().fingerprint == expected.fingerprint
