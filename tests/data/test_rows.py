"""Rows of tables: joined, repeated, out of order, and refused with the place where they stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.data import rows
from harness.data.rows import Rows
from harness.errors import DataError
from harness.store.arrow import array_of, column_of, texts_of

KEYS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30)
TWO = ("A", "B", "C", "D")


def rows_of(keys: list[tuple[int, int]], instruments: tuple[str, ...] = TWO) -> Rows:
    times = np.array([day for day, _ in keys], dtype="datetime64[D]").astype("datetime64[ns]")
    codes = np.array([code for _, code in keys], dtype=np.int64)
    close = np.arange(len(keys), dtype=np.float32)
    return Rows(times, codes, instruments, {"close": close}, np.arange(len(keys)))


@given(keys=KEYS, ordered=st.sampled_from(["as it is", "by time", "by code"]))
def test_a_row_repeats_where_an_earlier_one_has_its_key(keys: list[tuple[int, int]], ordered: str) -> None:
    if ordered != "as it is":
        keys = sorted(keys, key=lambda key: key if ordered == "by time" else key[::-1])
    rows = rows_of(keys)
    assert rows.repeats.tolist() == [key in keys[:at] for at, key in enumerate(keys)]
    assert rows.steps_back.tolist() == [at > 0 and key < keys[at - 1] for at, key in enumerate(keys)]


@pytest.mark.parametrize("by", ["time", "code"])
def test_a_repeated_key_is_found_wherever_it_stands(by: str) -> None:
    n = 2 * rows._BLOCK + 5
    keys = np.arange(n, dtype=np.int64)
    for at in (1, rows._BLOCK - 1, rows._BLOCK, rows._BLOCK + 1, 2 * rows._BLOCK, n - 1):
        repeated = keys.copy()
        repeated[at] = keys[at - 1]
        same = np.zeros(n, dtype=np.int64)
        times, codes = (repeated, same) if by == "time" else (same, repeated)
        found = Rows(times.view("datetime64[ns]"), codes, (), {}, keys)
        assert np.flatnonzero(found.repeats).tolist() == [at]


@given(first=KEYS, second=KEYS)
def test_joined_rows_are_those_of_a_frame_of_both(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    parts = [rows_of(first), rows_of(second, ("AA", "C", "CC", "Z"))]
    found = Rows.joined(parts)
    frames = [
        pd.DataFrame(
            {"time": p.times, "code": [p.instruments[c] for c in p.codes], "close": p.fields["close"], "at": p.places}
        )
        for p in parts
    ]
    expected = pd.concat(frames)
    assert [found.instruments[code] for code in found.codes] == expected["code"].tolist()
    assert found.times.tolist() == expected["time"].to_numpy().astype("datetime64[ns]").tolist()
    assert found.fields["close"].tolist() == expected["close"].tolist()
    assert found.places.tolist() == expected["at"].tolist()


def test_refused_rows_are_shown_with_their_place_and_values() -> None:
    rows = rows_of([(0, 0), (0, 1), (1, 0)])
    with pytest.raises(DataError) as caught:
        rows.refuse(
            np.array([False, True, True]),
            "are odd",
            spot="line {}".format,
            where="a.csv",
            expected="even ones",
            hint="none",
            values=rows.fields,
        )
    assert "2 row(s) are odd." in str(caught.value)
    assert "line 1: 1970-01-01 B close=1" in str(caught.value)
    assert "line 2: 1970-01-02 A close=2" in str(caught.value)


DTYPES: list[np.dtype[Any]] = [np.dtype(name) for name in ("f4", "f8", "i4", "i8", "M8[ns]")]


@given(data=st.data(), dtype=st.sampled_from(DTYPES), size=st.integers(0, 20))
def test_a_column_holds_the_bits_of_its_array_as_arrows_own_way_does(
    data: st.DataObject, dtype: np.dtype[Any], size: int
) -> None:
    values = data.draw(hnp.arrays(dtype, size, elements={} if dtype.kind == "i" else {"allow_nan": dtype.kind == "f"}))
    column = column_of(values)
    assert column.equals(pa.array(values)) or np.isnan(values.astype(float)).any()
    assert column.buffers()[1].to_pybytes() == values.tobytes()
    assert column.null_count == 0
    if values.dtype.kind != "M":
        pieces = pa.chunked_array([column.slice(0, 3), column.slice(3)])
        assert array_of(pieces).tobytes() == values.tobytes()


@given(texts=st.lists(st.text()))
def test_texts_come_back_from_a_column(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert texts_of(texts).to_pylist() == texts
