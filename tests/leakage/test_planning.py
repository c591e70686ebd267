"""A leak in a plan is caught, and no honest plan raises an alarm; the matrix has every leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit import Level
from tests.leakage.mutant import verdict_of
from tests.leakage.planning import CLEAN, MUTANTS

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


@pytest.mark.parametrize(
    "name", ["state updated with labels that have not matured", "a block that reaches the decision"]
)
def test_a_representative_is_caught(tmp_path: Path, name: str) -> None:
    assert not verdict_of(BY_NAME[name], Level.SAMPLED, tmp_path).clean


def test_an_honest_plan_by_feedback_raises_no_alarm(tmp_path: Path) -> None:
    assert verdict_of(CLEAN["weights by feedback"], Level.SAMPLED, tmp_path).clean


@pytest.mark.nightly
@pytest.mark.parametrize("name", CLEAN)
def test_no_honest_plan_raises_an_alarm_in_a_full_audit(tmp_path: Path, name: str) -> None:
    verdict = verdict_of(CLEAN[name], Level.FULL, tmp_path)
    assert verdict.clean, [str(finding) for check in verdict.checks for finding in check.findings]
