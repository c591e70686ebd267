"""The life of a snapshot on the command line: check, bless, log, diff, migrate, with their exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.config import ExperimentConfig, compose_config
from harness.config.tolerances import Learned, load_tolerances
from harness.data.panel import save_panel
from harness.errors import ConfigError, SnapshotError
from harness.execution.progress import Observer
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot, read_snapshot, write_snapshot
from harness.store.artifacts import ArtifactStore, key_of

SUITE = """\
regression: default
cases:
  - {case: a, overrides: [model.alpha=0.5]}
  - {case: b, overrides: [model.alpha=0.25]}
"""
_ELSEWHERE = [
    ["reproduce", "--config-dir", "nowhere"],
    ["check", "smoke", "--config-dir", "nowhere"],
    ["nightly", "smoke", "--config-dir", "nowhere"],
]
NEEDY = SUITE + "  - {case: c, needs: [prices]}\n"
HERE = {
    "code": {"digest": "cd" * 32, "commit": "0123456789abcdef"},
    "packages": {},
    "platform": {"processor": "EPYC", "cpus": 2},
}


def composed(overrides: Sequence[str], *, search_path: Sequence[str]) -> ExperimentConfig:
    """What `compose_config` returns, each configuration composed once for all tests."""
    return _composed(tuple(overrides), tuple(search_path))


@cache
def _composed(overrides: tuple[str, ...], search_path: tuple[str, ...]) -> ExperimentConfig:
    return compose_config(overrides, search_path=search_path)


@dataclass
class Ran:
    snapshot: Snapshot
    folder: Path = Path("nowhere")


@dataclass
class Lab:
    """What the experiments of these tests are: their only metric is the model's alpha plus a drift."""

    drift: float = 0.0
    per_seed: float = 0.0
    fingerprint: str = "f0"
    processor: str = "EPYC"
    broken: str | None = None
    runs: int = 0

    def run(self, config: ExperimentConfig, observer: Observer, *_: object) -> tuple[Ran, None]:
        self.runs += 1
        if config.case_name == self.broken:
            raise ConfigError("There is no such model.", where="model")
        alpha: float = config.model.alpha  # type: ignore[attr-defined]
        ic = alpha + self.drift + self.per_seed * config.seed
        identity = {"config": {"alpha": alpha, "seed": config.seed}, "data": {"fingerprint": self.fingerprint}}
        provenance = {**HERE, "platform": {"processor": self.processor}, "seconds": {"windows": 1.5}}
        metrics = {"overall": {"IC": ic, "days": 100}, "predictions": f"{ic:.12f}"}
        return Ran(Snapshot(config.suite, config.case_name, identity, metrics, provenance)), None


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("harness.cli.cases.run_audited", made.run)
    monkeypatch.setattr("harness.cli.cases.compose_config", composed)
    (tmp_path / "mine.yaml").write_text(SUITE, encoding="utf-8")
    return made


@pytest.fixture
def blessed(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Lab:
    assert main(["bless", "mine.yaml", "--reason", "a first look"]) == 0
    capsys.readouterr()
    return lab


def out_of(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> str:
    assert main(list(command)) == code
    return capsys.readouterr().out


def record_of(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> Any:
    return json.loads(out_of(capsys, *command, "--json", code=code))


class TestCheck:
    def test_what_was_never_blessed_is_a_regression(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        assert "bench bless SUITE --reason" in out_of(capsys, "check", "mine.yaml", code=1)

    def test_what_was_blessed_is_fine(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        out = out_of(capsys, "check", "mine.yaml")
        assert [line.split()[1:4] for line in out.splitlines() if line.strip().startswith("mine/")] == [
            ["v1", "exact", "same"],
            ["v1", "exact", "same"],
        ]

    def test_the_same_environment_must_give_the_same_bits(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blessed.drift = 1e-9
        out = out_of(capsys, "check", "mine.yaml", code=1)
        assert "equal bits are demanded" in out
        assert "overall.IC" in out

    def test_another_processor_is_held_to_the_tolerance(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        blessed.drift, blessed.processor = 1e-9, "Xeon"
        out = out_of(capsys, "check", "mine.yaml")
        assert "platform.processor: EPYC → Xeon" in out
        assert "within tolerance" in out
        blessed.drift = -0.1
        assert "worsened" in out_of(capsys, "check", "mine.yaml", code=1)

    def test_cases_are_found_by_name_in_the_suites_of_a_configuration_folder(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("my_conf/suites").mkdir(parents=True)
        shutil.move("mine.yaml", "my_conf/suites/mine.yaml")
        for target in ("mine", "suite=mine"):
            assert len(record_of(capsys, "check", target, "--config-dir", "my_conf")["cases"]) == 2
        for target in ("b", "mine/b"):
            (case,) = record_of(capsys, "check", target, "--config-dir", "my_conf")["cases"]
            assert (case["case"], case["verdict"]) == ("b", "SAME")

    def test_another_configuration_is_not_comparable_and_named(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = out_of(capsys, "check", "mine.yaml", "seed=7", code=3)
        assert "config.seed: 43 → 7" in out

    def test_a_mistake_in_one_case_is_reported_and_the_others_are_judged(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blessed.broken = "a"
        record = record_of(capsys, "check", "mine.yaml", code=2)
        assert [c["problem"] for c in record["cases"]] == ["FAILED", None]

    def test_orphans_and_edited_baselines_are_findings(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        path = Path("results/mine/a/v0001.json")
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("0.5", "0.6"), encoding="utf-8")
        record = record_of(capsys, "check", "mine.yaml", code=2)
        assert [c["problem"] for c in record["cases"]] == ["DAMAGED", None]
        path.write_text(text, encoding="utf-8")
        Path("mine.yaml").write_text(SUITE.replace("case: b", "case: renamed"), encoding="utf-8")
        record = record_of(capsys, "check", "mine.yaml", code=1)
        problems = {c["case"]: c["problem"] for c in record["cases"]}
        assert problems == {"a": None, "renamed": "NO_BASELINE", "b": "ORPHANED"}

    def test_missing_data_skips_with_its_reason(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        Path("mine.yaml").write_text(NEEDY, encoding="utf-8")
        assert "it needs prices, which is not there" in out_of(capsys, "check", "mine.yaml")

    def test_junit_and_json_say_the_same(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        blessed.drift = -0.1
        record = record_of(capsys, "check", "mine.yaml", "--junit", "deep/verdicts.xml", code=1)
        assert record["exit_code"] == 1
        root = ElementTree.parse("deep/verdicts.xml").getroot()
        assert [c.get("name") for c in root.iter("testcase")] == ["a", "b"]
        assert len(list(root.iter("failure"))) == 2

    def test_a_run_that_is_there_already_is_judged_as_it_is(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        baseline = Baselines(Path("results")).baseline("mine", "a")
        assert baseline is not None
        write_snapshot(baseline.snapshot, Path("runs/a-0123/snapshot.json"))
        before = blessed.runs
        for target in ("runs/a-0123", "runs/a-0123/snapshot.json"):
            (case,) = record_of(capsys, "check", target)["cases"]
            assert (case["candidate"], case["verdict"]) == (target, "SAME")
        assert blessed.runs == before

    def test_learned_tolerances_are_written_and_hold(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        blessed.per_seed = 0.01
        out = out_of(capsys, "check", "mine.yaml", "--learn", "seeds=5")
        path = Path("conf/regression/learned-mine.yaml")
        assert str(path) in out
        tolerances = load_tolerances(path)
        rule = tolerances.of("overall.IC")
        assert isinstance(rule, Learned)
        assert rule.learned == pytest.approx(0.01 * 2.5**0.5)
        assert str(tolerances.of("overall.days")) == "exact"
        assert "bench check mine.yaml --learn seeds=5" in path.read_text(encoding="utf-8")
        blessed.per_seed, blessed.drift, blessed.processor = 0.0, -0.05, "Xeon"
        assert "worsened" in out_of(capsys, "check", "mine.yaml", code=1)
        record = record_of(capsys, "check", "mine.yaml", "--regression", str(path))
        rules = {m["path"]: m["tolerance"] for m in record["cases"][0]["metrics"]}
        assert "learned: 6.51 × 0.0158" in rules["overall.IC"]


class TestBless:
    def test_each_case_gets_a_version_with_its_reason(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        out = out_of(capsys, "bless", "mine.yaml", "--reason", "a first look")
        assert out.count("blessed ") >= 2
        (version,) = Baselines(Path("results")).history("mine", "a")
        assert version.reason == "a first look"

    def test_without_a_reason_nothing_is_run(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        for reason in ([], ["--reason", "  "]):
            assert main(["bless", "mine.yaml", *reason]) == 2
        assert "needs a reason" in capsys.readouterr().err
        assert lab.runs == 0

    def test_what_moved_is_shown_and_becomes_the_next_version(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blessed.drift = -0.1
        out = out_of(capsys, "bless", "mine.yaml", "--reason", "the purge was too short")
        assert "overall.IC" in out
        assert "worsened" in out
        assert len(Baselines(Path("results")).history("mine", "a")) == 2
        assert out_of(capsys, "check", "mine.yaml")

    def test_what_is_the_baseline_already_is_left_alone(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        actions = [b["action"] for b in record_of(capsys, "bless", "mine.yaml", "--reason", "again")]
        assert actions == ["unchanged", "unchanged"]

    def test_new_only_blessing_keeps_what_has_a_baseline(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blessed.drift = -0.1
        Path("mine.yaml").write_text(SUITE + "  - {case: d}\n", encoding="utf-8")
        done = record_of(capsys, "bless", "mine.yaml", "--new-only", "--reason", "a new case")
        assert {b["verdict"]["case"]: b["action"] for b in done} == {"a": "kept", "b": "kept", "d": "blessed"}

    def test_a_dry_run_writes_nothing(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        assert "would be" in out_of(capsys, "bless", "mine.yaml", "--dry-run")
        assert not Path("results").exists()

    def test_a_case_that_fails_is_never_blessed_and_the_others_are(
        self, lab: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lab.broken = "a"
        done = record_of(capsys, "bless", "mine.yaml", "--reason", "x", code=2)
        assert [b["action"] for b in done] == ["failed", "blessed"]

    def test_what_was_blessed_before_a_failure_is_shown(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blessed.drift, bless = -0.1, Baselines.bless

        def fails(self: Baselines, snapshot: Snapshot, *given: Any, **named: Any) -> Any:
            if snapshot.case == "b":
                raise SnapshotError("The disk is full.", where="results")
            return bless(self, snapshot, *given, **named)

        monkeypatch.setattr(Baselines, "bless", fails)
        assert main(["bless", "mine.yaml", "--reason", "the purge was too short"]) == 2
        told = capsys.readouterr()
        assert "overall.IC" in told.out
        assert "blessed    mine/a v2" in told.out
        assert "The disk is full." in told.err

    def test_what_was_blessed_is_told_though_the_leaderboard_cannot_be_written(
        self, lab: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("results/other/a").mkdir(parents=True)
        Path("results/other/a/v0001.json").write_text("{}", encoding="utf-8")
        assert main(["bless", "mine.yaml", "--reason", "x"]) == 2
        shown = capsys.readouterr()
        assert shown.out.count("v1: results/mine/") == 2
        assert "results/other/a/v0001.json" in shown.err

    def test_a_run_is_blessed_under_a_name_of_its_own(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copy("results/mine/a/v0001.json", "snapshot.json")
        out_of(capsys, "bless", "snapshot.json", "--as", "paper/table-1", "--reason", "what the paper reports")
        found = Baselines(Path("results")).baseline("paper", "table-1")
        assert found is not None
        assert found.snapshot.metrics["overall"]["IC"] == 0.5
        assert main(["check", "snapshot.json", "--as", "paper/table-1"]) == 0
        assert main(["check", "snapshot.json", "--as", "paper/table-2"]) == 1
        assert main(["check", "mine.yaml", "--as", "paper/table-1"]) == 2

    @pytest.mark.parametrize(
        "command",
        [["bless", "mine.yaml", "--as", "x/y"], ["bless", "results/mine/a/v0001.json", "--as", "x"]],
    )
    def test_a_name_that_cannot_be_given_is_a_mistake(self, blessed: Lab, command: list[str]) -> None:
        assert main([*command, "--reason", "x"]) == 2


class TestLog:
    def test_every_version_is_listed_with_what_changed_and_why(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blessed.drift = -0.1
        main(["bless", "mine.yaml", "--reason", "the purge was too short"])
        main(["bless", "mine.yaml", "seed=7", "--reason", "another seed"])
        capsys.readouterr()
        out = out_of(capsys, "log", "mine/a")
        for said in ("a first look", "the purge was too short", "another seed", "first", "identity: config.seed"):
            assert said in out
        assert "2 of 3 metrics" in out
        assert out.index("another seed") < out.index("a first look")
        (record,) = record_of(capsys, "log", "a")
        assert [v["version"] for v in record["versions"]] == [1, 2, 3]
        assert len(record_of(capsys, "log")) == len(record_of(capsys, "log", "mine")) == 2

    def test_a_damaged_baseline_is_reported_and_the_others_follow(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = Path("results/mine/a/v0001.json")
        path.write_text(path.read_text(encoding="utf-8").replace("0.5", "0.6"), encoding="utf-8")
        assert main(["log"]) == 2
        shown = capsys.readouterr()
        assert "changed after it was written" in shown.err
        assert "mine/b" in shown.out

    def test_a_damaged_run_is_named_where_it_may_be_what_was_asked_for(
        self, lab: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("runs/x").mkdir(parents=True)
        Path("runs/x/snapshot.json").write_text("[]", encoding="utf-8")
        assert main(["log", "--runs", "mine/a"]) == 2
        shown = capsys.readouterr().err
        assert "runs/x/snapshot.json" in shown
        assert "has this name" in shown

    def test_nothing_blessed_and_unknown_names_are_mistakes(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["log"]) == 2
        assert "bench bless" in capsys.readouterr().err
        main(["bless", "mine.yaml", "--reason", "x"])
        assert main(["log", "mina"]) == 2
        assert "did you mean `mine/a`?" in capsys.readouterr().err


class TestDiff:
    def test_versions_cases_and_files_are_compared(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        blessed.drift, blessed.processor = -0.1, "Xeon"
        main(["bless", "mine.yaml", "--reason", "x"])
        capsys.readouterr()
        assert "worsened" in out_of(capsys, "diff", "a@v1", "mine/a", code=1)
        assert "improved" in out_of(capsys, "diff", "a@v2", "results/mine/a/v0001.json")
        assert out_of(capsys, "diff", "a", "a")

    def test_other_identities_are_not_comparable_but_shown(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = out_of(capsys, "diff", "a", "b", code=3)
        assert "config.alpha: 0.5 → 0.25" in out
        assert "-0.25" in out

    def test_panels_that_are_at_hand_say_which_instruments_differ(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from tests.snapshots.test_compare import panel

        small, large = panel(names=("A", "B")), panel()
        for fingerprint in (small.fingerprint, large.fingerprint):
            blessed.fingerprint = fingerprint
            main(["bless", "mine.yaml", "--reason", fingerprint])
        capsys.readouterr()
        unknown = out_of(capsys, "diff", "a@v2", "a@v3", code=3)
        assert "the panel of the baseline and the candidate is not in the store" in unknown
        store = ArtifactStore(Path(".bench/store"))
        for made in (small, large):
            store.get_or_make(key_of("panel", which=made.fingerprint), partial(save_panel, made))
        assert "1 instruments only in the candidate: C" in out_of(capsys, "diff", "a@v2", "a@v3", code=3)
        assert "1 instruments only in the candidate: C" in str(record_of(capsys, "diff", "a@v2", "a@v3", code=3))


class TestMigrate:
    OLD = Path(__file__).resolve().parents[1] / "regression" / "data" / "schema_1.json"

    def test_files_and_folders_are_migrated_in_place(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("runs/x/snapshot.json", "runs/y/v0001.json", "runs/z/metrics.json"):
            Path(name).parent.mkdir(parents=True)
            shutil.copy(self.OLD, name)
        record = record_of(capsys, "migrate", "runs")
        assert [(r["path"], r["from"], r["to"]) for r in record] == [
            ("runs/x/snapshot.json", 1, 2),
            ("runs/y/v0001.json", 1, 2),
        ]
        assert read_snapshot(Path("runs/x/snapshot.json")).metrics
        assert "already" in out_of(capsys, "migrate", "runs/x/snapshot.json")

    def test_an_old_snapshot_names_the_command(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copy(self.OLD, "old.json")
        assert main(["diff", "old.json", "old.json"]) == 2
        assert "bench migrate old.json" in capsys.readouterr().err

    def test_what_cannot_be_migrated_is_reported_and_the_others_are_done(
        self, lab: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("bad.json").write_text("[]", encoding="utf-8")
        shutil.copy(self.OLD, "old.json")
        assert main(["migrate", "bad.json", "old.json"]) == 2
        shown = capsys.readouterr()
        assert "holds no snapshot" in shown.err
        assert "version 1 → 2" in shown.out
        Path("empty").mkdir()
        shutil.copy(self.OLD, "old.json")
        assert main(["migrate", "old.json", "empty"]) == 2
        assert Path("old.json").read_bytes() == self.OLD.read_bytes()


class TestNightly:
    def test_it_leaves_a_report_and_returns_the_worst_exit_code(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("mine.yaml").write_text(NEEDY, encoding="utf-8")
        assert "nightly/report.md" in out_of(capsys, "nightly", "suite=mine.yaml")
        blessed.drift = -0.1
        record = record_of(capsys, "nightly", "suite=mine.yaml", "--out", "tonight", code=1)
        assert json.loads(Path("tonight/verdicts.json").read_text(encoding="utf-8")) == record
        assert [c["verdict"] for c in record["cases"]] == ["WORSENED", "WORSENED", "SKIPPED"]
        root = ElementTree.parse("tonight/junit.xml").getroot()
        assert len(list(root.iter("failure"))) == 2
        (skip,) = root.iter("skipped")
        assert "needs prices" in str(skip.get("message"))
        report = Path("tonight/report.md").read_text(encoding="utf-8")
        for said in ("Exit code 1: regression", "1 skipped, 2 worsened", "| overall.IC | 0.5 | 0.4 |", "needs prices"):
            assert said in report

    def test_a_mistake_in_a_published_table_is_told_before_anything_runs(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("own/reference").mkdir(parents=True)
        Path("own/reference/table.yaml").write_text("sauce: A paper\n", encoding="utf-8")
        runs = blessed.runs
        out_of(capsys, "nightly", "suite=mine.yaml", "--config-dir", "own", code=2)
        assert blessed.runs == runs

    def test_a_crash_is_one_case_and_leaves_its_traceback(
        self, blessed: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def crash(config: ExperimentConfig, observer: Observer, *_: object) -> tuple[Ran, None]:
            if config.case_name == "a":
                raise ZeroDivisionError("a bug of the model")
            return blessed.run(config, observer)

        monkeypatch.setattr("harness.cli.cases.run_audited", crash)
        record = record_of(capsys, "nightly", "mine.yaml", code=1)
        assert [c["problem"] for c in record["cases"]] == ["CRASHED", None]
        assert "ZeroDivisionError: a bug of the model" in Path("nightly/crash-a.txt").read_text(encoding="utf-8")
        assert "crash-a.txt" in Path("nightly/report.md").read_text(encoding="utf-8")

    def test_a_night_in_which_everything_was_skipped_is_not_fine(
        self, blessed: Lab, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("mine.yaml").write_text("regression: default\ncases: [{case: a, needs: [x]}]\n", encoding="utf-8")
        shutil.rmtree("results")
        assert "skipped" in out_of(capsys, "nightly", "mine.yaml", code=3)

    def test_the_report_holds_no_markup_of_the_data(self, blessed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        blessed.processor = "<b>|`x"
        blessed.drift = -0.1
        out_of(capsys, "nightly", "mine.yaml", code=1)
        assert "<b>" not in Path("nightly/report.md").read_text(encoding="utf-8").replace("\\<b\\>", "")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["check"], "Nothing is chosen"),
        (["check", "smok"], "did you mean `smoke`?"),
        (["check", "smoke/linaer"], "did you mean `smoke/linear`?"),
        (["check", "smok/linear"], "There is no such suite"),
        (["check", "nowhere.json"], "no such snapshot"),
        (["check", "mine.yaml", "--regression", "defualt"], "did you mean `default`?"),
        (["check", "mine.yaml", "model.alhpa=1"], "model.alpha"),
        (["check", "mine.yaml", "--learn", "seeds=1"], "K ≥ 2"),
        (["check", "mine.yaml", "--learn", "many"], "K ≥ 2"),
        (["check", "mine.yaml", "--junit", "mine.yaml/x.xml"], "cannot be written"),
        (["diff", "nothing", "mine.yaml"], "Nothing that was blessed"),
        (["migrate", "nowhere.json"], "no such snapshot"),
        (["nightly"], "Nothing is chosen"),
        (["bless", "./", "--reason", "x"], "holds no run"),
        *((cmd, "folder does not exist") for cmd in _ELSEWHERE),
        (["nightly", "mine.yaml", "--out", "mine.yaml"], "cannot be written"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(
    lab: Lab, command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    shown = capsys.readouterr()
    assert message in shown.out + shown.err
    assert "Traceback" not in shown.err + shown.out
    assert not Path("results").exists()


def test_a_file_that_cannot_be_written_says_why(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("harness.cli.streams.write_atomically", full)
    assert main(["check", "mine.yaml", "--junit", "x.xml"]) == 2
    assert f"x.xml: {os.strerror(errno.ENOSPC)}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "bless", "log", "diff", "migrate", "nightly"])
def test_help_teaches_with_two_examples_and_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out.count(f"  bench {command} ") >= 2
    assert "exit codes: 0 fine" in out
    assert "--json" in out
