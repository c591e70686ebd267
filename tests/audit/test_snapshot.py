"""The verdict is part of the snapshot, and of nothing that identifies a result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.audit import sandbox
from harness.audit.audit import audit
from harness.audit.audited import run_audited
from harness.audit.verdict import Level, Verdict
from harness.cli import main
from harness.errors import ConfigError
from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.snapshots.snapshot import read_snapshot, sha256
from harness.store.codec import from_plain
from tests.audit.market import SMALL, small


def verdict_of(record: object) -> Verdict:
    return from_plain(Verdict, record)


@pytest.mark.nightly
def test_the_verdict_stands_in_the_snapshot_and_an_audit_changes_nothing_else_however_often(tmp_path: Path) -> None:
    plain = run(small(tmp_path), Silent()).snapshot
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    result, verdict = run_audited(small(tmp_path, "audit=sampled"), Silent())
    assert verdict is not None
    assert verdict.clean, verdict.caught_by
    stored = read_snapshot(result.folder / "snapshot.json")
    assert verdict_of(stored.provenance["audit"]) == verdict
    assert stored.digest == plain.digest
    assert sha256(stored.identity) == sha256(plain.identity)
    assert result.reused, "an audit is no reason to compute a result again"
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before, "nothing of other futures is left"
    again = audit(small(tmp_path), Level.SAMPLED)
    assert json.dumps(again.to_record()) == json.dumps(verdict.to_record())
    outside = next(check for check in again.checks if check.name == "outside")
    held = not sandbox.unavailable() and bool(sandbox.without_network())
    assert (outside.note == "no file is opened but what is declared, there is no network") is held


def test_without_an_audit_the_snapshot_has_no_verdict(tmp_path: Path) -> None:
    result, verdict = run_audited(small(tmp_path), Silent())
    assert verdict is None
    assert "audit" not in read_snapshot(result.folder / "snapshot.json").provenance


def test_a_level_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        small(tmp_path, "audit=thorough")
    assert raised.value.where == "audit"
    assert "sampled" in str(raised.value)


def test_the_command_prints_a_verdict_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *SMALL, "--level", "static", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"]["clean"]
    assert verdict_of(record["verdict"]).level is Level.STATIC
    assert record["prices"] == []


def test_a_run_that_is_audited_says_so_and_ends_with_1_when_it_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *SMALL, "audit=static"]) == 0
    assert "audit     clean" in capsys.readouterr().out
    assert main(["run", *SMALL, "audit=static", "compat=qlib"]) == 1
    out = capsys.readouterr().out
    assert "audit     LEAK" in out
    assert "nobody could trade" in out
