"""A leak in a plan is caught, and no honest plan raises an alarm; the nightly matrix audits every leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit.verdict import Level
from tests.leakage.mutant import verdict_of
from tests.leakage.planning import CLEAN, MUTANTS


def test_a_plan_that_learns_up_to_the_decision_is_refused(tmp_path: Path) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "a block that reaches the decision")
    assert verdict_of(mutant, Level.SAMPLED, tmp_path).caught_by == ("reads",)


@pytest.mark.nightly
@pytest.mark.parametrize("name", CLEAN)
def test_no_honest_plan_raises_an_alarm_in_a_full_audit(tmp_path: Path, name: str) -> None:
    verdict = verdict_of(CLEAN[name], Level.FULL, tmp_path)
    assert verdict.clean, [str(finding) for check in verdict.checks for finding in check.findings]
