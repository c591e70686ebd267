"""The cost of an audit beside the run that it audits: `sampled` at most twice as long, `static` almost nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.audit.audit import audit_result
from harness.audit.verdict import Level
from harness.config import compose_config
from harness.execution.progress import Silent
from harness.run.experiment import run

pytestmark = pytest.mark.nightly


@pytest.mark.parametrize("what", ["run", "static", "sampled"])
def test_the_main_job_and_its_audits(benchmark: BenchmarkFixture, tmp_path: Path, what: str) -> None:
    def config(name: str) -> list[str]:
        return [f"output.store={tmp_path / name / 'store'}", f"output.runs={tmp_path / name / 'runs'}"]

    finished = compose_config(config("finished"))
    result = run(finished, Silent())
    rounds = iter(range(3))

    def once() -> None:
        if what == "run":
            run(compose_config(config(f"fresh-{next(rounds)}")), Silent())
        else:
            assert audit_result(finished, result, Level(what)).clean

    benchmark.pedantic(once, rounds=3)
