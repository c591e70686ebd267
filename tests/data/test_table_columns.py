"""Columns mean the same however Arrow stores them, and plain ones are read without loading Arrow's functions."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.table_columns import Column, instruments_of, numbers_of, times_of
from harness.errors import ConfigError, DataError

DAYS = [dt.date(2020, 1, 1), dt.date(1969, 12, 31), dt.date(2020, 1, 1)]
CODES = ["SZ", "SH", "SZ"]


def column(*chunks: pa.Array, **more: Any) -> Column:
    return Column("key", pa.chunked_array(list(chunks)), Path("table"), "row {}".format, **more)


def texts(codes: list[str | None], places: list[int | None], kind: pa.DataType) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places, kind), pa.array(codes))


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()], ids=str)
def test_codes_are_those_of_plain_text_whatever_counts_their_places(kind: pa.DataType) -> None:
    stored = texts(["SZ", "BJ", "SH"], [0, 2, 0], kind)
    for read in (column(stored), column(stored.slice(0, 1), stored.slice(1)), column(pa.array(CODES))):
        instruments, codes, order = instruments_of(read)
        assert instruments == ("SH", "SZ")
        assert codes.tolist() == order.tolist() == [1, 0, 1]
        assert codes.dtype == np.int64
    declared = instruments_of(column(stored, is_category=True))[2]
    assert declared.tolist() == [0, 2, 0]
    assert np.diff(declared).tolist() == [2, -2]  # signed: a step back shows


@pytest.mark.parametrize(
    "empty",
    [
        pa.array(["SZ", None]),
        texts(["SZ"], [0, None], pa.int32()),
        texts(["SZ", None], [0, 1], pa.int32()),
        pa.array([7, None]),
        pa.array([DAYS[0], None]),
        pa.array([DAYS[0], None]).dictionary_encode(),
    ],
    ids=["text", "coded text", "category that is nothing", "number", "date", "coded date"],
)
def test_a_row_without_a_key_is_refused_however_it_is_stored(empty: pa.Array) -> None:
    read = times_of if pa.types.is_date(column(empty).kind) else instruments_of
    with pytest.raises(DataError, match=r"1 row\(s\) have no key(.|\n)*row 1"):
        read(column(empty), *([None, None] if read is times_of else []))


def test_a_category_that_is_nothing_and_has_no_row_is_left_out() -> None:
    first, second = texts(["SZ", None, "SH"], [0, 2], pa.int8()), texts(["SZ", "BJ", None], [0, 1], pa.int8())
    instruments, codes, _ = instruments_of(column(first))
    assert (instruments, codes.tolist()) == (("SH", "SZ"), [1, 0])
    instruments, codes, _ = instruments_of(column(first, second))
    assert (instruments, codes.tolist()) == (("BJ", "SH", "SZ"), [2, 1, 2, 0])


def test_days_are_read_alike_from_every_type_that_holds_them() -> None:
    plain = pa.array(DAYS)
    expected = np.array(DAYS, "M8[ns]")
    kinds = [plain, plain.dictionary_encode(), *map(plain.cast, (pa.date64(), pa.timestamp("us"), pa.timestamp("ns")))]
    for stored in kinds:
        for read in (column(stored), column(stored.slice(0, 2), stored.slice(2))):
            np.testing.assert_array_equal(times_of(read, None, None), expected)


@pytest.mark.parametrize("days", [106_752, -106_752, 2**31 - 1])
def test_a_day_that_nanoseconds_cannot_count_is_refused(days: int) -> None:
    far = pa.array([0, days], pa.int32()).view(pa.date32())
    with pytest.raises(DataError, match="1678 … 2262"):
        times_of(column(far), None, None)
    nearest = [106_751, -106_751, 106_750]
    near = pa.array(nearest, pa.int32()).view(pa.date32())
    found = times_of(column(near), None, None).view(np.int64)
    assert (found // (86_400 * 10**9)).tolist() == nearest


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("s")], ids=str)
def test_a_time_that_python_has_none_for_is_shown_in_the_message_about_its_zone(kind: pa.DataType) -> None:
    far = pa.array([-(2**31) * (1 if kind == pa.date32() else 86_400)], pa.int64())
    far = far.cast(pa.int32()).view(kind) if kind == pa.date32() else far.view(kind)
    with pytest.raises(ConfigError, match=r"the times have none(.|\n)*out of range"):
        times_of(column(far), None, "America/New_York")


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int16()], ids=str)
def test_numbers_are_read_alike_from_every_type_that_holds_them(kind: pa.DataType) -> None:
    stored = pa.array([3, 5, 3], kind)
    for read in (stored, stored.dictionary_encode()):
        (found,) = numbers_of([column(read)], None)
        assert found.dtype == np.float32
        assert found.tolist() == [3.0, 5.0, 3.0]


_READ = """
import sys
from harness.config.compose import compose_config
panel = compose_config(sys.argv[1:]).data.load()
assert panel.instruments == ("A", "B") and panel.fields["close"][8, 1] == 18.0
print("pyarrow.compute" in sys.modules)
"""


def test_a_plain_panel_is_read_without_loading_the_functions_of_arrow(tmp_path: Path) -> None:
    days = [dt.date(2020, 1, 1 + day) for day in range(9) for _ in range(2)]
    close = pa.array(np.arange(1, 19), pa.float32())
    fields = dict.fromkeys(("open", "high", "low", "close", "vwap", "volume", "factor"), close)
    table = pa.table({"datetime": days, "instrument": ["A", "B"] * 9, **fields})
    pq.write_table(table, tmp_path / "panel.parquet")
    overrides = ["data=tabular", f"data.path={tmp_path / 'panel.parquet'}"]
    command = [sys.executable, "-c", _READ, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
