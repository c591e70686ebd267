from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from baselines.adaptation.rolling_retrain import RollingRetrain
from tests.adaptation.streams import Stream, history_of, schedule


def test_every_sample_counts_alike_in_every_window_and_nothing_is_written(tmp_path: Path) -> None:
    table = Stream("none", times=200).table(0)
    windows = schedule(table, train=100, step=10)
    fitted = RollingRetrain().fit(history_of(table, windows, 10))
    fitted.save(tmp_path)
    assert [fitted.time_weights(window) for window in windows] == [None] * len(windows)
    assert list(tmp_path.iterdir()) == []


def test_rolling_retrain_and_gradual_forgetting_do_not_import_torch() -> None:
    code = (
        "import sys, baselines.adaptation.rolling_retrain, baselines.adaptation.gradual_forgetting;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_configuring_ddgda_does_not_import_torch() -> None:
    code = "import sys, baselines.adaptation.ddgda.adaptation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
