"""What somebody waits for who has just installed: the help, a run, and the table of `make bench`.

Each round is a process of its own in an empty folder, with kernels that have yet to be compiled. Budgets on two cores
of a quiet machine (``budget``, in seconds): the help 0.4, a run until its first stage 1.5, a run 15, `make bench` 60.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
BENCH = [sys.executable, "-c", "import sys; from harness.cli import main; sys.exit(main(sys.argv[1:]))"]

pytestmark = [pytest.mark.nightly, pytest.mark.benchmark(group="first minute")]


def first_table() -> list[str]:
    """Return the arguments of `make bench`."""
    found = re.search(r"^bench: .*\n\t\$\(BIN\)/bench (.*)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1].split()


def run_in(folder: Path, command: list[str]) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")}
    done = subprocess.run([*BENCH, *command], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help(benchmark: BenchmarkFixture, tmp_path: Path, command: list[str]) -> None:
    benchmark.extra_info["budget"] = 0.4
    assert "usage: bench" in benchmark.pedantic(run_in, args=(tmp_path, command), rounds=5, warmup_rounds=1)


def test_until_the_first_stage(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Everything is loaded and Hydra has composed the configuration; what follows computes."""
    benchmark.extra_info["budget"] = 1.5
    shown = benchmark.pedantic(run_in, args=(tmp_path, ["run", "--cfg", "job"]), rounds=5, warmup_rounds=1)
    assert "windows:" in shown


@pytest.mark.parametrize(
    ("command", "budget", "rows"), [(["run"], 15, 3), (first_table(), 60, 5)], ids=["run", "make bench"]
)
def test_cold(
    benchmark: BenchmarkFixture,
    tmp_path_factory: pytest.TempPathFactory,
    command: list[str],
    budget: float,
    rows: int,
) -> None:
    def fresh() -> tuple[tuple[Path, list[str]], dict[str, object]]:
        return (tmp_path_factory.mktemp("cold"), command), {}

    benchmark.extra_info["budget"] = budget
    out = benchmark.pedantic(run_in, setup=fresh, rounds=3)
    shown = [line for line in out.splitlines() if re.search(r" \d\.\d{4} ", line)]
    assert len(shown) == rows, out
