"""The numbers of the smoke suite are those that were blessed in `results/`; elsewhere, within the tolerances."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.snapshots.baseline import Baselines
from harness.snapshots.suite import named_suite
from harness.snapshots.verdicts import ExitCode

ROOT = Path(__file__).resolve().parents[2]
CASES = [case.case for case in named_suite("smoke").cases]
# Kernels without AVX-512, which this processor would choose by itself where it has it.
OLDER_PROCESSOR = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cases share their stages."""
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.parametrize("case", CASES)
def test_a_case_gives_what_was_blessed(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    code = main(["check", f"smoke/{case}", "--results", str(ROOT / "results"), *where])
    shown = capsys.readouterr()
    assert code == ExitCode.FINE, (
        f"{shown.out}\nIf this is what should be: bench bless smoke/{case} --reason 'what changed, and why'"
    )


def test_every_baseline_of_the_suite_has_its_case() -> None:
    assert Baselines(ROOT / "results").orphans("smoke", CASES) == ()


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="the variables that choose other kernels are those of x86 on Linux")
def test_a_processor_with_other_kernels_is_within_the_tolerances(tmp_path: Path) -> None:
    code = "from harness.cli import command; command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "smoke", "--json", "--results", str(ROOT / "results")],
        cwd=tmp_path,
        env={**os.environ, **OLDER_PROCESSOR},
        capture_output=True,
        text=True,
    )
    record = json.loads(done.stdout)
    assert record["exit_code"] == done.returncode == ExitCode.FINE, done.stdout
    assert {case["basis"] for case in record["cases"]} == {"TOLERANCE"}
