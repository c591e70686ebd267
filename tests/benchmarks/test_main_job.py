"""The main job on the real panel, from Parquet to snapshot: with an empty store, and when nothing has changed.

Each round is a process of its own, as a user starts it; compiled kernels are on disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

CSI300 = Path(__file__).resolve().parents[3] / "shared" / "data" / "cn_csi300_2005"
COMMAND = [sys.executable, "-c", "from harness.cli import command; command()", "run"]

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not CSI300.is_dir(), reason="the CSI 300 panel is not at ../shared/data"),
]


def run_in(folder: Path) -> None:
    environment = {**os.environ, "BENCH_DATA": str(CSI300.parent)}
    subprocess.run([*COMMAND, "data=cn_csi300"], cwd=folder, env=environment, check=True, capture_output=True)


def test_csi300_from_parquet_to_snapshot_with_an_empty_store(
    benchmark: BenchmarkFixture, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def fresh() -> tuple[tuple[Path], dict[str, object]]:
        return (tmp_path_factory.mktemp("cold"),), {}

    benchmark.pedantic(run_in, setup=fresh, rounds=3, warmup_rounds=1)


def test_csi300_when_nothing_has_changed(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    run_in(tmp_path)
    benchmark.pedantic(run_in, args=(tmp_path,), rounds=5)
