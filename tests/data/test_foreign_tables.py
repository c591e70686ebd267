"""Tables as other people and programs write them: read where they can be read in one way only, else refused clearly."""

from __future__ import annotations

import bz2
import gzip
import os
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.sources.tabular import TabularSource
from harness.data.text_files import CsvFormat
from harness.errors import ConfigError, DataError

COLUMNS = {"time": "day", "instrument": "ticker", "close": "last", "volume": "shares"}
PLAIN = "day,ticker,last,shares\n2020-01-01,A,1234.5,10\n2020-01-01,B,2.25,2000000\n2020-01-02,A,1235.5,12\n"


def frame() -> pd.DataFrame:
    days = pd.to_datetime(["2020-01-01", "2020-01-01", "2020-01-02"])
    return pd.DataFrame(
        {"day": days, "ticker": ["A", "B", "A"], "last": [1234.5, 2.25, 1235.5], "shares": [10.0, 2e6, 12.0]}
    )


def source(folder, path="prices.csv", **options):
    return TabularSource(**({"root": str(folder), "path": path, "columns": COLUMNS} | options))


def text_source(folder, text, name="prices.csv", encoding="utf-8", **options):
    (folder / name).write_bytes(text.encode(encoding))
    return source(folder, name, **options)


def frame_source(folder, changed, name="prices.parquet", **options):
    changed.to_parquet(folder / name, index=False)
    return source(folder, name, **options)


def message(made) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        made().load()
    return str(caught.value)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return text_source(tmp_path_factory.mktemp("plain"), PLAIN).load().fingerprint


SEMICOLON = PLAIN.replace(",", ";").replace(".", ",")
QUOTED = (
    'day,ticker,last,shares\n2020-01-01,A,"1,234.50",10\n2020-01-01,B,2.25,"2,000,000"\n2020-01-02,A,"1,235.50",12\n'
)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", ";"),
        SEMICOLON,
        SEMICOLON.replace("1234,5", "1.234,5").replace("2000000", "2.000.000"),
        SEMICOLON.replace("1234,5", "1 234,5").replace("2000000", "2 000 000"),
        SEMICOLON.replace("2,25", "2,250").replace("1234,5", "1 234,5").replace("1235,5", "1\xa0235,5"),
        QUOTED,
        QUOTED.replace("2,000,000", "2'000'000"),
        "# made by hand\n#\n\n" + PLAIN,
        "\n".join(f"{at if at else ''},{line}" for at, line in enumerate(PLAIN.splitlines())),
        PLAIN.replace("day,ticker,last", " day, ticker , last").replace(",12", ", +12"),
        PLAIN.replace("2020-01-0", "2020/1/"),
        PLAIN.replace("2020-01-0", "2020010"),
        PLAIN.replace("day,", '"day",').replace("B", '"B"'),
        PLAIN.replace("2020-01-01,B", "2020-01-01T00:00:00,B"),
        PLAIN.replace("shares\n", "shares,note\n")
        .replace("10\n", '10,"two\nlines"\n')
        .replace("00000\n", "00000,\n")[:-1]
        + ",x\n",
    ],
    ids=[
        *("crlf", "tabs", "bars", "semicolons", "decimal comma", "thousands points", "thousands blanks"),
        "blanks only",
        *("thousands commas", "apostrophes", "comments first", "index column", "blanks", "slashes", "compact dates"),
        *("quotes", "clock times", "a line end in a cell"),
    ],
)
def test_csv_of_other_programs_is_read_as_it_is_meant(tmp_path, expected, text):
    assert text_source(tmp_path, text).load().fingerprint == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_with_a_mark_is_recognised(tmp_path, expected, encoding):
    assert text_source(tmp_path, PLAIN, encoding=encoding).load().fingerprint == expected


def test_an_encoding_without_a_mark_is_named_with_its_line_and_can_be_given(tmp_path):
    made = text_source(tmp_path, PLAIN.replace("B", "É"), encoding="cp1252")
    said = message(lambda: made)
    assert "the bytes c9 on line 3" in said
    assert "data.csv.encoding=cp1252" in said
    assert replace(made, csv=CsvFormat(encoding="cp1252")).load().instruments == ("A", "É")
    for text in (PLAIN, PLAIN.replace(",A,", ",é,")):
        assert "zero bytes" in message(lambda text=text: text_source(tmp_path, text, encoding="utf-16-le"))
    wrong = text_source(tmp_path, PLAIN.replace("B", "É"), csv=CsvFormat(encoding="ascii"))
    assert "not ascii" in message(lambda: wrong)


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", None)])
def test_compressed_csv_is_read_and_a_truncated_one_refused(tmp_path, expected, ending, pack):
    packed = pack(PLAIN.encode()) if pack else pa.compress(PLAIN.encode(), "zstd", asbytes=True)
    (tmp_path / f"prices.csv.{ending}").write_bytes(packed)
    assert source(tmp_path, f"prices.csv.{ending}").load().fingerprint == expected
    (tmp_path / f"prices.csv.{ending}").write_bytes(packed[: len(packed) // 2])
    assert "truncated" in message(lambda: source(tmp_path, f"prices.csv.{ending}"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PLAIN.replace("1234.5", "9,5").replace(",10", ",10"), ("lines of 4 cells", "commas")),
        (
            'day,ticker,last,shares\n2020-01-01,A,1,"1,234"\n',
            ("two ways", "line 2, shares: '1,234'", "data.csv.decimal"),
        ),
        ("day;ticker;last;shares\n2020-01-01;A;9,5;9.5\n", ("two ways", "line 2", "'9,5'", "'9.5'")),
        (PLAIN.replace("1235.5", "12x"), ("`last` have the wrong type", "line 4: '12x'")),
        (PLAIN.replace("1235.5", "inf"), ("`last`", "line 4: 'inf'", "finite")),
        (PLAIN.replace("1235.5", "$5"), ("`last`", "line 4: '$5'")),
        ("# a\n\n" + PLAIN.replace("1235.5", "12x"), ("line 6: '12x'",)),
        (PLAIN.replace("2020-01-02", ""), ("no key in column `day`", "line 4")),
        (PLAIN.replace("B", ""), ("no key in column `ticker`", "line 3")),
        (
            PLAIN.replace("ticker,last", "tickr,lst"),
            ("lacks 2 columns", "`ticker`, `last`", "ticker: did you mean `tickr`"),
        ),
        (PLAIN.replace("shares", "last"), ("lacks a column",)),
        (PLAIN.replace("ticker,last,shares", "ticker,last,last").replace("day", "shares,day"), ("more than once",)),
        ("", ("cannot be read", "prices.csv")),
        ("day,ticker,last,shares\n", ("no rows",)),
        (PLAIN.replace("2020-01-0", "01/0"), ("`day`", "line 2: '01/01'")),
    ],
    ids=[
        *("cells", "doubtful thousands", "two decimal marks", "text", "infinite", "currency", "line after comments"),
        *("no time", "no instrument", "two columns missing", "missing", "twice", "empty", "heads only", "half a date"),
    ],
)
def test_csv_that_cannot_be_read_in_one_way_is_refused_with_its_line(tmp_path, text, says):
    said = message(lambda: text_source(tmp_path, text))
    for piece in says:
        assert piece in said, said


def test_a_decimal_mark_that_is_given_decides(tmp_path):
    text = 'day,ticker,last,shares\n2020-01-01,A,1,"1,234"\n'
    for mark, value in ((",", 1.234), (".", 1234.0)):
        panel = text_source(tmp_path, text, csv=CsvFormat(decimal=mark)).load()
        assert panel.fields["volume"][0, 0] == np.float32(value)


def test_no_group_of_thousands_begins_with_zero(tmp_path):
    made = text_source(tmp_path, PLAIN.replace("1234.5", "0.484"), csv=CsvFormat(decimal=","))
    assert "line 2: '0.484'" in message(lambda: made)


def test_the_missing_values_of_other_programs_are_no_values_but_may_be_codes(tmp_path):
    text = PLAIN.replace(",A,", ",NA,").replace(",B,", ",NaN,").replace("2.25", "null")
    panel = text_source(tmp_path, text).load()
    assert panel.instruments == ("NA", "NaN")
    assert np.isnan(panel.fields["close"][0, 1])


@pytest.mark.parametrize("name", ["prices.parquet", "prices.csv"])
def test_a_column_that_is_there_twice_is_refused_only_when_it_is_read(tmp_path, expected, name):
    whole = frame().assign(extra=1.0, other=2.0)
    renamed = pa.Table.from_pandas(whole, preserve_index=False)
    unread = renamed.rename_columns(["day", "ticker", "last", "shares", "x", "x"])
    read = renamed.rename_columns(["day", "ticker", "last", "shares", "last", "x"])
    for table, fine in ((unread, True), (read, False)):
        if name.endswith("csv"):
            heads = ",".join(table.column_names)
            (tmp_path / name).write_text(heads + "\n" + whole.to_csv(index=False, header=False))
        else:
            pq.write_table(table, tmp_path / name)
        if fine:
            assert source(tmp_path, name).load().fingerprint == expected
        else:
            assert "`last` 2 times" in message(lambda: source(tmp_path, name))


def test_a_key_that_is_mapped_twice_is_refused():
    with pytest.raises(ConfigError, match="mapped twice"):
        source(".", columns=COLUMNS | {"close": "day"})
    with pytest.raises(ConfigError, match="mapped twice"):
        source(".", columns=COLUMNS | {"close": "ticker"})


INSTRUMENTS = {
    "int64": pa.int64(),
    "uint16": pa.uint16(),
    "dictionary of numbers": pa.dictionary(pa.int32(), pa.int64()),
    "text": pa.string(),
    "long text": pa.large_string(),
    "string view": pa.string_view(),
    "dictionary of text": pa.dictionary(pa.int32(), pa.string()),
}


@pytest.mark.parametrize("kind", INSTRUMENTS)
def test_instruments_of_any_type_sorted_by_it_are_read_as_their_text(tmp_path, kind):
    ids, typed = [2, 9, 10], INSTRUMENTS[kind]
    texts = pa.array([str(i) for i in ids]) if "text" in kind or "view" in kind else pa.array(ids)
    plain = typed.value_type if pa.types.is_dictionary(typed) else typed
    column = texts.cast(plain)
    column = column.dictionary_encode() if pa.types.is_dictionary(typed) else column
    days = pa.array(np.array(["2020-01-01"] * 3, dtype="M8[D]"))
    ones = pa.array([1.0, 2.0, 3.0])
    pq.write_table(pa.table({"day": days, "ticker": column, "last": ones, "shares": ones}), tmp_path / "prices.parquet")
    panel = source(tmp_path, "prices.parquet", sort=False).load()
    assert panel.instruments == ("10", "2", "9")
    np.testing.assert_array_equal(panel.fields["close"][0], np.array([3, 1, 2], dtype=np.float32))


def test_ordered_categories_may_be_sorted_as_they_are_declared(tmp_path):
    order = pd.CategoricalDtype(["small", "large"], ordered=True)
    changed = frame().assign(ticker=pd.Categorical(["small", "large", "small"], dtype=order))
    assert frame_source(tmp_path, changed, sort=False).load().instruments == ("large", "small")
    swapped = changed.assign(ticker=pd.Categorical(["small", "large", "small"], categories=["a", "large", "small"]))
    assert "not sorted" in message(lambda: frame_source(tmp_path, swapped.iloc[[0, 1, 2]], sort=False))


@pytest.mark.parametrize("values", [[1.0, 2.0, 1.0], [True, False, True], [b"A", b"B", b"A"]], ids=str)
def test_instruments_of_another_type_are_refused_with_a_hint(tmp_path, values):
    said = message(lambda: frame_source(tmp_path, frame().assign(ticker=values)))
    assert "`ticker` have the wrong type" in said
    assert "astype(str)" in said


def test_leading_zeros_of_text_are_kept(tmp_path):
    assert text_source(tmp_path, PLAIN.replace(",A,", ",000001,")).load().instruments == ("000001", "B")


def test_rows_stand_in_any_order_unless_order_is_asked_for(tmp_path, expected):
    mixed = "\n".join([PLAIN.splitlines()[0], *PLAIN.splitlines()[:0:-1]]) + "\n"
    made = text_source(tmp_path, mixed)
    assert made.load().fingerprint == expected
    assert "data.sort=true" in message(lambda: replace(made, sort=False))


def test_a_time_and_an_instrument_that_occur_twice_are_named_in_any_layout(tmp_path):
    twice = PLAIN + PLAIN.splitlines()[1] + "\n"
    assert "2020-01-01 A" in message(lambda: text_source(tmp_path, twice))
    (tmp_path / "parts").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "parts" / name).write_text(PLAIN)
    assert "3 row(s) have a time and an instrument that another row has too" in message(
        lambda: source(tmp_path, "parts")
    )


def test_a_folder_of_files_is_one_table(tmp_path, expected):
    whole = frame()
    for folder, first in (("plain", "part-1.parquet"), ("hive", "year=2020/part-1.parquet")):
        (tmp_path / folder / first).parent.mkdir(parents=True)
        whole[2:].to_parquet(tmp_path / folder / first, index=False)
        whole[:2].to_parquet(tmp_path / folder / "part-2.parquet", index=False)
        (tmp_path / folder / "_SUCCESS").write_text("")
        (tmp_path / folder / ".part.crc").write_text("x")
        assert source(tmp_path, folder).load().fingerprint == expected
    assert source(tmp_path, "plain/*.parquet").load().fingerprint == expected
    before = source(tmp_path, "plain").inputs()
    whole[1:2].to_parquet(tmp_path / "plain" / "part-2.parquet", index=False)
    assert source(tmp_path, "plain").inputs() != before


def test_a_folder_may_name_the_instrument_or_the_day(tmp_path, expected):
    for code, rows in frame().groupby("ticker"):
        folder = tmp_path / "table" / f"ticker={code}"
        folder.mkdir(parents=True)
        rows.drop(columns="ticker").to_parquet(folder / "0.parquet", index=False)
    assert source(tmp_path, "table").load().fingerprint == expected
    frame().to_parquet(tmp_path / "table" / "ticker=A" / "0.parquet", index=False)
    assert "`ticker` 2 times" in message(lambda: source(tmp_path, "table"))


def test_a_folder_or_a_pattern_without_a_table_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("")
    assert "holds no table" in message(lambda: source(tmp_path, "notes"))
    assert "read.me" in message(lambda: source(tmp_path, "notes"))
    assert "No file matches" in message(lambda: source(tmp_path, "notes/*.csv"))


ZONED = PLAIN.replace("2020-01-01", "2020-01-01 15:00:00+01:00").replace("2020-01-02", "2020-01-02 15:00:00+01:00")


def test_times_with_a_zone_are_refused_with_the_option_and_read_on_the_clock_that_is_given(tmp_path):
    text = text_source(tmp_path, ZONED)
    stamps = pd.to_datetime(["2020-01-01 15:00", "2020-01-01 15:00", "2020-01-02 15:00"]).tz_localize("Europe/Berlin")
    column = frame_source(tmp_path, frame().assign(day=stamps))
    for made, zone in ((text, "UTC"), (column, "Europe/Berlin")):
        said = message(lambda made=made: made)
        assert f"data.timezone={zone}" in said
        assert "tz_localize(None)" in said
        for given, clock in (("UTC", "14:00"), ("America/New_York", "09:00")):
            assert replace(made, timezone=given).load().calendar.format(0) == f"2020-01-01T{clock}"
    assert "the times have none" in message(lambda: text_source(tmp_path, PLAIN, timezone="UTC"))
    assert "no such time zone" in message(lambda: source(tmp_path, timezone="Mars/Olympus"))


def test_an_hour_that_the_clocks_repeat_is_named(tmp_path):
    hours = pd.date_range("2020-10-25 00:00", periods=3, freq="h", tz="UTC")
    changed = frame().assign(day=hours, ticker="A")
    said = message(lambda: frame_source(tmp_path, changed, timezone="Europe/Berlin"))
    assert "data.timezone=UTC" in said
    assert "data.timezone=UTC" in message(lambda: frame_source(tmp_path, changed, timezone="Europe/Berlin", sort=False))
    assert len(frame_source(tmp_path, changed, timezone="UTC").load().calendar) == 3


@pytest.mark.parametrize(
    ("times", "form"),
    [
        (("01/02/2020", "13/02/2020"), "%d/%m/%Y"),
        (("02/01/2020", "02/13/2020"), "%m/%d/%Y"),
        (("1.2.20", "13.2.20"), "%d.%m.%y"),
        (("01-Feb-2020", "13-Feb-2020"), "%d-%b-%Y"),
        (("1580515200", "1581552000"), "s"),
        (("1580515200000", "1581552000000"), "ms"),
    ],
)
def test_times_that_do_not_begin_with_the_year_are_refused_with_the_format_that_reads_them(tmp_path, times, form):
    text = PLAIN.replace("2020-01-01", times[0]).replace("2020-01-02", times[1])
    made = text_source(tmp_path, text)
    said = message(lambda: made)
    assert f"data.time_format='{form}'" in said or f"data.time_format={form} " in said or "%d-%b-%Y" in said
    assert [replace(made, time_format=form).load().calendar.format(at) for at in (0, 1)] == ["2020-02-01", "2020-02-13"]
    if form in ("s", "ms"):
        whole = frame().assign(day=[int(times[0]), int(times[0]), int(times[1])])
        assert f"data.time_format={form} " in message(lambda: frame_source(tmp_path, whole))
        assert frame_source(tmp_path, whole, time_format=form).load().calendar.format(1) == "2020-02-13"


def test_seconds_as_floats_are_read_without_the_noise_of_their_sums(tmp_path):
    start = 1580515200.1
    summed = frame().assign(day=[start, start, start + 0.1 + 0.1 + 0.1])
    calendar = frame_source(tmp_path, summed, time_format="s").load().calendar
    assert calendar.times[1] - calendar.times[0] == np.timedelta64(300, "ms")
    text = PLAIN.replace("2020-01-01", "9" * 40 + ".5")
    assert "wrong type" in message(lambda: text_source(tmp_path, text, time_format="s"))


def test_a_day_and_a_month_that_could_be_swapped_are_left_to_the_user(tmp_path):
    said = message(lambda: text_source(tmp_path, PLAIN.replace("2020-01-0", "01/02/202")))
    assert "%d/%m/%Y" in said
    assert "%m/%d/%Y" in said


def test_a_time_that_does_not_follow_the_format_is_named(tmp_path):
    text = PLAIN.replace("2020-01-01", "01/02/2020")
    assert "line 4: '2020-01-02'" in message(lambda: text_source(tmp_path, text, time_format="%d/%m/%Y"))
    assert "no time format" in message(lambda: source(tmp_path, time_format="dd/mm/yyyy"))


def test_a_column_of_times_takes_no_format(tmp_path):
    assert "holds times already" in message(lambda: frame_source(tmp_path, frame(), time_format="%Y"))


@pytest.mark.parametrize("day", [[None, "2020-01-01", "2020-01-02"], [pd.NaT] * 3], ids=["one", "all"])
def test_a_row_without_a_time_is_refused(tmp_path, day):
    changed = frame().assign(day=pd.to_datetime(pd.Series(day)))
    assert "no key in column `day`" in message(lambda: frame_source(tmp_path, changed))


def test_numbers_stored_as_text_are_read_and_the_first_that_is_none_is_named(tmp_path, expected):
    text = frame().assign(last=["1234.5", " 2.25", "1235.5"], shares=["10", "2000000", "12"])
    assert frame_source(tmp_path, text).load().fingerprint == expected
    assert "row 1: '2.2.5'" in message(lambda: frame_source(tmp_path, text.assign(last=["1", "2.2.5", "x"])))


def test_negative_prices_are_refused_unless_they_are_meant(tmp_path):
    made = text_source(tmp_path, PLAIN.replace("2.25", "-37.63"))
    assert "data.negative_prices=true" in message(lambda: made)
    assert replace(made, negative_prices=True).load().fields["close"][0, 1] == np.float32(-37.63)
    made = text_source(tmp_path, PLAIN.replace(",10\n", ",-10\n"), negative_prices=True)
    assert "volumes are negative" in message(lambda: made)


def test_what_to_do_about_missing_columns_is_said_for_each(tmp_path):
    yahoo = "Date,Open,Close\n2020-01-01,1,2\n"
    columns = {"time": "when", "instrument": "ticker", "open": "open", "close": "Close", "factor": "factor"}
    said = message(lambda: text_source(tmp_path, yahoo, columns=columns))
    for piece in ("lacks 4 columns", "data.columns.time=", "data=per_instrument", "open: did you mean `Open`?"):
        assert piece in said
    assert "'~data.columns.factor' leaves it out" in said


def test_returns_become_prices_whose_returns_they_are(tmp_path):
    """The recipe of docs/how-to/bring-your-table.md."""
    returns = pd.DataFrame({"day": pd.bdate_range("2020-01-01", periods=4), "AAA": [0.01, -0.02, None, 0.03]})
    growth = (1 + returns.set_index("day")).cumprod() * 100
    growth.reset_index().to_parquet(tmp_path / "wide.parquet", index=False)
    close = source(tmp_path, "wide.parquet", layout="wide", columns={"time": "day"}).load().fields["close"][:, 0]
    np.testing.assert_allclose(close[[1, 3]] / close[[0, 1]] - 1, [-0.02, 0.03], rtol=1e-5)
    assert np.isnan(close[2])


def test_hours_of_coins_with_slashes_are_read_from_counts_of_milliseconds(tmp_path):
    hours = pd.date_range("2021-01-01", periods=2, freq="h").as_unit("ms").astype("int64")
    rows = [f"{at},{code},1,2\n" for code in ("ETH/USDT", "BTC/USDT") for at in hours]
    made = text_source(tmp_path, "day,ticker,last,shares\n" + "".join(rows), time_format="ms")
    panel = made.load()
    assert panel.instruments == ("BTC/USDT", "ETH/USDT")
    assert panel.calendar.format(1) == "2021-01-01T01:00"


def test_a_sheet_of_a_spreadsheet_is_refused_with_the_line_that_converts_it(tmp_path):
    (tmp_path / "prices.xlsx").write_bytes(b"PK")
    assert 'pandas.read_excel("prices.xlsx").to_parquet' in message(lambda: source(tmp_path, "prices.xlsx"))


def test_a_csv_file_called_parquet_is_noticed(tmp_path):
    assert "extension .csv" in message(lambda: text_source(tmp_path, PLAIN, "prices.parquet"))


WIDE = ";Date;A;B\n0;2020-01-01;1234,5;2,25\n1;2020-01-02;1235,5;\n"


def test_a_column_per_instrument_is_read_as_its_prices(tmp_path, expected):
    made = text_source(tmp_path, WIDE, layout="wide", columns={"time": "Date"})
    long = text_source(tmp_path, PLAIN, "long.csv", columns={k: v for k, v in COLUMNS.items() if k != "volume"})
    assert made.load().fingerprint == long.load().fingerprint
    index = replace(made, benchmark=made.path, benchmark_instrument="A").load().benchmark
    np.testing.assert_array_equal(index.close, np.array([1234.5, 1235.5], dtype=np.float32))
    assert "`A` 2 times" in message(lambda: text_source(tmp_path, WIDE.replace("B", "A"), **vars_of(made)))
    assert "data=wide" in message(lambda: source(tmp_path, layout="wide"))


def test_a_wide_table_whose_times_have_no_name_or_another_one_is_told_how_to_read_it(tmp_path, expected):
    prices = frame().pivot_table(index="day", columns="ticker", values="last").rename_axis(index=None, columns=None)
    prices.to_parquet(tmp_path / "w.parquet")
    prices.to_csv(tmp_path / "w.csv")
    prices.rename_axis("timestamp").to_csv(tmp_path / "t.csv")
    for file, hint, name in (
        ("w.parquet", "data.columns.time=__index_level_0__", "__index_level_0__"),
        ("w.csv", "data.columns.time=''", ""),
        ("t.csv", "data.columns.time=timestamp", "timestamp"),
    ):
        made = source(tmp_path, file, layout="wide", columns={"time": "Date"})
        assert hint in message(lambda made=made: made)
        assert replace(made, columns={"time": name}).load().instruments == ("A", "B")


def test_heads_of_several_levels_are_refused_in_a_wide_table(tmp_path):
    prices = frame().pivot_table(index="day", columns="ticker", values=["last", "shares"])
    prices.rename_axis("Date").to_parquet(tmp_path / "w.parquet")
    said = message(lambda: source(tmp_path, "w.parquet", layout="wide", columns={"time": "Date"}))
    assert "('last', 'A')" in said
    assert "stack(" in said


def test_columns_of_other_names_are_found_and_bars_without_an_instrument_name_their_layout(tmp_path):
    text = PLAIN.replace("day,ticker", "Trade_Date,Symbol")
    said = message(lambda: text_source(tmp_path, text))
    assert "data.columns.time=Trade_Date" in said
    assert "data.columns.instrument=Symbol" in said
    yahoo = text_source(tmp_path, "Date,Open,High,Low,Close,Volume\n2020-01-01,1,1,1,1,1\n", "AAA.csv")
    assert "data=per_instrument" in message(lambda: yahoo)
    assert "data=wide" not in message(lambda: yahoo)


def test_a_path_of_nothing_is_not_the_current_folder(tmp_path):
    assert "path is empty" in message(lambda: source(tmp_path, " "))


@pytest.mark.parametrize("form", ["%d/%m", "%", "%Y-%Q", "%H:%M", "%%Y", "%G"])
def test_an_impossible_time_format_is_refused(tmp_path, form):
    said = message(lambda: text_source(tmp_path, PLAIN.replace("2020-01-0", "0"), time_format=form))
    assert "no time format" in said
    assert form in said


def vars_of(made: TabularSource) -> dict[str, object]:
    return {"layout": made.layout, "columns": made.columns}


def test_a_file_per_instrument_is_read_as_the_instrument_it_is_called_after(tmp_path, expected):
    (tmp_path / "prices").mkdir()
    for code, rows in frame().groupby("ticker"):
        rows.drop(columns="ticker").to_csv(tmp_path / "prices" / f"{code}.csv.gz", index=False)
    columns = {name: column for name, column in COLUMNS.items() if name != "instrument"}
    made = source(tmp_path, "prices", layout="per_instrument", columns=columns)
    assert made.load().fingerprint == expected
    assert replace(made, path="prices/*.csv.gz").load().fingerprint == expected
    (tmp_path / "prices" / "BRK.B.csv").write_text("day,last,shares\n2020-01-01,9,9\n")
    assert made.load().instruments == ("A", "B", "BRK.B")
    assert "data=per_instrument" in message(lambda: source(tmp_path, layout="per_instrument"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name of a file is text")
def test_a_file_whose_name_is_no_text_is_no_instrument(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.csv")).write_text("day,last\n2020-01-01,9\n")
    made = source(tmp_path, "*.csv", layout="per_instrument", columns={"time": "day", "close": "last"})
    assert "cannot be kept as they are" in message(lambda: made)


@pytest.mark.parametrize("change", [{"delimiter": "ab"}, {"decimal": ";"}, {"encoding": "utf-9"}], ids=str)
def test_an_impossible_csv_format_is_refused(change):
    with pytest.raises(ConfigError) as caught:
        CsvFormat(**change)
    assert f"data.csv.{next(iter(change))}" in str(caught.value.where)


def test_what_is_left_at_its_default_moves_no_identity(tmp_path):
    """Keys that came after snapshots were blessed are described only where they are set."""
    from harness.store.records import describe

    made = source(tmp_path)
    described: Any = describe(made)
    assert set(described) == {
        *("_target_", "path", "columns", "price_field", "membership", "unknown_members", "benchmark"),
        *("benchmark_instrument", "calendar", "root", "name"),
    }
    described = describe(replace(made, sort=False))
    assert "sort" in described
