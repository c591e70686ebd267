"""Every mutant is caught; the published matrix says by what."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit import Level
from tests.leakage.matrix import DETECTORS, DOCUMENT, MUTANTS, audited, document, recorded
from tests.leakage.mutant import Mutant, verdict_of

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
GROUPS = ("data", "features", "label", "windows", "preprocessing", "adaptation", "model", "evaluation", "caching")
# At least one of each group, and one for each detector that the sampled audit has.
REPRESENTATIVE = (
    "survivors only",
    "tomorrow's return",
    "purge off by one",
    "learning ends one time too late",
    "averaged with the next row",
    "weights from a view after the test segment",
    "DDG-DA: similarity unmasked",
    "weights kept in a global",
    "labels in a file",
    "data of all windows kept in the object",
    "inputs changed in place",
    "rows with bad outcomes left out",
    "the better half of the days reported",
    "benchmark a day early",
    "windows of other weights",
)


def test_there_are_at_least_40_mutants_spread_over_the_whole_pipeline() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 40
    assert {mutant.group for mutant in MUTANTS} == set(GROUPS)
    assert sum(mutant.name.startswith("DDG-DA") for mutant in MUTANTS) >= 10


def test_all_are_caught_by_full_and_nine_in_ten_by_sampled() -> None:
    record = recorded()
    assert record.keys() == BY_NAME.keys(), "stale: run `python -m tests.leakage.matrix`"
    assert [name for name, caught in record.items() if not caught["full"]] == []
    assert sum(bool(caught["sampled"]) for caught in record.values()) >= 0.9 * len(MUTANTS)
    assert {name for caught in record.values() for names in caught.values() for name in names} <= DETECTORS.keys()


def test_the_published_matrix_is_the_recorded_one() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(recorded()), "run `python -m tests.leakage.matrix`"


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_representative_is_caught_by_what_the_matrix_says(tmp_path: Path, name: str) -> None:
    assert list(verdict_of(BY_NAME[name], Level.SAMPLED, tmp_path).caught_by) == recorded()[name]["sampled"]


def test_the_representatives_stand_for_every_group_and_every_sampled_detector() -> None:
    assert {BY_NAME[name].group for name in REPRESENTATIVE} == set(GROUPS)
    caught = {detector for name in REPRESENTATIVE for detector in recorded()[name]["sampled"]}
    # `adaptation` needs a whole DDG-DA run, `shuffled` the full audit: the nightly tests have both.
    assert caught == DETECTORS.keys() - {"adaptation", "shuffled"}


@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught_by_what_the_matrix_says(mutant: Mutant) -> None:
    assert audited(mutant) == recorded()[mutant.name]
