"""Suites: every case is run and held to its baseline, and one mistake does not hide the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import compose_config, config_folder
from harness.config.tolerances import Absolute, Case, Tolerances, load_tolerances
from harness.errors import ConfigError, HarnessError
from harness.snapshots.baseline import Baselines
from harness.snapshots.evidence import Evidence
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.suite import Standard, Suite, named_suite, run_suite
from harness.snapshots.verdicts import ExitCode, Problem, Verdict, worst_exit_code
from harness.store.artifacts import ArtifactStore

SUITE = Suite("smoke", "default", (Case("a", ("x=1",)), Case("b", ("x=2",))))
SUITES = sorted((config_folder() / "suites").glob("*.yaml"))


@dataclass
class Ran:
    snapshot: Snapshot


def run(overrides: tuple[str, ...]) -> Ran:
    """An experiment whose only metric is the number that it was given."""
    given = dict(o.replace("'", "").split("=") for o in overrides)
    if given["x"] == "none":
        raise ConfigError("There is no such model.", where="model", got="none")
    return Ran(Snapshot(given["suite"], given["case"], {}, {"overall": {"IC": float(given["x"])}}, {}))


@pytest.fixture
def standard(tmp_path: Path) -> Standard:
    return Standard(Baselines(tmp_path), Tolerances(default=Absolute(0.5)), {"IC": "higher"})


def bless_all(standard: Standard) -> None:
    for ran in run_suite(SUITE, run, standard):
        assert ran.snapshot is not None
        standard.baselines.bless(ran.snapshot, "first")


def test_cases_that_were_never_blessed_fail(standard: Standard) -> None:
    runs = run_suite(SUITE, run, standard)
    assert [r.verdict.problem for r in runs] == [Problem.NO_BASELINE] * 2
    assert worst_exit_code(r.verdict for r in runs) is ExitCode.REGRESSION


def test_cases_are_held_to_their_own_baselines(standard: Standard) -> None:
    bless_all(standard)
    assert [r.verdict.verdict for r in run_suite(SUITE, run, standard)] == [Verdict.SAME] * 2
    worse = replace(SUITE, cases=(SUITE.cases[0], Case("b", ("x=1",))))
    runs = run_suite(worse, run, standard)
    assert [r.verdict.verdict for r in runs] == [Verdict.SAME, Verdict.WORSENED]
    assert (runs[1].verdict.baseline, runs[1].verdict.basis_reason[:12]) == ("v1", "not recorded")


def test_a_metric_of_ones_own_is_judged_the_way_it_is_better(standard: Standard) -> None:
    identity = {"config": {"evaluation": {"extra": [{"name": "my_loss", "direction": "lower"}]}}}

    def with_loss(value: float) -> Snapshot:
        return Snapshot("smoke", "a", identity, {"overall": {"my_loss": value}}, {})

    standard.baselines.bless(with_loss(3.0), "first")
    assert standard.judge(with_loss(1.0)).verdict is Verdict.IMPROVED
    assert standard.judge(with_loss(5.0)).verdict is Verdict.WORSENED


def test_a_mistake_in_one_case_is_reported_and_the_others_run(standard: Standard) -> None:
    bless_all(standard)
    broken = replace(SUITE, cases=(Case("a", ("x=none",)), SUITE.cases[1]))
    runs = run_suite(broken, run, standard)
    assert [r.verdict.exit_code for r in runs] == [ExitCode.USER_ERROR, ExitCode.FINE]
    assert "no such model" in runs[0].verdict.detail
    assert runs[0].snapshot is None


def test_a_damaged_baseline_is_reported_with_its_case(standard: Standard) -> None:
    bless_all(standard)
    path = standard.baselines.root / "smoke" / "b" / "v0001.json"
    path.write_text(path.read_text().replace("2.0", "1.0"), encoding="utf-8")
    runs = run_suite(SUITE, run, standard)
    assert [r.verdict.exit_code for r in runs] == [ExitCode.FINE, ExitCode.USER_ERROR]
    assert runs[1].verdict.problem is Problem.DAMAGED
    assert "changed after it was written" in runs[1].verdict.detail


@pytest.mark.parametrize("damage", ["stray", "gap"])
def test_a_stray_file_or_a_lost_version_is_named_and_the_other_cases_run(standard: Standard, damage: str) -> None:
    bless_all(standard)
    folder = standard.baselines.root / "smoke" / "b"
    if damage == "stray":
        (folder / "notes.txt").write_text("mine", encoding="utf-8")
    else:
        (folder / "v0001.json").rename(folder / "v0002.json")
    runs = run_suite(SUITE, run, standard)
    assert [(r.verdict.case, r.verdict.problem) for r in runs] == [("a", None), ("b", Problem.DAMAGED)]


def test_a_case_without_its_data_is_skipped_with_its_reason(standard: Standard, tmp_path: Path) -> None:
    bless_all(standard)
    needy = replace(SUITE, cases=(SUITE.cases[0], replace(SUITE.cases[1], needs=(str(tmp_path / "prices"),))))
    runs = run_suite(needy, run, standard)
    assert [r.verdict.verdict for r in runs] == [Verdict.SAME, Verdict.SKIPPED]
    assert "prices, which is not there" in runs[1].verdict.detail
    assert worst_exit_code(r.verdict for r in runs) is ExitCode.FINE
    (tmp_path / "prices").mkdir()
    assert run_suite(needy, run, standard)[1].verdict.verdict is Verdict.SAME


def test_a_suite_of_which_nothing_could_be_run_is_not_fine(standard: Standard) -> None:
    needy = replace(SUITE, cases=tuple(replace(case, needs=("nowhere",)) for case in SUITE.cases))
    assert worst_exit_code(r.verdict for r in run_suite(needy, run, standard)) is ExitCode.NOT_COMPARABLE


def test_a_baseline_whose_case_is_gone_fails(standard: Standard) -> None:
    bless_all(standard)
    runs = run_suite(replace(SUITE, cases=SUITE.cases[:1]), run, standard)
    assert [(r.verdict.case, r.verdict.problem) for r in runs] == [("a", None), ("b", Problem.ORPHANED)]
    assert worst_exit_code(r.verdict for r in runs) is ExitCode.REGRESSION


def test_a_run_that_leaves_another_case_is_a_mistake(standard: Standard) -> None:
    runs = run_suite(SUITE, lambda _: Ran(Snapshot("smoke", "other", {}, {}, {})), standard)
    assert {r.verdict.problem for r in runs} == {Problem.FAILED}


def test_a_paired_test_is_asked_for_each_case(standard: Standard, tmp_path: Path) -> None:
    bless_all(standard)
    asked = []

    class Asked(Evidence):
        def difference_test(self, baseline: Snapshot, candidate: Snapshot) -> Any:
            asked.append((baseline.overall["IC"], candidate.overall["IC"]))
            return lambda _: 0.5

    worse = replace(SUITE, cases=(Case("a", ("x=0",)), SUITE.cases[1]))
    runs = run_suite(worse, run, replace(standard, evidence=Asked(ArtifactStore(tmp_path))))
    assert asked == [(1.0, 0.0), (2.0, 2.0)]
    assert runs[0].verdict.verdict is Verdict.INCONCLUSIVE


def test_shared_overrides_come_before_those_of_a_case(tmp_path: Path) -> None:
    text = "regression: default\noverrides: [x=1, y=2]\ncases: [{case: a, overrides: [x=3]}, {case: b}]"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    cases = named_suite(str(tmp_path / "s.yaml")).cases
    assert [case.overrides for case in cases] == [("x=1", "y=2", "x=3"), ("x=1", "y=2")]


def covering(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """Return the cases that have an override which no earlier one has."""
    seen, found = set[str](), list[Case]()
    for case in cases:
        if not seen.issuperset(case.overrides):
            seen.update(case.overrides)
            found.append(case)
    return tuple(found)


@pytest.mark.parametrize("pick", [covering, pytest.param(tuple, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "path",
    [path if path.stem in ("smoke", "ladder") else pytest.param(path, marks=pytest.mark.nightly) for path in SUITES],
    ids=lambda p: p.stem,
)
def test_every_configured_suite_composes(path: Path, pick: Callable[[tuple[Case, ...]], tuple[Case, ...]]) -> None:
    suite = named_suite(str(path))
    load_tolerances(config_folder() / "regression" / f"{suite.regression}.yaml")
    for case in pick(suite.cases):
        config = compose_config([*case.overrides, f"suite='{suite.name}'", f"case='{case.case}'"])
        assert (config.suite, config.case_name) == (suite.name, case.case)


def test_there_is_a_smoke_suite() -> None:
    assert "smoke" in [p.stem for p in SUITES]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "mapping"),
        ("regression: default\ncases: []", "A suite has cases"),
        ("cases: [{case: a}]", "lacks `regression`"),
        ("regression: default\ncases: [a]", r"cases\[0\]"),
        ("regression: default\ncases: [{case: a}, b]", r"cases\[1\]` has a value of the wrong kind"),
        ("regression: default\ncases: [{case: 1}]", r"cases\[0\].case` has a value of the wrong kind"),
        ("regression: default\ncases: [{case: a, override: [x]}]", "did you mean `overrides`"),
        ("regression: default\ncases: [{case: a, overrides: x}]", "list of text"),
        ("regression: default\noverrides: x\ncases: [{case: a}]", "list of text"),
        ("regression: default\ncases: [{case: a, needs: [1]}]", r"needs\[0\]` has a value of the wrong kind"),
        ("regression: default\ncases: [{case: a}, {case: a}]", "occurs twice"),
        ("regresion: default\ncases: [{case: a}]", "did you mean `regression`"),
        ("cases: [", "cannot be read"),
    ],
)
def test_a_mistake_in_a_suite_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        named_suite(str(tmp_path / "s.yaml"))


def test_a_suite_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"smoke[\s\S]*did you mean `smoke`"):
        named_suite(str(config_folder() / "suites" / "smok.yaml"))


def test_axes_make_one_case_of_every_combination(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "axes.yaml").write_text(
        "regression: default\noverrides: [z=1]\ncases:\n"
        "- case: load\n  overrides: [a=1]\n  needs: [there]\n"
        "  each: {model: {ridge: [m=r], trees: [m=t, d=2]}, by: {'': [], gf: [w=g]}}\n"
        "- {case: alone}\n"
    )
    assert {case.case: case.overrides for case in named_suite("axes", [tmp_path]).cases} == {
        "load-ridge": ("z=1", "a=1", "m=r"),
        "load-ridge-gf": ("z=1", "a=1", "m=r", "w=g"),
        "load-trees": ("z=1", "a=1", "m=t", "d=2"),
        "load-trees-gf": ("z=1", "a=1", "m=t", "d=2", "w=g"),
        "alone": ("z=1",),
    }
    assert named_suite("axes", [tmp_path]).cases[3].needs == ("there",)


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ("[{case: b}, {case: a, each: {model: {}}}]", r"choice[\s\S]*axes\.yaml: cases\[1\]\.each\.model"),
        ("[{case: a, each: {x: {b: []}}}, {case: a-b}]", r"twice[\s\S]*a-b"),
        ("[{case: a, each: {x: {b-c: [], b: []}, y: {d: [], c-d: []}}}]", r"twice[\s\S]*a-b-c-d"),
        ("[{case: a, each: {x: {u/v: []}}}]", r"name[\s\S]*axes\.yaml[\s\S]*a-u/v"),
        ("[{case: it's}]", r"name[\s\S]*axes\.yaml[\s\S]*it's"),
        ("[]", "has cases"),
    ],
)
def test_a_mistake_in_the_cases_names_the_file_and_what_is_wrong(tmp_path: Path, cases: str, told: str) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "axes.yaml").write_text(f"regression: default\ncases: {cases}\n")
    with pytest.raises(HarnessError, match=told):
        named_suite("axes", [tmp_path])
