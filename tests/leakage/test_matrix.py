"""Every mutant is caught; the published matrix says by what."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.audit.verdict import Level
from tests.leakage.matrix import (
    DETECTORS,
    DOCUMENT,
    MENDED,
    MUTANTS,
    ROOT,
    SEEDS,
    audited,
    caught,
    document,
    recorded,
    sentence,
    share,
)
from tests.leakage.mutant import Mutant, verdict_of
from tests.leakage.test_clean import CLEAN

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
GROUPS = (
    "data",
    "features",
    "label",
    "windows",
    "preprocessing",
    "adaptation",
    "model",
    "plans",
    "evaluation",
    "caching",
)
# Found without a second world, and in the portfolio alone; the example of a leaky model is found in a world.
REPRESENTATIVE = ("inputs changed in place", "filled at yesterday's low")


def test_there_are_at_least_40_mutants_spread_over_the_whole_pipeline() -> None:
    assert len(BY_NAME) == len(MUTANTS) >= 40
    assert {mutant.group for mutant in MUTANTS} == set(GROUPS)
    assert sum(mutant.name.startswith("DDG-DA") for mutant in MUTANTS) >= 10


def test_known_mutants_are_caught_and_four_in_five_of_those_held_out() -> None:
    record = recorded()
    assert record["mutants"].keys() <= BY_NAME.keys(), "stale: run `python -m tests.leakage.matrix --resume`"
    assert sum(m.held_out for m in MUTANTS) >= len(MUTANTS) / 2
    assert {m.name for m in MUTANTS if m.held_out} >= MENDED
    assert all(record["mutants"][name]["full"] for name in MENDED)
    for half, share_caught in ((False, 0.97), (True, 0.8)):
        count, of = caught(record, half, Level.FULL)
        assert of >= 50
        assert count >= share_caught * of
    found = {name for row in record["mutants"].values() for names in row.values() for name in names}
    assert found <= DETECTORS.keys()


def test_every_detector_that_needs_another_world_catches_what_no_other_does() -> None:
    alone = {names["full"][0] for names in recorded()["mutants"].values() if len(names["full"]) == 1}
    # Rows are all that a static audit has to find rows of halts by. Prior knowledge is no look at the future: no other
    # world can show it, and a short market seldom proves it.
    assert DETECTORS.keys() - alone <= {"rows", "prior"}


def test_clean_configurations_are_many_odd_and_seldom_accused() -> None:
    clean = recorded()["clean"]
    assert clean.keys() == CLEAN.keys()
    assert len(clean) >= 30
    assert {seed for seeds in clean.values() for seed in seeds} <= set(map(str, SEEDS))
    alarms = [bool(found) for seeds in clean.values() for found in seeds.values()]
    assert sum(alarms) <= 0.02 * len(alarms)


def test_a_share_has_the_interval_of_wilson() -> None:
    assert share(10, 10) == "10 of 10 (72% … 100%)"
    assert share(5, 10) == "5 of 10 (24% … 76%)"


def test_the_published_matrix_is_the_recorded_one() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(recorded()), "run `python -m tests.leakage.matrix`"


def test_the_readme_says_what_is_recorded() -> None:
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert sentence(recorded()) in said


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_a_representative_is_caught_by_what_the_matrix_says(tmp_path: Path, name: str) -> None:
    assert list(verdict_of(BY_NAME[name], Level.SAMPLED, tmp_path).caught_by) == recorded()["mutants"][name]["sampled"]


MISSED = (
    "coefficients handed over in the configuration",
    "coefficients in the sizes of files",
    "coefficients in the target of a link",
    "coefficients typed into a module",
    "features of another panel",  # no leak any more: chunks of features are found by what they are made of
    "features turned in months that fall",
    "typed coefficients whose sign is learned",
)


# Mutants stand for what others write, which warns where a column has no value yet.
@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Degrees of freedom <= 0:RuntimeWarning")
@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught_by_what_the_matrix_says(mutant: Mutant) -> None:
    found = audited(mutant)
    assert found["full"] or mutant.name in MISSED
    assert found == recorded()["mutants"][mutant.name]
