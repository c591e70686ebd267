"""The source reads its file, notices when it changes, and carries an experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from my_data import MyData

from harness import DataError, run_experiment


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2018-01-01", periods=420)
    closes = 10 * np.exp(np.cumsum(rng.normal(0, 0.02, (420, 12)), axis=0))
    frame = pd.DataFrame(closes, index=days, columns=[f"S{i:02}" for i in range(12)])
    frame.iloc[:100, 3] = np.nan
    frame.to_csv(tmp_path / "closes.csv")
    return tmp_path / "closes.csv"


def test_nobody_is_in_the_universe_before_the_first_price(file: Path) -> None:
    panel = MyData(str(file)).load()
    assert panel.membership[:, 3].tolist() == [False] * 100 + [True] * 320


def test_a_changed_file_is_another_input(file: Path) -> None:
    source = MyData(str(file))
    before = source.inputs()
    file.write_text(file.read_text(encoding="utf-8").replace("S00", "S99"), encoding="utf-8", newline="\n")
    assert source.inputs() != before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        MyData(str(tmp_path / "absent.csv")).load()


def test_an_experiment_runs_on_it(file: Path, tmp_path: Path) -> None:
    output = [f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"]
    folder = Path(__file__).resolve().parent / "my_conf"
    overrides = ["data=my_data", f"data.path={file}", "features=my_data", "windows.step=40"]
    result = run_experiment([*output, *overrides], search_path=[folder])
    assert result.snapshot.identity["data"]["name"] == "my_data"
    assert result.metrics["rank_IC"] is not None
