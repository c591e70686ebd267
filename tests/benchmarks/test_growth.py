"""A day more on the real panel, from Parquet to snapshot: what a team waits for every evening.

Each round is a process of its own, as a user starts it; the store holds the day before. Processor seconds are printed
beside the wall time: they hardly depend on what else the machine does. The goal for a linear model is 3 s.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.test_main_job import COMMAND, CSI300

OPEN_END = ["data=cn_csi300", "model=linear", "windows.test=[2017-01-03,null]"]

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not CSI300.is_dir(), reason="the CSI 300 panel is not at ../shared/data"),
]


def without_last_day(folder: Path) -> Path:
    """Write the panel without its last day into a folder, and return what `BENCH_DATA` is then."""
    made = folder / CSI300.name
    shutil.copytree(CSI300, made)
    days = (CSI300 / "calendar_day.txt").read_text().split()
    for name in ("panel.parquet", "benchmark.parquet"):
        rows = pd.read_parquet(CSI300 / name)
        (made / name).unlink()
        rows[pd.to_datetime(rows["datetime"]) < pd.Timestamp(days[-1])].to_parquet(made / name, index=False)
    (made / "calendar_day.txt").unlink()
    (made / "calendar_day.txt").write_text("\n".join(days[:-1]) + "\n")
    return folder


def run_in(folder: Path, data: Path) -> float:
    """Run in a process of its own; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "BENCH_DATA": str(data)}
    subprocess.run([*COMMAND, *OPEN_END], cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_csi300_with_a_day_more(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    evening = tmp_path / "evening"
    evening.mkdir()
    run_in(evening, without_last_day(tmp_path / "data"))
    spent: list[float] = []

    def with_yesterdays_store() -> tuple[tuple[Path], dict[str, object]]:
        again = tmp_path / f"again{len(spent)}"
        shutil.copytree(evening, again)
        return (again,), {}

    benchmark.pedantic(
        lambda folder: spent.append(run_in(folder, CSI300.parent)), setup=with_yesterdays_store, rounds=3
    )
    benchmark.extra_info["processor_seconds"] = min(spent)
