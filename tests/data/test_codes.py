from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from harness.data.calendar import Calendar
from harness.data.codes import check_codes, like
from harness.data.convert import convert
from harness.data.membership import mask_of, read_spans, spans_of, write_spans
from harness.data.panel import Benchmark, Panel, load_panel, save_panel
from harness.data.sources.qlib_bin import QlibBinSource
from harness.data.sources.tabular import TabularSource
from harness.errors import DataError
from harness.store.files import equal_files
from tests.data.odd_codes import ODD, codes
from tests.data.small_panel import small_panel

COLUMNS = {"time": "datetime", "instrument": "instrument", "close": "close"}


def _panel(names, *, hourly=False):
    """Return a panel of those codes on 4 times: code j is a member from time j on, modulo 3, and trades every time."""
    start = np.datetime64("2020-01-01T22", "h") if hourly else np.datetime64("2020-01-01", "D")
    close = 1.0 + np.arange(4 * len(names), dtype=np.float32).reshape(4, -1)
    membership = np.arange(4)[:, None] >= np.arange(len(names)) % 3
    return Panel(Calendar(start + np.arange(4)), names, {"close": close}, membership)


def _written_and_read(panel, folder: Path, form):
    convert(panel, folder, form, universe="some")
    if form == "qlib_bin":
        own = None if panel.benchmark is None else panel.benchmark.name
        return QlibBinSource(path=str(folder), universe="some", fields=("close",), benchmark=own).load()
    return TabularSource(
        path="panel.parquet", columns=COLUMNS, membership="some.txt", calendar="calendar.txt", root=str(folder)
    ).load()


@pytest.mark.parametrize("hourly", [False, True])
@pytest.mark.parametrize("form", ["long", "qlib_bin"])
def test_odd_codes_survive_both_formats_byte_for_byte(tmp_path, form, hourly):
    panel = _panel(tuple(sorted(ODD)), hourly=hourly)
    again = _written_and_read(panel, tmp_path / "out", form)
    assert again.instruments == panel.instruments
    assert again.fingerprint == panel.fingerprint


@settings(derandomize=True, deadline=None, max_examples=20)
@given(names=codes())
@pytest.mark.parametrize("form", ["long", "qlib_bin"])
def test_whatever_codes_a_panel_has_both_formats_keep_or_refuse_them(tmp_path_factory, form, names):
    panel = _panel(names, hourly=len(names) % 2 == 0)
    folder = tmp_path_factory.mktemp("codes")
    if form == "qlib_bin" and equal_files(names):
        with pytest.raises(DataError, match="would share a folder"):
            convert(panel, folder / "out", form, universe="some")
        assert list(folder.iterdir()) == []
        return
    assert _written_and_read(panel, folder / "out", form).fingerprint == panel.fingerprint


@settings(derandomize=True, deadline=None, max_examples=30)
@given(names=codes())
def test_whatever_codes_a_table_has_the_panel_has(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("table")
    days = np.datetime64("2020-01-01", "D").astype("M8[ns]")
    table = pa.table({"datetime": [days] * len(names), "instrument": names, "close": np.arange(1.0, len(names) + 1)})
    pq.write_table(table, folder / "prices.parquet")
    pacsv.write_csv(table.set_column(0, "datetime", pa.array(["2020-01-01"] * len(names))), folder / "prices.csv")
    for path in ("prices.parquet", "prices.csv"):
        assert TabularSource(path=path, columns=COLUMNS, root=str(folder)).load().instruments == names


def test_codes_filled_up_with_zero_bytes_are_refused_and_not_read_as_shorter_ones(tmp_path):
    table = {"datetime": [np.datetime64("2020-01-01", "ns")] * 2, "instrument": ["A\0\0", "AB"], "close": [1.0, 2.0]}
    pq.write_table(pa.table(table), tmp_path / "prices.parquet")
    with pytest.raises(DataError, match=r"U\+0000"):
        TabularSource(path="prices.parquet", columns=COLUMNS, root=str(tmp_path)).load()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(names=codes())
def test_whatever_codes_a_membership_has_are_read_as_they_were_written(tmp_path_factory, names):
    panel = _panel(names, hourly=len(names) % 2 == 0)
    file = tmp_path_factory.mktemp("spans") / "universe.txt"
    write_spans(spans_of(panel.membership, panel.calendar, names), file)
    np.testing.assert_array_equal(mask_of(read_spans(file), panel.calendar, names, where=""), panel.membership)


def test_odd_codes_and_fields_survive_the_store(tmp_path):
    panel = replace(_panel(tuple(sorted(ODD))), benchmark=Benchmark("A/B", np.ones(4, dtype=np.float32)))
    fields = dict(panel.fields) | dict.fromkeys(("a/b", "Close", "..", "$x"), panel.fields["close"] + 1)
    panel = replace(panel, fields=fields)
    save_panel(panel, tmp_path)
    again = load_panel(tmp_path)
    assert again.instruments == panel.instruments
    assert replace(again).fingerprint == panel.fingerprint


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("", "is empty"),
        (" A", "blanks at its ends"),
        ("A ", "blanks at its ends"),
        ("A\u3000", "blanks at its ends"),
        ("A\tB", "U+0009"),
        ("A\nB", "U+000A"),
        ("A\rB", "U+000D"),
        ("A\x00", "U+0000"),
        ("A\x85B", "U+0085"),
        ("A\u2028B", "U+2028"),
        ("\ufeffA", "byte order mark"),
        ("\ud800", "U+D800"),
    ],
)
def test_a_code_that_some_file_would_change_is_refused_before_anything_is_written(code, fault):
    with pytest.raises(DataError, match="1 instrument code") as caught:
        check_codes(["fine", code], where="prices.csv")
    assert fault in str(caught.value.got)
    with pytest.raises(DataError, match="1 instrument code"):
        _panel((code,))


@pytest.mark.parametrize("form", ["long", "qlib_bin"])
def test_a_benchmark_that_some_file_would_change_is_refused_before_anything_is_written(tmp_path, form):
    panel = replace(small_panel(), benchmark=Benchmark("A\tB", np.ones(6, dtype=np.float32)))
    with pytest.raises(DataError, match="1 instrument code"):
        convert(panel, tmp_path / "out", form, universe="some")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "known", "told"),
    [
        ("1", "000001", "leading zeros"),
        ("1.0", "000001", "leading zeros"),
        ("sh600000", "SH600000", "upper and lower case"),
        ("e\u0301", "\u00e9", "Unicode normalisation"),
        ("SH600000\u200b", "SH600000", "invisible characters"),
        ("SH60000", "SH600000", "did you mean"),
    ],
)
def test_a_code_that_was_written_in_another_way_is_named_with_its_twin_and_the_difference(code, known, told):
    hint = like(code, ["000002", known])
    assert hint is not None
    assert known in hint
    assert told in hint


def test_a_membership_without_leading_zeros_names_both_codes_and_the_fix(tmp_path):
    panel = _panel(("000001", "000002"))
    (tmp_path / "universe.txt").write_text("1\t2020\t2021\n2\t2020\t2021\n", encoding="utf-8")
    for unknown in ("error", "drop"):
        with pytest.raises(DataError) as caught:
            mask_of(
                read_spans(tmp_path / "universe.txt"), panel.calendar, panel.instruments, unknown=unknown, where="u"
            )
        assert "`1` and `000001` differ in leading zeros" in str(caught.value)


@pytest.mark.parametrize(("code", "known"), [("1", "000001"), ("e\u0301", "\u00e9"), ("A\u200b", "A")])
def test_dropping_unknown_members_drops_none_that_a_program_wrote_in_another_way(code, known):
    panel = _panel(tuple(sorted(["X", known])))
    spans = spans_of(np.ones((4, 2), dtype=bool), panel.calendar, ("X", code))
    with pytest.raises(DataError, match=r"names 1 instrument\(s\) that have no prices"):
        mask_of(spans, panel.calendar, panel.instruments, unknown="drop", where="u")
