"""Public series: readers on small files of the published form, checksums on first use, the table that is shipped."""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.config import compose_config
from harness.data.series import SeriesFormat
from harness.data.sources.public_series import PublicSeries, read_folsom, read_uci_load
from harness.errors import ConfigError, DataError
from harness.run.experiment import run_experiment
from harness.store.fingerprint import fingerprint_file
from tests.data.test_download import Server, server  # noqa: F401 — a fixture

HOURLY = SeriesFormat(every="1h", calendar=("hour",))


def uci_zip(days: int = 2) -> bytes:
    """Return a file of UCI's form: quarters of an hour, decimal commas; MT_002 begins on the second day, 3:00 is 0."""
    times = pd.date_range("2011-03-26 00:15:00", periods=96 * days, freq="15min")
    values = np.arange(96 * days)[:, None] + np.array([0.5, 1000.0]) + 1
    values[:96, 1] = 0
    values[np.isin(times.hour * 100 + times.minute, (215, 230, 245, 300)) & (times.day == 27)] = 0
    lines = ['"";"MT_001";"MT_002"']
    for time, row in zip(times, values, strict=True):
        lines.append(f'"{time}";' + ";".join(f"{value:.2f}".replace(".", ",") for value in row))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("LD2011_2014.txt", "\n".join(lines) + "\n")
    return packed.getvalue()


def folsom_csv() -> bytes:
    """Return a file of Folsom's form: minutes, of which most of the third hour is missing."""
    times = pd.date_range("2014-01-02 08:00:00", periods=240, freq="min")
    table = pd.DataFrame({"timeStamp": times, "ghi": np.arange(240.0), "dni": 1.0, "dhi": 2.0})
    return table.drop(index=range(125, 175)).to_csv(index=False).encode()


def source(folder: Path, url: str, reader: Any = "uci_load", file: str = "load.zip") -> PublicSeries:
    return PublicSeries(url=url, file=file, reader=reader, folder=str(folder), series=HOURLY)


def test_the_load_of_uci_is_read_hourly_from_the_first_value_of_each_client(tmp_path: Path) -> None:
    path = tmp_path / "load.zip"
    path.write_bytes(uci_zip())
    for file in (path, tmp_path / "LD2011_2014.txt"):
        if file != path:
            zipfile.ZipFile(path).extractall(tmp_path)
        table = read_uci_load(file).pivot_table(index="time", columns="series", values="value")
        assert table.index[0] == pd.Timestamp("2011-03-26 01:00")
        assert table["MT_001"].iloc[0] == np.mean([1.5, 2.5, 3.5, 4.5])
        assert table["MT_002"].first_valid_index() == pd.Timestamp("2011-03-27 01:00")
        assert pd.Timestamp("2011-03-27 03:00") not in table.index


def test_the_irradiance_of_folsom_is_read_hourly_where_there_are_enough_minutes(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(folsom_csv())
    table = read_folsom(tmp_path / "f.csv")
    assert list(table) == ["time", "series", "value", "dni", "dhi"]
    assert pd.Timestamp("2014-01-02 11:00") not in set(table.time)
    second = table[table.time == "2014-01-02 10:00"]
    assert second["value"].item() == np.arange(61.0, 121.0).mean()


@pytest.mark.parametrize(("reader", "content"), [("uci_load", b"a;b\n1;2\n"), ("folsom", b"time,ghi\n1,2\n")])
def test_a_file_of_another_form_is_refused(tmp_path: Path, reader: str, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="another form"):
        source(tmp_path, "http://nowhere.invalid/x", reader, "x").load()


def test_a_file_is_fetched_once_and_its_digest_recorded(tmp_path: Path, server: Server) -> None:  # noqa: F811
    server.content["/load.zip"] = uci_zip()
    found = source(tmp_path / "kept", f"{server.address}/load.zip")
    panel = found.load()
    assert panel.instruments == ("MT_001", "MT_002")
    assert (server.requests, found.inputs()) == (1, {"load.zip": fingerprint_file(tmp_path / "kept" / "load.zip")})
    assert replace(found, instruments=("MT_002",)).load().instruments == ("MT_002",)
    with pytest.raises(DataError, match="not in the file"):
        replace(found, instruments=("MT_9",)).load()
    assert server.requests == 1
    (tmp_path / "kept" / "load.zip").write_bytes(uci_zip(days=3))
    with pytest.raises(DataError, match="another checksum"):
        found.load()


def test_a_file_with_another_checksum_than_expected_is_not_kept(tmp_path: Path, server: Server) -> None:  # noqa: F811
    server.content["/load.zip"] = uci_zip()
    with pytest.raises(DataError, match="Nothing was kept"):
        replace(source(tmp_path, f"{server.address}/load.zip"), sha256="0" * 64).load()
    assert not (tmp_path / "load.zip").exists()
    with pytest.raises(ConfigError, match="Not a SHA-256"):
        replace(source(tmp_path, "http://x/y"), sha256="abc")


def test_a_file_that_was_put_there_by_hand_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(folsom_csv())
    panel = source(tmp_path, "http://nowhere.invalid/f.csv", "folsom", "f.csv").load()
    assert {"value", "dni", "dhi", "hour"} == panel.fields.keys()
    assert json.loads((tmp_path / "f.csv.json").read_text(encoding="utf-8"))["sha256"]


@pytest.mark.parametrize("name", ["uci_load", "folsom"])
def test_their_configurations_compose_and_name_no_checksum_that_is_not_known(name: str) -> None:
    data = compose_config([f"data={name}", "features=load", "label=forward_value"]).data
    assert isinstance(data, PublicSeries)
    assert data.sha256 is None


def test_the_shipped_series_is_what_its_example_writes() -> None:
    place = Path(__file__).resolve().parents[2] / "examples" / "make_water_flow.py"
    spec = importlib.util.spec_from_file_location("make_water_flow", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shipped = Path(__file__).resolve().parents[2] / "harness" / "data" / "examples" / "water_flow.csv"
    assert shipped.read_text(encoding="utf-8").splitlines() == module.lines()


def test_the_shipped_series_runs_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_experiment(["experiment=water", "evaluation.significance=null"])
    assert found.metrics["rows"] > 400
    assert found.metrics["MASE"] < 2
    assert set(found.references) == {"persistence", "yesterday", "last_week", "climatology"}
