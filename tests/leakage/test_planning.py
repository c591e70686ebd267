"""Every leak in a plan is caught, and no honest plan raises an alarm."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit import Level
from tests.leakage.mutant import Mutant, verdict_of
from tests.leakage.planning import CLEAN, MUTANTS

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
# Caught by the full audit alone: what they choose differs at few decisions.
FULL_ONLY: tuple[str, ...] = ()


def test_there_are_at_least_20_mutants_and_sampled_misses_one_in_20_at_most() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 20
    assert set(FULL_ONLY) <= set(BY_NAME)
    assert len(FULL_ONLY) <= len(MUTANTS) / 20


@pytest.mark.parametrize(
    "name", ["state updated with labels that have not matured", "a block that reaches the decision"]
)
def test_a_representative_is_caught(tmp_path: Path, name: str) -> None:
    assert not verdict_of(BY_NAME[name], Level.SAMPLED, tmp_path).clean


def test_an_honest_plan_by_feedback_raises_no_alarm(tmp_path: Path) -> None:
    assert verdict_of(CLEAN["weights by feedback"], Level.SAMPLED, tmp_path).clean


@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(tmp_path: Path, mutant: Mutant) -> None:
    level = Level.FULL if mutant.name in FULL_ONLY else Level.SAMPLED
    assert not verdict_of(mutant, level, tmp_path).clean


@pytest.mark.nightly
@pytest.mark.parametrize("name", CLEAN)
def test_no_honest_plan_raises_an_alarm_in_a_full_audit(tmp_path: Path, name: str) -> None:
    verdict = verdict_of(CLEAN[name], Level.FULL, tmp_path)
    assert verdict.clean, [str(finding) for check in verdict.checks for finding in check.findings]
