"""Raw daily files, as exporters write them, become the panel that adjusted ones would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.config import compose_config
from harness.data.raw_prices import Units
from harness.data.sources.tabular import SnapshotColumns, TabularSource
from harness.errors import ConfigError, DataError

COLUMNS = {name: name for name in ("time", "instrument", "open", "high", "low", "close", "volume", "previous_close")}
CSI300 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cn_csi300_2005"
DAYS = pd.date_range("2017-01-02", periods=6)


def bars(code="A", close=(10.0, 11.0, 5.5, 6.0, 6.0, 6.6), previous=(None, 10.0, 5.5, 5.5, 6.0, 6.0)) -> pd.DataFrame:
    """Return six days of one share of which every one becomes two on the third."""
    close = np.array(close)
    return pd.DataFrame(
        {
            "time": DAYS[: len(close)],
            "instrument": code,
            "open": close,
            "high": close * 1.1,
            "low": close * 0.9,
            "close": close,
            "volume": 1000.0,
            "previous_close": np.array(previous, dtype=float),
        }
    )


def source(folder, frame, name="raw.csv", columns=COLUMNS, **options) -> TabularSource:
    frame.to_csv(folder / name, index=False)
    return TabularSource(root=str(folder), path=name, columns=columns, **options)


def message(make) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        make().load()
    return str(caught.value)


def test_the_factor_is_the_running_product_of_last_close_over_previous_close(tmp_path):
    panel = source(tmp_path, bars()).load()
    factor = [1, 1, 2, 2, 2, 2]
    np.testing.assert_array_equal(panel.fields["factor"][:, 0], factor)
    np.testing.assert_allclose(panel.fields["close"][:, 0], [10, 11, 11, 12, 12, 13.2], rtol=1e-7)
    np.testing.assert_allclose(panel.fields["low"][:, 0], bars()["low"] * factor, rtol=1e-7)
    np.testing.assert_array_equal(panel.fields["volume"][:, 0], [1000, 1000, 500, 500, 500, 500])
    assert set(panel.fields) == {"open", "high", "low", "close", "volume", "factor"}


def test_rows_may_stand_in_any_order_and_in_several_files(tmp_path):
    both = pd.concat([bars("A"), bars("B", (3.0, 3.0, 3.0), (2.5, 3.0, 2.0))])
    whole = source(tmp_path, both).load().fingerprint
    assert source(tmp_path, both[::-1]).load().fingerprint == whole
    (tmp_path / "daily").mkdir()
    for day, rows in both.groupby("time"):
        rows.to_csv(tmp_path / "daily" / f"{day:%Y%m%d}.csv", index=False)
    (tmp_path / "each").mkdir()
    for code, rows in both.groupby("instrument"):
        rows.to_csv(tmp_path / "each" / f"{code}.csv", index=False)
    assert TabularSource(root=str(tmp_path), path="daily", columns=COLUMNS).load().fingerprint == whole
    own = {name: column for name, column in COLUMNS.items() if name != "instrument"}
    each = TabularSource(root=str(tmp_path), path="each", columns=own, layout="per_instrument")
    assert each.load().fingerprint == whole


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 29))
def test_a_new_day_changes_no_earlier_value(tmp_path_factory, seed, stop):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("raw")
    days = pd.date_range("2019-01-01", periods=30)
    tables = []
    for code in "ABC":
        close = np.round(10 * np.exp(np.cumsum(rng.normal(0, 0.03, 30))), 2)
        ex = np.where(rng.random(30) < 0.2, rng.uniform(0.4, 0.99, 30), 1.0)
        previous = np.append(np.nan, np.round(close[:-1] * ex[1:], 2))
        rows = pd.DataFrame({"time": days, "instrument": code, "close": close, "previous_close": previous})
        tables.append(rows.assign(volume=rng.integers(0, 3, 30), amount=close * 2))
    names = ("time", "instrument", "close", "previous_close", "volume")
    options: dict[str, Any] = {"columns": {name: name for name in names}, "zero_volume": "suspended"}
    whole = pd.concat(tables)
    early = whole[whole["time"] < days[stop]]
    assume(early["volume"].any())
    panel, before = source(folder, whole, **options).load(), source(folder, early, "early.csv", **options).load()
    at = panel.calendar.positions_of(before.calendar.times)
    for name, values in before.fields.items():
        later = pd.DataFrame(panel.fields[name][at], columns=panel.instruments)[list(before.instruments)]
        np.testing.assert_array_equal(values, later.to_numpy())


def test_a_suspended_day_is_left_out_when_asked_for_and_an_ex_day_within_counts_once(tmp_path):
    frame = bars(previous=(9.9, 10.0, 5.5, 5.5, 6.0, 6.0))
    frame.loc[2, ["open", "high", "low", "close", "volume"]] = [5.5, 5.5, 5.5, 5.5, 0]
    frame.loc[3, "volume"] = np.nan
    kept = source(tmp_path, frame).load()
    dropped = source(tmp_path, frame, zero_volume="suspended").load()
    assert len(kept.calendar) == 6
    assert [dropped.calendar.format(at) for at in range(4)] == ["2017-01-02", "2017-01-03", "2017-01-06", "2017-01-07"]
    np.testing.assert_allclose(kept.fields["factor"][:, 0], [1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(dropped.fields["factor"][:, 0], [1, 1, 11 / 6, 11 / 6], rtol=1e-6)


def test_without_any_of_it_a_table_is_read_as_before(tmp_path):
    frame = bars().assign(amount=3.0)
    frame.loc[2, "volume"] = 0
    plain = {name: name for name in ("time", "instrument", "close", "volume", "amount")}
    panel = source(tmp_path, frame, columns=plain).load()
    np.testing.assert_array_equal(panel.fields["amount"][:, 0], [3] * 6)
    np.testing.assert_array_equal(panel.fields["volume"][:, 0], frame["volume"])


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_a_previous_close_that_is_none_is_told_with_file_and_row(tmp_path, value):
    frame = bars()
    frame.loc[3, "previous_close"] = value
    said = message(lambda: source(tmp_path, frame))
    assert "1 row(s) have no positive `previous_close`" in said
    assert f"raw.csv row 3: 2017-01-05 A previous_close={value:g}" in said
    assert "data.zero_volume=suspended" in said


@pytest.mark.parametrize(("volume", "is_refused"), [(1000.0, True), (1e-3, True), (0.0, False), (np.nan, False)])
@pytest.mark.parametrize("zero_volume", ["kept", "suspended"])
def test_a_day_without_a_close_is_a_mistake_where_there_was_volume(tmp_path, volume, is_refused, zero_volume):
    frame = bars(previous=(None, 10.0, 5.5, 5.5, 5.5, 6.0))
    frame.loc[3, ["close", "volume"]] = [np.nan, volume]
    made = source(tmp_path, frame, zero_volume=zero_volume)
    if is_refused:
        assert "raw.csv row 3: 2017-01-05 A close=nan" in message(lambda: made)
    else:
        np.testing.assert_array_equal(made.load().fields["factor"][:, 0], [1, 1, 2, 2, 2])


def test_a_day_that_two_files_hold_is_told_with_the_file_and_its_row(tmp_path):
    frame = bars()
    frame.to_csv(tmp_path / "b.csv", index=False)
    frame[4:].to_csv(tmp_path / "c.csv", index=False)
    assert "c.csv row 0: 2017-01-06 A" in message(
        lambda: TabularSource(root=str(tmp_path), path="*.csv", columns=COLUMNS)
    )


@pytest.mark.parametrize("other", ["b.csv", "deep/b.csv.gz", "b.tsv"])
def test_a_folder_of_two_kinds_is_refused_and_a_note_beside_parquet_files_is_not(tmp_path, other):
    (tmp_path / "deep").mkdir()
    bars("A").to_parquet(tmp_path / "a.parquet", index=False)
    (tmp_path / "read_me.txt").write_text("prices of one share")
    whole = TabularSource(path=str(tmp_path), columns=COLUMNS)
    assert whole.load().instruments == ("A",)
    bars("B").to_csv(tmp_path / other, index=False)
    assert "two kinds" in message(lambda: whole)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("Preclose", "did you mean `Preclose`"),
        ("pre_close", "did you mean `pre_close`"),
        ("before", "=COLUMN names it"),
    ],
)
def test_a_column_that_is_read_as_another_field_is_not_suggested(tmp_path, named, told):
    frame = bars().rename(columns={"previous_close": named})
    text = message(lambda: source(tmp_path, frame, columns={**COLUMNS, "previous_close": "preclose"}))
    assert told in text
    assert "`close`?" not in text


def test_a_close_that_is_not_positive_is_told(tmp_path):
    frame = bars()
    frame.loc[1, "close"] = 0.0
    assert "have no positive `close`" in message(lambda: source(tmp_path, frame))


def test_a_table_of_suspended_days_only_is_told(tmp_path):
    said = message(lambda: source(tmp_path, bars().assign(volume=0), zero_volume="suspended"))
    assert "Not a single row was traded" in said


@pytest.mark.parametrize(
    ("added", "removed", "options", "says"),
    [
        ({"factor": "f"}, (), {}, ("Both `previous_close` and `factor`", "'~data.columns.factor'")),
        ({"amount": "a", "vwap": "v"}, (), {"units": Units(amount=1)}, ("Both `amount` and `vwap`",)),
        ({}, (), {"units": Units(amount=1)}, ("Without `amount`", "+data.columns.amount=COLUMN", "data.units.amount")),
        ({"amount": "a"}, ("high",), {"units": Units(amount=1)}, ("Without `high`",)),
        ({}, ("volume",), {"zero_volume": "suspended"}, ("Without `volume`", "data.zero_volume")),
        ({}, ("volume",), {"units": Units(volume=100)}, ("Without `volume`", "data.units.volume")),
        ({}, ("close",), {"price_field": "open"}, ("Without `close`", "data.columns.previous_close")),
    ],
    ids=["factor", "vwap", "amount", "high", "zero volume", "volume", "close"],
)
def test_columns_that_are_missing_or_contradict_each_other_are_refused(tmp_path, added, removed, options, says):
    columns = {name: column for name, column in (COLUMNS | added).items() if name not in removed}
    said = message(lambda: TabularSource(root=str(tmp_path), path="none.csv", columns=columns, **options))
    assert all(text in said for text in says), said


def test_a_unit_is_positive():
    with pytest.raises(ConfigError, match="out of range"):
        Units(volume=0)


AMOUNT = COLUMNS | {"amount": "amount"}


def test_amount_over_volume_is_the_vwap(tmp_path):
    frame = bars().assign(volume=12.0)
    frame["amount"] = frame["close"] * 1.05 * 1200 / 1000
    frame.loc[5, ["volume", "amount"]] = 0
    panel = source(tmp_path, frame, columns=AMOUNT, units=Units(volume=100, amount=1000)).load()
    np.testing.assert_allclose(panel.fields["vwap"][:5, 0], panel.fields["close"][:5, 0] * 1.05, rtol=1e-6)
    assert np.isnan(panel.fields["vwap"][5, 0])
    np.testing.assert_array_equal(panel.fields["volume"][:4, 0], [1200, 1200, 600, 600])
    assert "amount" not in panel.fields


def test_prices_that_are_adjusted_already_keep_their_factor_beside_an_amount(tmp_path):
    frame = bars().assign(factor=2.0).assign(amount=lambda rows: rows["close"] * rows["volume"])
    columns = {name: name for name in AMOUNT if name != "previous_close"} | {"factor": "factor"}
    panel = source(tmp_path, frame, columns=columns, units=Units(amount=1)).load()
    np.testing.assert_allclose(panel.fields["vwap"], panel.fields["close"], rtol=1e-6)
    np.testing.assert_array_equal(panel.fields["volume"][:, 0], [1000] * 6)


def test_a_vwap_outside_the_range_of_the_day_says_that_the_units_are_wrong(tmp_path):
    frame = bars().assign(amount=lambda rows: rows["close"] * rows["volume"])
    said = message(lambda: source(tmp_path, frame, columns=AMOUNT, units=Units(volume=100, amount=1)))
    assert "6 row(s) have a vwap outside the day's range" in said
    assert "raw.csv row 0: 2017-01-02 A vwap=0.1 low=9 high=11" in said
    assert "the units are wrong: prices are about 110 times amount / volume; data.units.amount" in said


def test_a_row_with_a_wrong_amount_and_adjusted_prices_are_told_apart_from_wrong_units(tmp_path):
    frame = pd.concat([bars(f"T{at:02}") for at in range(40)], ignore_index=True)
    frame["amount"] = frame["close"] * frame["volume"]
    frame["amount"] *= np.where(frame.index == 7, 1.2, 1.0)
    said = message(lambda: source(tmp_path, frame, columns=AMOUNT, units=Units(amount=1)))
    assert "raw.csv row 7: 2017-01-03 T01 vwap=13.2" in said
    assert "the units fit the other rows" in said
    frame["amount"] *= 0.8
    assert "prices are adjusted but amounts are not" in message(
        lambda: source(tmp_path, frame, columns=AMOUNT, units=Units(amount=1))
    )


def test_amounts_and_volumes_that_are_rounded_to_whole_units_are_taken(tmp_path):
    frame = bars().assign(volume=[1, 2, 3, 1, 2, 3], high=lambda rows: rows["close"], low=lambda rows: rows["close"])
    frame["amount"] = np.round(frame["close"] * (frame["volume"] * 100 + 40))
    panel = source(tmp_path, frame, columns=AMOUNT, units=Units(volume=100, amount=1)).load()
    np.testing.assert_allclose(panel.fields["vwap"][0, 0], 14.0, rtol=1e-6)


@pytest.mark.skipif(not CSI300.is_dir(), reason="the real data are not beside this checkout (../shared/data)")
@pytest.mark.nightly
def test_raw_files_made_of_the_real_panel_give_its_adjusted_prices_back(tmp_path):
    """Prices of an exchange have two decimals, of which float32 and the product of some 15 ex-days lose about 1e-6."""
    panel = pd.read_parquet(CSI300 / "panel.parquet")
    # From its first row on, for the factor is 1 there; 30 shares of which some have ex-days.
    codes = panel["instrument"].drop_duplicates().iloc[:300:10]
    rows = panel[panel["instrument"].isin(codes)].sort_values(["instrument", "datetime"], ignore_index=True)
    exact = rows.astype(dict.fromkeys(rows.columns[2:], float))
    factor, grouped = exact["factor"], exact.groupby("instrument")
    raw = pd.DataFrame(
        {"trade_date": exact["datetime"].astype(str).str.replace("-", ""), "ts_code": exact["instrument"]}
    )
    for name in ("open", "high", "low", "close"):
        raw[name] = np.round(exact[name] / factor, 2)
    last = raw["close"].groupby(exact["instrument"]).shift()
    raw["pre_close"] = np.round(last * grouped["factor"].shift() / factor, 2)  # as it was published
    raw["vol"] = exact["volume"] * factor / 100
    raw["amount"] = exact["vwap"] * exact["volume"] / 1000
    assert (factor != grouped["factor"].shift()).sum() > 300
    (tmp_path / "tushare").mkdir()
    for code, own in raw.groupby("ts_code"):
        own[::-1].to_csv(tmp_path / "tushare" / f"{code}.csv", index=False)
    found = compose_config(["data=tushare", f"data.path={tmp_path / 'tushare'}"]).data.load()
    at = found.calendar.positions_of(pd.to_datetime(rows["datetime"]).to_numpy())
    column = pd.Categorical(rows["instrument"], categories=found.instruments).codes
    for name, tolerance in {"factor": 1e-6, "volume": 1e-6, "vwap": 1e-6}.items():
        np.testing.assert_allclose(found.fields[name][at, column], rows[name], rtol=tolerance, err_msg=name)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(found.fields[name][at, column], rows[name], rtol=1e-6, err_msg=name)
    assert found.traded.sum() == len(rows)


def made_up(code="000001.SZ") -> pd.DataFrame:
    return bars(code, previous=(9.9, 10.0, 5.5, 5.5, 6.0, 6.0)).assign(amount=lambda rows: rows["close"] * 1000)


def exported(exporter: str, folder: Path) -> None:
    """Write files as an exporter does: heads, units, the form of dates and codes, and what stands beside."""
    folder.mkdir()
    tushare = {"time": "trade_date", "instrument": "ts_code", "volume": "vol", "previous_close": "pre_close"}
    baostock = {"time": "date", "instrument": "code", "previous_close": "preclose"}
    akshare = {"time": "日期", "instrument": "股票代码", "open": "开盘", "high": "最高", "low": "最低", "close": "收盘"}
    for number, market in (("000001", "sz"), ("600000", "sh")):
        code = {"tushare": f"{number}.{market.upper()}", "baostock": f"{market}.{number}", "akshare": number}[exporter]
        frame = made_up(code)
        if exporter == "tushare":
            frame = frame.assign(time=frame["time"].dt.strftime("%Y%m%d"), pct_chg=0.0).rename(columns=tushare)[::-1]
            frame = frame.assign(vol=frame["vol"] / 100, amount=frame["amount"] / 1000)
        elif exporter == "baostock":
            suspended = frame[:1].assign(time=pd.Timestamp("2017-01-08"), close=6.6, previous_close=6.6, volume="")
            frame = pd.concat([frame, suspended.assign(amount="")]).rename(columns=baostock).assign(tradestatus=1)
        else:
            frame = frame.rename(columns=akshare | {"volume": "成交量", "amount": "成交额"}).assign(成交量=10)
        frame.to_csv(folder / f"{code}.csv", index=False)


@pytest.mark.parametrize("exporter", ["tushare", "baostock", "akshare"])
def test_the_files_of_an_exporter_are_read_by_its_configuration(tmp_path, exporter):
    exported(exporter, tmp_path / "files")
    panel = compose_config([f"data={exporter}", f"data.path={tmp_path / 'files'}"]).data.load()
    codes = {"tushare": ("000001.SZ", "600000.SH"), "baostock": ("sh.600000", "sz.000001")}
    assert panel.instruments == codes.get(exporter, ("000001", "600000"))
    assert panel.calendar.reach == "2017-01-02 … 2017-01-07"
    if exporter == "akshare":
        assert set(panel.fields) == {"open", "high", "low", "close", "volume"}
        np.testing.assert_array_equal(panel.fields["volume"], 1000)
        return
    np.testing.assert_array_equal(panel.fields["factor"][:, 0], [1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(panel.fields["volume"][:, 0], [1000, 1000, 500, 500, 500, 500])
    np.testing.assert_allclose(panel.fields["vwap"], panel.fields["close"], rtol=1e-6)


SNAPSHOTS = "trade_date,con_code,weight\n20170103,A,0.6\n20170103,B,0.4\n20170105,B,0.5\n20170105,C,0.5\n"


def members(folder, text=SNAPSHOTS, name="members.csv", **options) -> TabularSource:
    (folder / name).write_text(text, encoding="utf-8")
    frame = pd.concat([bars(code) for code in "ABC"])
    options = {"membership": name, "membership_columns": SnapshotColumns("trade_date", "con_code")} | options
    return source(folder, frame, membership_format="snapshots", **options)


def test_a_snapshot_is_valid_from_its_day_until_the_day_before_the_next(tmp_path):
    expected = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1]], dtype=bool)
    panel = members(tmp_path).load()
    np.testing.assert_array_equal(panel.membership, expected)
    (tmp_path / "folder").mkdir()
    lines = SNAPSHOTS.splitlines(keepends=True)
    (tmp_path / "folder" / "201701a.csv").write_text("".join(lines[:3]), encoding="utf-8")
    (tmp_path / "folder" / "201701b.csv").write_text("".join([lines[0], *lines[3:], lines[4]]), encoding="utf-8")
    made = members(tmp_path, membership="folder")
    assert made.load().fingerprint == panel.fingerprint
    before = made.inputs()["membership"]
    (tmp_path / "folder" / "201701b.csv").write_text(SNAPSHOTS, encoding="utf-8")
    assert made.inputs()["membership"] != before


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ABC")), min_size=1, max_size=20), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_new_snapshot_changes_no_earlier_membership(tmp_path_factory, rows, stop):
    folder = tmp_path_factory.mktemp("members")
    early = [row for row in rows if row[0] < stop]
    assume(early)
    found = []
    for kept in (rows, early):
        lines = [f"{DAYS[day]:%Y-%m-%d},{code}\n" for day, code in kept]
        found.append(members(folder, "trade_date,con_code\n" + "".join(lines)).load().membership[:stop])
    np.testing.assert_array_equal(found[0], found[1])
    first = min(day for day, _ in rows)
    assert not found[0][:first].any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"membership_columns": SnapshotColumns()}, ("data.membership_columns.time=trade_date", "con_code")),
        ({"text": SNAPSHOTS.replace("C,", "D,")}, ("no prices", "D")),
        ({"text": SNAPSHOTS.replace("20170105", "05/01/2017")}, ("`trade_date`", "line 4")),
        ({"membership": "nowhere"}, ("data.membership", "one row per snapshot and member")),
    ],
    ids=["columns", "strangers", "dates", "no file"],
)
def test_what_is_wrong_with_a_table_of_members_is_told(tmp_path, options, says):
    said = message(lambda: members(tmp_path, **options))
    assert all(text in said for text in says), said


def test_a_table_of_members_that_is_read_as_spans_is_told_what_reads_it(tmp_path):
    (tmp_path / "folder").mkdir()
    assert "data.membership_format=snapshots" in message(lambda: source(tmp_path, bars(), membership="folder"))
