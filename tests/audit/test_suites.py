"""The audit of a case runs wherever the case does, and a leak neither passes a check nor becomes a baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.config.tolerances import Tolerances
from harness.errors import ConfigError, SnapshotError
from harness.run.experiment import run_experiment
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot, read_snapshot
from harness.snapshots.suite import Standard
from harness.snapshots.verdicts import ExitCode, Problem
from tests.audit.market import SMALL

# What is kept for parity with qlib predicts rows that nobody could trade: the static audit says so.
SUITE = f"""\
regression: default
overrides: {json.dumps(list(SMALL))}
cases:
  - {{case: clean, overrides: [audit=static]}}
  - {{case: leaky, overrides: [audit=static, compat=qlib]}}
"""
LEAK = {
    "level": "full",
    "clean": False,
    "checks": [
        {"name": "reads", "outcome": "passed", "findings": []},
        {"name": "poison", "outcome": "leak", "findings": [{"what": "It knew.", "where": "window 3"}, {"what": "B."}]},
    ],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "mine.yaml").write_text(SUITE, encoding="utf-8")
    return tmp_path


def test_a_case_that_leaks_is_refused_by_bless_and_fails_check_and_the_night(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bless", "mine.yaml", "--reason", "first"]) == 1
    out = capsys.readouterr().out
    assert "refused    mine/leaky: its static audit found a leak by rows: " in out
    assert "nobody could trade" in out
    assert Baselines(here / "results").cases("mine") == ("clean",)
    assert main(["check", "mine.yaml", "--json"]) == 1
    cases = {case["case"]: case for case in json.loads(capsys.readouterr().out)["cases"]}
    assert (cases["clean"]["verdict"], cases["clean"]["exit_code"]) == ("SAME", 0)
    assert (cases["leaky"]["problem"], cases["leaky"]["exit_code"]) == ("LEAK", 1)
    assert main(["nightly", "mine.yaml"]) == 1
    assert "mine/leaky: leak" in (here / "nightly" / "report.md").read_text(encoding="utf-8")


@pytest.mark.nightly
def test_the_verdict_stands_in_the_baseline_and_is_no_reason_to_bless_anew(here: Path) -> None:
    assert main(["bless", "mine/clean", "mine.yaml", "--reason", "first"]) == 2, "a name of no suite"
    assert main(["bless", "mine.yaml", "--reason", "first"]) == 1
    blessed = read_snapshot(here / "results" / "mine" / "clean" / "v0001.json")
    assert blessed.provenance["audit"]["clean"]
    assert main(["bless", "mine.yaml", "audit=none", "--reason", "without"]) == 0
    assert len(Baselines(here / "results").history("mine", "clean")) == 1
    assert Baselines(here / "results").cases("mine") == ("clean", "leaky"), "what was not audited is not judged"


def test_a_recorded_run_that_leaks_is_held_to_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *SMALL, "audit=static", "compat=qlib", "case=x"]) == 1
    (folder,) = (here / "runs").iterdir()
    capsys.readouterr()
    assert main(["bless", str(folder), "--as", "mine/x", "--reason", "why not"]) == 1
    assert "refused    mine/x" in capsys.readouterr().out
    assert main(["check", str(folder)]) == 1


def snapshot(audit: Any) -> Snapshot:
    return Snapshot("s", "c", {}, {"overall": {"IC": 0.1}}, {} if audit is None else {"audit": audit})


def test_a_leak_is_told_in_one_clause() -> None:
    assert snapshot(LEAK).leak == "its full audit found a leak by poison: It knew. (window 3), and 1 more"
    assert snapshot({**LEAK, "clean": True}).leak is None
    assert snapshot(None).leak is None


def test_nothing_that_leaks_gets_among_the_baselines_whoever_blesses(tmp_path: Path) -> None:
    baselines = Baselines(tmp_path)
    with pytest.raises(SnapshotError, match="no baseline") as raised:
        baselines.bless(snapshot(LEAK), "because")
    assert "poison" in str(raised.value)
    assert baselines.cases("s") == ()
    baselines.bless(snapshot(None), "first")
    verdict = Standard(baselines, Tolerances("exact"), {}).judge(snapshot(LEAK))
    assert (verdict.problem, verdict.exit_code) == (Problem.LEAK, ExitCode.REGRESSION)


def test_a_notebook_is_told_that_its_audit_would_have_no_effect() -> None:
    with pytest.raises(ConfigError, match="does not audit") as raised:
        run_experiment([*SMALL, "audit=static"])
    assert "run_audited" in str(raised.value)
