from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from harness.data.convert import convert
from harness.data.sources.qlib_bin import QlibBinSource
from harness.errors import DataError
from harness.store.files import new_folder
from tests.data.small_panel import small_panel


def test_the_long_form_has_a_row_for_every_price_and_no_other(tmp_path):
    convert(small_panel(), tmp_path / "out", "long", universe="csi300")
    table = pq.read_table(tmp_path / "out" / "panel.parquet")
    assert table.column_names == ["datetime", "instrument", "close", "high", "low", "open", "volume"]
    assert table.num_rows == small_panel().traded.sum()
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["benchmark.parquet", "calendar.txt", "csi300.txt", "panel.parquet"]


def test_a_panel_without_benchmark_has_no_benchmark_file(tmp_path):
    convert(small_panel(benchmark=False), tmp_path / "out", "long", universe="csi300")
    assert not (tmp_path / "out" / "benchmark.parquet").exists()


def test_qlib_form_is_what_the_qlib_source_reads(tmp_path):
    convert(small_panel(benchmark=False), tmp_path / "out", "qlib_bin", universe="csi300")
    source = QlibBinSource(path=str(tmp_path / "out"), fields=("open", "high", "low", "close", "volume"))
    assert source.load().fingerprint == small_panel(benchmark=False).fingerprint


@pytest.mark.parametrize("form", ["long", "qlib_bin"])
def test_an_existing_folder_is_never_overwritten(tmp_path, form):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists already"):
        convert(small_panel(), tmp_path / "out", form, universe="csi300")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_appears_only_when_its_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "out"
    with new_folder(target) as staging:
        (staging / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "deep" / "other"):
        raise KeyboardInterrupt
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["out"]


def test_of_two_writers_the_second_is_refused(tmp_path):
    with pytest.raises(DataError, match="exists already"), new_folder(tmp_path / "out"):
        with new_folder(tmp_path / "out") as faster:
            (faster / "file").write_text("first")
    assert (tmp_path / "out" / "file").read_text() == "first"


@pytest.mark.parametrize(
    ("form", "universe"),
    [
        ("long", "calendar"),
        ("long", "../x"),
        ("long", ""),
        ("qlib_bin", "all"),
        ("qlib_bin", "a/b"),
        ("qlib_bin", ".."),
    ],
)
def test_a_universe_whose_file_would_be_another_or_elsewhere_is_refused_before_anything_is_written(
    tmp_path, form, universe
):
    with pytest.raises(DataError, match="cannot be called that") as caught:
        convert(small_panel(), tmp_path / "out", form, universe=universe)
    assert repr(universe) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
