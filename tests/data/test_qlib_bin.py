from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.data.panel import Benchmark
from harness.data.sources.qlib_bin import QlibBinSource, write_qlib_bin
from harness.data.sources.synthetic import SyntheticMarket
from harness.errors import ConfigError, DataError
from tests.data.small_panel import small_panel

FIELDS = ("open", "high", "low", "close", "volume")


@pytest.fixture
def folder(tmp_path):
    write_qlib_bin(small_panel(), tmp_path / "bin", universe="csi300")
    return tmp_path / "bin"


def _source(folder, **options):
    return QlibBinSource(path=str(folder), **{"fields": FIELDS, "benchmark": "SH000300"} | options)


def test_the_folder_is_laid_out_as_qlib_expects(folder):
    assert (folder / "calendars" / "day.txt").read_text().splitlines()[:2] == ["2020-01-01", "2020-01-02"]
    assert (folder / "instruments" / "all.txt").read_text().splitlines()[-1] == "SZ000001\t2020-01-04\t2020-01-06"
    assert (folder / "instruments" / "csi300.txt").read_text().splitlines()[:2] == [
        "SH600000\t2020-01-01\t2020-01-01",
        "SH600000\t2020-01-03\t2020-01-06",
    ]
    assert sorted(p.name for p in (folder / "features").iterdir()) == ["sh000300", "sh600000", "sh600004", "sz000001"]
    raw = np.frombuffer((folder / "features" / "sz000001" / "close.day.bin").read_bytes(), dtype="<f4")
    np.testing.assert_array_equal(raw, np.concatenate([[3], small_panel().fields["close"][3:, 2]]).astype(np.float32))


def test_a_panel_that_is_written_is_read_back_exactly(folder):
    assert _source(folder).load().fingerprint == small_panel().fingerprint


def test_the_change_that_qlib_takes_its_price_limits_from_is_written(tmp_path):
    panel = small_panel()
    close = panel.fields["close"].copy()
    close[2, 0] = np.nan
    write_qlib_bin(replace(panel, fields={**panel.fields, "close": close}), tmp_path / "bin", universe="csi300")
    raw = np.fromfile(tmp_path / "bin" / "features" / "sh600000" / "change.day.bin", dtype="<f4")[1:]
    assert np.isnan(raw[[0, 2]]).all()
    np.testing.assert_allclose(raw[[1, 3]], [close[1, 0] / close[0, 0] - 1, close[3, 0] / close[1, 0] - 1], rtol=1e-6)

    own = np.full(close.shape, 0.5, dtype=np.float32)
    write_qlib_bin(replace(panel, fields={**panel.fields, "change": own}), tmp_path / "own", universe="csi300")
    raw = np.fromfile(tmp_path / "own" / "features" / "sh600000" / "change.day.bin", dtype="<f4")[1:]
    assert (raw == 0.5).all()


def test_an_index_that_the_folder_lacks_is_named_with_its_key(folder):
    with pytest.raises(DataError, match="The benchmark has no prices") as caught:
        _source(folder, benchmark="SH000905").load()
    assert caught.value.where == "data.benchmark"
    assert "data.benchmark=null" in str(caught.value)


def test_hours_are_written_and_read_under_their_frequency(tmp_path):
    panel = small_panel(hourly=True)
    write_qlib_bin(panel, tmp_path / "bin", universe="some", freq="60min")
    assert (tmp_path / "bin" / "calendars" / "60min.txt").read_text().startswith("2020-01-01 09:00:00\n")
    assert _source(tmp_path / "bin", freq="60min", universe="some").load().fingerprint == panel.fingerprint


def test_a_whole_market_with_late_listings_and_non_members_is_read_back_exactly(tmp_path):
    panel = replace(SyntheticMarket(instruments=25, days=120, members=10, review_every=50).load(), truth=None)
    write_qlib_bin(panel, tmp_path / "bin", universe="top")
    source = _source(
        tmp_path / "bin", universe="top", instruments="all", fields=tuple(panel.fields), benchmark="SIMINDEX"
    )
    assert source.load().fingerprint == panel.fingerprint


def test_only_the_universe_is_loaded_unless_more_is_asked_for(folder):
    spans = folder / "instruments" / "csi300.txt"
    spans.write_text("".join(line for line in spans.read_text().splitlines(keepends=True) if "SZ000001" not in line))
    assert len(_source(folder).load().instruments) == 2
    everyone = _source(folder, instruments="all").load()
    assert len(everyone.instruments) == 3
    assert not everyone.membership[:, 2].any()


def test_an_instrument_that_never_trades_is_kept(tmp_path):
    panel = small_panel()
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for values in fields.values():
        values[:, 1] = np.nan
    panel = replace(panel, fields=fields)
    write_qlib_bin(panel, tmp_path / "bin", universe="csi300")
    assert _source(tmp_path / "bin").load().fingerprint == panel.fingerprint


def test_an_existing_folder_is_never_overwritten(folder):
    with pytest.raises(DataError, match="exists already"):
        write_qlib_bin(small_panel(), folder, universe="csi300")


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.data.sources.qlib_bin.write_spans", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_qlib_bin(small_panel(), tmp_path / "bin", universe="csi300")
    assert list(tmp_path.iterdir()) == []


def test_codes_that_would_share_a_folder_are_refused(tmp_path):
    twins = replace(small_panel(), instruments=("SH600000", "SZ000001", "sz000001"))
    with pytest.raises(DataError, match="share a folder") as caught:
        write_qlib_bin(twins, tmp_path / "bin", universe="csi300")
    assert "SZ000001 and sz000001" in str(caught.value)
    clash = replace(small_panel(), benchmark=Benchmark("SH600000", np.ones(6, dtype=np.float32)))
    with pytest.raises(DataError, match="share a folder"):
        write_qlib_bin(clash, tmp_path / "bin", universe="csi300")


def test_names_that_are_too_long_for_a_file_are_refused_before_anything_is_written(tmp_path):
    long = replace(small_panel(), instruments=("SH600000", "SZ000001", "中" * 86))
    with pytest.raises(DataError, match=r"1 name\(s\) cannot be those of files") as caught:
        write_qlib_bin(long, tmp_path / "bin", universe="csi300")
    assert "258 bytes" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_names_that_the_locale_cannot_write_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.store.files.os.fsencode", lambda name: name.encode("ascii"))
    with pytest.raises(DataError, match="PYTHONUTF8=1"):
        write_qlib_bin(replace(small_panel(), instruments=("A", "B", "é")), tmp_path / "bin", universe="csi300")
    assert list(tmp_path.iterdir()) == []


def test_fields_whose_files_would_be_one_are_refused(tmp_path):
    panel = small_panel()
    twins = replace(panel, fields={**panel.fields, "Close": panel.fields["close"]})
    with pytest.raises(DataError, match="Two fields would share a file"):
        write_qlib_bin(twins, tmp_path / "bin", universe="csi300")


def test_odd_fields_are_written_and_read_back_exactly(tmp_path):
    panel = small_panel()
    odd = dict.fromkeys(("$close", "a/b", "..", "con", "p.e", "VAR78", "%2f", "é"), panel.fields["close"])
    panel = replace(panel, fields={**panel.fields, **odd})
    write_qlib_bin(panel, tmp_path / "bin", universe="csi300")
    again = _source(tmp_path / "bin", fields=tuple(panel.fields))
    assert again.load().fingerprint == panel.fingerprint
    with pytest.raises(DataError, match="lacks the field `a/c`") as caught:
        replace(again, fields=("close", "a/c")).load()
    assert "did you mean `a/b`?" in str(caught.value)


def test_a_folder_that_others_wrote_without_the_escape_is_found(tmp_path):
    panel = replace(small_panel(), instruments=("100%", "A:B", "B"))
    write_qlib_bin(panel, tmp_path / "bin", universe="csi300")
    for escaped, plain in (("100%25", "100%"), ("a%3ab", "a:b")):
        (tmp_path / "bin" / "features" / escaped).rename(tmp_path / "bin" / "features" / plain)
    assert _source(tmp_path / "bin").load().fingerprint == panel.fingerprint


def test_two_codes_of_one_folder_are_refused_on_reading_too(folder):
    with (folder / "instruments" / "csi300.txt").open("a", encoding="utf-8") as spans:
        spans.write("sh600000\t2020-01-01\t2020-01-06\n")
    with pytest.raises(DataError, match="share a folder") as caught:
        _source(folder).load()
    assert "SH600000 and sh600000" in str(caught.value)


def test_a_code_never_leads_out_of_the_folder(folder):
    (folder / "close.day.bin").write_bytes(b"12345678")
    with (folder / "instruments" / "csi300.txt").open("a", encoding="utf-8") as spans:
        spans.write("..\t2020-01-01\t2020-01-06\n")
    with pytest.raises(DataError, match=r"1 instrument\(s\) that have no prices"):
        _source(folder).load()


def _bin(folder, field="close"):
    return folder / "features" / "sh600004" / f"{field}.day.bin"


def _restart(position):
    def change(raw):
        return np.array([position], dtype="<f4").tobytes() + raw[4:]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-2], "truncated"),
        (lambda raw: raw[:4], "truncated"),
        (lambda raw: b"", "truncated"),
        (lambda raw: raw[:-4], "cover different times"),
        (lambda raw: raw + raw[-4:], "does not fit the calendar"),
        (_restart(1), "does not fit the calendar"),
        (_restart(-1), "does not fit the calendar"),
        (_restart(0.5), "does not fit the calendar"),
        (_restart(np.nan), "does not fit the calendar"),
    ],
    ids=[
        "half a value",
        "only a start",
        "empty",
        "a value short",
        "too long",
        "late",
        "negative",
        "fraction",
        "no start",
    ],
)
def test_a_damaged_feature_file_is_refused_by_name(folder, change, message):
    file = _bin(folder)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        _source(folder).load()
    assert "sh600004" in str(caught.value.where)


def test_a_missing_field_is_refused_with_those_that_are_there(folder):
    with pytest.raises(DataError, match="lacks the field `opening`") as caught:
        _source(folder, fields=("opening", "close")).load()
    assert "did you mean `open`?" in str(caught.value)


def test_unknown_members_are_refused_unless_dropping_is_asked_for(folder):
    with (folder / "instruments" / "csi300.txt").open("a") as spans:
        spans.write("SH699999\t2020-01-01\t2020-01-06\n")
    with pytest.raises(DataError, match=r"1 instrument\(s\) that have no prices"):
        _source(folder).load()
    assert _source(folder, unknown_members="drop").load().fingerprint == small_panel().fingerprint


@pytest.mark.parametrize(
    ("options", "key"),
    [({"universe": "csi500"}, "data.universe"), ({"freq": "60min"}, "data.freq"), ({"path": "nowhere"}, "data.path")],
)
def test_a_missing_file_is_refused_with_its_key(folder, options, key):
    with pytest.raises(DataError, match="no such") as caught:
        replace(_source(folder), **options).load()
    assert caught.value.where == key


def test_impossible_values_are_refused(folder):
    with pytest.raises(ConfigError, match="lack the price field"):
        _source(folder, fields=("open",))
    with pytest.raises(ConfigError, match="Unknown frequency"):
        _source(folder, freq="daily")
    bad = _bin(folder, "high")
    raw = np.frombuffer(bad.read_bytes(), dtype="<f4").copy()
    raw[1] = 0.1
    bad.write_bytes(raw.tobytes())
    with pytest.raises(DataError, match="1 rows have high < low"):
        _source(folder).load()


def test_inputs_follow_every_file_that_is_read_and_no_other(folder):
    source = _source(folder)
    before = source.inputs()
    (folder / "features" / "sh600000" / "amount.day.bin").write_bytes(b"12345678")
    assert source.inputs() == before
    file = _bin(folder)
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    assert {key for key, digest in source.inputs().items() if digest != before[key]} == {"features"}


QLIB_SCRIPT = """
import json, sys
import qlib
from qlib.data import D
qlib.init(provider_uri=sys.argv[1], kernels=1, logging_level=40)
frame = D.features(sys.argv[2].split(","), ["$close"], freq="day")
rows = [[code, str(when.date()), value] for (code, when), value in frame["$close"].items()]
spans = D.list_instruments(D.instruments("csi300"), freq="day")
days = {code: [[str(a.date()), str(b.date())] for a, b in own] for code, own in spans.items()}
print(json.dumps({"rows": rows, "days": days}))
"""


def test_qlib_reads_what_is_written(folder):
    # QLIB_PYTHON names an interpreter that has pyqlib, which needs older libraries than this project.
    python = os.environ.get("QLIB_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import qlib"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("pyqlib is not installed; QLIB_PYTHON can name an interpreter that has it")
    panel = small_panel()
    command = [python, "-c", QLIB_SCRIPT, str(folder), ",".join(panel.instruments)]
    answer = subprocess.run(command, capture_output=True, timeout=120, check=True, text=True, cwd=folder.parent)
    told = json.loads(answer.stdout.splitlines()[-1])
    assert len(told["rows"]) == 6 + 6 + 3
    for code, day, value in told["rows"]:
        ours = panel.fields["close"][panel.calendar.first_at_or_after(day), panel.instruments.index(code)]
        np.testing.assert_array_equal(np.float32(value), ours)
    assert told["days"] == {
        "SH600000": [["2020-01-01", "2020-01-01"], ["2020-01-03", "2020-01-06"]],
        "SH600004": [["2020-01-01", "2020-01-06"]],
        "SZ000001": [["2020-01-04", "2020-01-06"]],
    }
