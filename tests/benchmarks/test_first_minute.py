"""What somebody waits for who has just installed: the help, a run, and the table of `make bench`.

Each round is a process of its own in an empty folder, with kernels that have yet to be compiled. Budgets on two cores
of a quiet machine (``budget``, in seconds): the help 0.5, a run until its first stage 1.5, a run 15, `make bench` 60.
A busy machine stretches seconds, and another one takes others: what is held to is processor time (``cpu``), beside that
of importing the libraries that a run needs (``libraries``), in the same minute.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
BENCH = [sys.executable, "-c", "from harness.cli import command; command()"]

pytestmark = [pytest.mark.nightly, pytest.mark.benchmark(group="first minute")]

# Runs a command until it computes, and writes down the modules of libraries that it has imported by then.
UNTIL_THE_PANEL = [
    sys.executable,
    "-c",
    """
import os, sys
from pathlib import Path
from harness.execution.progress import PlainObserver

begin = PlainObserver.start

def start(self, stage, total):
    if stage == "panel":
        own = ("harness.", "baselines.")
        names = [n for n, m in sys.modules.items() if "site-packages" in (getattr(m, "__file__", None) or "")]
        Path("libraries").write_text(chr(10).join(n for n in names if not (n + ".").startswith(own)))
        os._exit(0)
    begin(self, stage, total)

PlainObserver.start = start
from harness.cli import main
main(sys.argv[1:])
""",
]
# Imports them and does nothing else.
LIBRARIES = [
    sys.executable,
    "-c",
    """
import importlib
from contextlib import suppress
from pathlib import Path

for name in Path("libraries").read_text().split():
    with suppress(ImportError):  # a module that a library has made at run time
        importlib.import_module(name)
""",
]


# What no run needs before its first stage: with one of these the measure would grow with what is measured.
LATER = {
    "numba",
    "llvmlite",
    "scipy",
    "pandas",
    "lightgbm",
    "sklearn",
    "torch",
    "arch",
    "statsmodels",
    "jinja2",
    "plotly",
}
LATER |= {"dask", "distributed", "mlflow", "river", "pooch", "requests", "matplotlib"}


def first_table() -> list[str]:
    """Return the arguments of `make bench`."""
    found = re.search(r"^bench: .*\n\t\$\(BIN\)/bench (.*)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1].split()


def environment_in(folder: Path) -> dict[str, str]:
    """Return the environment of a user: what Python has compiled once is kept, kernels have yet to be compiled."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder.parent / "code"), "NUMBA_CACHE_DIR": str(folder / "kernels")}


def run_in(folder: Path, command: list[str], program: Sequence[str] = BENCH) -> str:
    environment = environment_in(folder)
    done = subprocess.run([*program, *command], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def until_the_first_stage(folder: Path) -> None:
    """Run until something is computed; what has been imported by then is light, and stands in ``libraries``."""
    run_in(folder, ["run"], UNTIL_THE_PANEL)
    loaded = {name.partition(".")[0] for name in (folder / "libraries").read_text().split()}
    assert {"numpy", "pyarrow", "hydra", "pydantic"} <= loaded
    assert not loaded & LATER


def cpu_of(*works: Callable[[], object]) -> list[float]:
    """Return the least processor time, in seconds, that the processes of five calls of each have taken, in turn."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(5):
        for work, seconds in zip(works, taken, strict=True):
            before = os.times()
            work()
            seconds.append(sum(os.times()[2:4]) - sum(before[2:4]))
    return [min(seconds) for seconds in taken]


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help(benchmark: BenchmarkFixture, tmp_path: Path, command: list[str]) -> None:
    until_the_first_stage(tmp_path)
    cpu, libraries = cpu_of(lambda: run_in(tmp_path, command), lambda: run_in(tmp_path, [], LIBRARIES))
    benchmark.extra_info.update(budget=0.5, cpu=cpu, libraries=libraries)
    assert "usage: bench" in benchmark.pedantic(run_in, args=(tmp_path, command), rounds=5, warmup_rounds=1)
    assert cpu < libraries


def test_until_the_first_stage(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The program is loaded, the configuration composed and checked, the code of the stages counted."""
    benchmark.pedantic(until_the_first_stage, args=(tmp_path,), rounds=5, warmup_rounds=1)
    cpu, libraries = cpu_of(lambda: until_the_first_stage(tmp_path), lambda: run_in(tmp_path, [], LIBRARIES))
    benchmark.extra_info.update(budget=1.5, cpu=cpu, libraries=libraries)
    assert cpu < 2.5 * libraries


@pytest.mark.parametrize(
    ("command", "budget", "rows"), [(["run"], 15, 2), (first_table(), 60, 5)], ids=["run", "make bench"]
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
    shown = [line for line in out.splitlines() if re.search(r" \d\.\d{4} ", line) and "±" not in line]
    assert len(shown) == rows, out
