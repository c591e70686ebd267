"""The store of baselines: versions that only grow, each with a reason, none of them lost or edited unseen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import SnapshotError
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot, read_snapshot, write_snapshot

SNAPSHOT = Snapshot("smoke", "linear", {"seed": 43}, {"overall": {"IC": 0.1}}, {"created": "2026-01-01T00:00:00+00:00"})
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def with_ic(value: float) -> Snapshot:
    return replace(SNAPSHOT, metrics={"overall": {"IC": value}})


@pytest.fixture
def store(tmp_path: Path) -> Baselines:
    return Baselines(tmp_path / "results")


@pytest.fixture
def blessed(store: Baselines) -> Baselines:
    """Three versions of one case."""
    for i in range(3):
        store.bless(with_ic(0.1 + i), f"reason {i}", when=WHEN)
    return store


def test_blessing_writes_the_next_version_with_its_reason_and_time(store: Baselines) -> None:
    first = store.bless(with_ic(0.1), " first look ", when=WHEN)
    second = store.bless(with_ic(0.2), "the purge was too short", when=WHEN)
    assert first.path == store.root / "smoke" / "linear" / "v0001.json"
    assert second.path.name == "v0002.json"
    assert (first.reason, first.time) == ("first look", "2026-01-02T03:04:05+00:00")
    assert second.snapshot.blessing == {
        "version": 2,
        "reason": "the purge was too short",
        "time": "2026-01-02T03:04:05+00:00",
        "replaces": with_ic(0.1).digest,
        "listed": True,
    }


def test_a_baseline_does_not_say_where_its_run_was_kept(store: Baselines) -> None:
    command = ["model=linear", "output.runs=/home/me/runs", "output.store=/home/me/store", "case='linear'"]
    run = replace(SNAPSHOT, provenance={**SNAPSHOT.provenance, "command": command})
    made = store.bless(run, "first")
    assert made.snapshot.provenance["command"] == ["model=linear", "case='linear'"]
    assert "/home/me" not in made.path.read_text(encoding="utf-8")
    assert made.snapshot.digest == run.digest


def test_no_baseline_of_this_repository_names_a_folder_of_a_machine() -> None:
    results = Path(__file__).resolve().parents[2] / "results"
    found = [path for path in results.rglob("*.json") if re.search(r'"(output\.|/)', path.read_text(encoding="utf-8"))]
    assert [str(path.relative_to(results)) for path in found] == []


def test_the_blessing_stands_outside_the_digest(store: Baselines) -> None:
    assert store.bless(SNAPSHOT, "first", when=WHEN).snapshot.digest == SNAPSHOT.digest


def test_the_highest_version_is_the_baseline(blessed: Baselines) -> None:
    found = blessed.baseline("smoke", "linear")
    assert found is not None
    assert (found.number, found.snapshot.metrics) == (3, {"overall": {"IC": 2.1}})
    assert blessed.history("smoke", "linear")[-1] == found
    assert [v.reason for v in blessed.history("smoke", "linear")] == ["reason 0", "reason 1", "reason 2"]


def test_a_case_that_was_never_blessed_has_no_baseline(store: Baselines) -> None:
    assert store.baseline("smoke", "linear") is None
    assert store.history("smoke", "linear") == ()
    assert store.pairs == []


def test_blessing_what_is_the_baseline_already_is_refused(blessed: Baselines) -> None:
    with pytest.raises(SnapshotError, match="nothing to bless"):
        blessed.bless(replace(with_ic(2.1), provenance={}), "again")
    assert len(blessed.history("smoke", "linear")) == 3


def test_an_older_version_can_be_blessed_again(blessed: Baselines) -> None:
    assert blessed.bless(with_ic(0.1), "the change was a mistake").number == 4


def test_new_only_blessing_leaves_existing_baselines_alone(blessed: Baselines) -> None:
    with pytest.raises(SnapshotError, match="has a baseline already"):
        blessed.bless(with_ic(9.0), "careless", only_new=True)
    assert blessed.bless(replace(SNAPSHOT, case="other"), "a new case", only_new=True).number == 1


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_blessing_needs_a_reason(store: Baselines, reason: str) -> None:
    with pytest.raises(SnapshotError, match="needs a reason"):
        store.bless(SNAPSHOT, reason)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a b", "a\nb"])
def test_a_name_that_would_leave_the_folder_is_refused(store: Baselines, name: str) -> None:
    with pytest.raises(SnapshotError, match="cannot be the name"):
        store.bless(replace(SNAPSHOT, case=name), "x")
    with pytest.raises(SnapshotError, match="cannot be the name"):
        store.bless(replace(SNAPSHOT, suite=name), "x")


def test_writers_at_once_each_get_a_version_and_nothing_is_lost(store: Baselines) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda i: store.bless(with_ic(float(i)), f"writer {i}"), range(16)))
    assert sorted(v.number for v in versions) == list(range(1, 17))
    history = store.history("smoke", "linear")
    assert {v.reason for v in history} == {f"writer {i}" for i in range(16)}
    assert all(history[v.number - 1].snapshot == v.snapshot for v in versions)


def test_writers_in_other_processes_do_not_overwrite_each_other(store: Baselines) -> None:
    code = f"""
from pathlib import Path
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot
import sys
for i in range(5):
    snapshot = Snapshot("smoke", "linear", {{}}, {{"overall": {{"IC": float(sys.argv[1]) + i}}}}, {{}})
    Baselines(Path({str(store.root)!r})).bless(snapshot, f"{{sys.argv[1]}}.{{i}}")
"""
    started = [subprocess.Popen([sys.executable, "-c", code, str(w * 100)]) for w in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    history = store.history("smoke", "linear")
    assert {v.reason for v in history} == {f"{w * 100}.{i}" for w in range(3) for i in range(5)}


def test_the_same_snapshot_from_writers_at_once_is_blessed_once(store: Baselines) -> None:
    def bless(_: int) -> str:
        try:
            return f"v{store.bless(SNAPSHOT, 'same').number}"
        except SnapshotError as error:
            return error.what.partition(":")[0]

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(bless, range(8)))
    assert outcomes == ["There is nothing to bless"] * 7 + ["v1"]
    assert len(store.history("smoke", "linear")) == 1


def test_an_edited_version_is_detected_wherever_it_stands(blessed: Baselines) -> None:
    folder = blessed.root / "smoke" / "linear"
    for number in (1, 2, 3):
        path = folder / f"v{number:04d}.json"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"reason {number - 1}", "a better reason"), encoding="utf-8")
        with pytest.raises(SnapshotError, match="seal"):
            blessed.baseline("smoke", "linear")
        path.write_text(text, encoding="utf-8")
    assert blessed.baseline("smoke", "linear") is not None


def test_a_renamed_copied_or_removed_version_is_detected(blessed: Baselines) -> None:
    folder = blessed.root / "smoke" / "linear"
    first, second, third = ((folder / f"v000{i}.json").read_text() for i in (1, 2, 3))

    (folder / "v0004.json").write_text(first)
    with pytest.raises(SnapshotError, match=r"version 1, replaces None") as caught:
        blessed.baseline("smoke", "linear")
    assert "version 4" in str(caught.value)
    (folder / "v0004.json").unlink()

    (folder / "v0002.json").unlink()
    with pytest.raises(SnapshotError, match="A version is missing"):
        blessed.baseline("smoke", "linear")

    (folder / "v0002.json").write_text(third)
    with pytest.raises(SnapshotError, match="do not follow each other"):
        blessed.baseline("smoke", "linear")
    (folder / "v0002.json").write_text(second)

    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "v0001.json").write_text(first)
    with pytest.raises(SnapshotError, match="case linear"):
        blessed.baseline("smoke", "other")


def test_a_snapshot_put_there_by_hand_is_refused(store: Baselines) -> None:
    write_snapshot(SNAPSHOT, store.root / "smoke" / "linear" / "v0001.json")
    with pytest.raises(SnapshotError, match="by hand"):
        store.baseline("smoke", "linear")


def test_a_stray_file_is_refused_and_a_file_being_written_is_not(blessed: Baselines) -> None:
    folder = blessed.root / "smoke" / "linear"
    (folder / ".v0004.json-abc").write_text("half")
    assert len(blessed.history("smoke", "linear")) == 3
    (folder / "v4.json").write_text("{}")
    with pytest.raises(SnapshotError, match="no baseline"):
        blessed.history("smoke", "linear")


def test_a_baseline_without_a_case_is_an_orphan(blessed: Baselines) -> None:
    blessed.bless(replace(SNAPSHOT, case="gone"), "x")
    assert blessed.orphans("smoke", ["linear", "not-blessed-yet"]) == ("gone",)
    assert blessed.orphans("smoke", ["linear", "gone"]) == ()
    assert blessed.orphans("other", []) == ()


def test_a_reference_is_a_case_a_version_or_a_path(blessed: Baselines, tmp_path: Path) -> None:
    assert blessed.resolve("linear").label == "smoke/linear@v3"
    assert blessed.resolve("smoke/linear").label == "smoke/linear@v3"
    assert blessed.resolve("linear@v2").snapshot.metrics == {"overall": {"IC": 1.1}}
    assert blessed.resolve("smoke/linear@1").label == "smoke/linear@v1"
    write_snapshot(SNAPSHOT, tmp_path / "run" / "snapshot.json")
    assert blessed.resolve(str(tmp_path / "run")).snapshot == SNAPSHOT
    assert blessed.resolve(str(tmp_path / "run" / "snapshot.json")).snapshot == SNAPSHOT


def test_a_reference_to_nothing_names_what_there_is(blessed: Baselines) -> None:
    with pytest.raises(SnapshotError, match=r"did you mean `(smoke/)?linear`"):
        blessed.resolve("linaer")
    with pytest.raises(SnapshotError, match=r"v1 … v3"):
        blessed.resolve("linear@v4")
    with pytest.raises(SnapshotError, match="no such version"):
        blessed.resolve("linear@v0")
    with pytest.raises(SnapshotError, match="no such snapshot"):
        blessed.resolve("nowhere.json")


def test_a_case_goes_before_a_suite_of_the_same_name(blessed: Baselines) -> None:
    blessed.bless(replace(SNAPSHOT, suite="linear", case="other"), "another suite")
    assert blessed.resolve("linear").label == "smoke/linear@v3"


def test_a_case_in_several_suites_must_be_named_with_its_suite(blessed: Baselines) -> None:
    blessed.bless(replace(SNAPSHOT, suite="full"), "x")
    with pytest.raises(SnapshotError, match="full/linear, smoke/linear"):
        blessed.resolve("linear")
    assert blessed.resolve("full/linear").label == "full/linear@v1"


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(SnapshotError, match="cannot be written"):
        Baselines(tmp_path / "results").bless(SNAPSHOT, "x")


@pytest.mark.parametrize("gone", ["v0003.json", "v0001.json", "versions.json"])
def test_a_version_that_was_deleted_is_noticed_the_newest_too(blessed: Baselines, gone: str) -> None:
    (blessed.root / "smoke" / "linear" / gone).unlink()
    with pytest.raises(SnapshotError, match="missing"):
        blessed.history("smoke", "linear")


def test_the_newest_version_and_the_list_together_are_missed_too(blessed: Baselines) -> None:
    for name in ("v0003.json", "versions.json"):
        (blessed.root / "smoke" / "linear" / name).unlink()
    with pytest.raises(SnapshotError, match="list of versions is missing"):
        blessed.baseline("smoke", "linear")


@pytest.mark.parametrize("text", ["", "[", "{}", "[1]", "null", "<<<<<<< ours\n[]\n=======\n[]\n>>>>>>> theirs\n"])
def test_a_list_that_a_merge_has_left_behind_says_what_to_do(blessed: Baselines, text: str) -> None:
    path = blessed.root / "smoke" / "linear" / "versions.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SnapshotError, match="cannot be read") as error:
        blessed.history("smoke", "linear")
    assert "bench migrate" in str(error.value)


def test_of_two_branches_that_added_the_same_version_the_other_ones_file_is_noticed(
    blessed: Baselines, tmp_path: Path
) -> None:
    theirs = Baselines(tmp_path / "theirs")
    for ic in (0.1, 1.1, 9.9):
        theirs.bless(with_ic(ic), "theirs", when=WHEN)
    ours, other = (b.root / "smoke" / "linear" / "v0003.json" for b in (blessed, theirs))
    shutil.copy(other, ours)
    with pytest.raises(SnapshotError, match="another one than is listed"):
        blessed.history("smoke", "linear")


def test_a_blessing_that_was_killed_before_it_was_listed_counts_and_is_listed_by_the_next(blessed: Baselines) -> None:
    path = blessed.root / "smoke" / "linear" / "versions.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))[:2]), encoding="utf-8")
    assert len(blessed.history("smoke", "linear")) == 3
    blessed.bless(with_ic(7.0), "the next", when=WHEN)
    assert [entry["version"] for entry in json.loads(path.read_text(encoding="utf-8"))] == [1, 2, 3, 4]


def test_a_list_that_was_cut_short_is_noticed_before_a_version_goes(blessed: Baselines) -> None:
    path = blessed.root / "smoke" / "linear" / "versions.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(SnapshotError, match="list of versions is shorter"):
        blessed.history("smoke", "linear")
    path.unlink()
    blessed.list_versions("smoke", "linear")
    assert len(blessed.history("smoke", "linear")) == 3


@pytest.mark.parametrize("command", ["log", "migrate"])
def test_a_quiet_command_names_what_is_damaged(
    command: str, blessed: Baselines, capsys: pytest.CaptureFixture[str]
) -> None:
    path = blessed.root / "smoke" / "linear" / "v0003.json"
    path.write_text(path.read_text(encoding="utf-8").replace("linear", "linaer", 1), encoding="utf-8")
    given = ["--results", str(blessed.root)] if command == "log" else [str(blessed.root)]
    assert main([command, "-q", *given]) == 2
    assert "v0003.json" in capsys.readouterr().err


def test_baselines_of_before_the_list_are_read_and_get_one_by_migrate(blessed: Baselines) -> None:
    folder = blessed.root / "smoke" / "linear"
    for path in (folder / "versions.json", folder / "v0002.json", folder / "v0003.json"):
        path.unlink()
    first = read_snapshot(folder / "v0001.json")
    blessing = {name: value for name, value in (first.blessing or {}).items() if name != "listed"}
    write_snapshot(replace(first, blessing=blessing), folder / "v0001.json")
    assert len(blessed.history("smoke", "linear")) == 1
    assert main(["migrate", str(blessed.root)]) == 0
    assert (folder / "versions.json").is_file()
    (folder / "v0001.json").unlink()
    with pytest.raises(SnapshotError, match="missing"):
        blessed.history("smoke", "linear")


def test_a_new_folder_of_baselines_tells_git_to_leave_their_bytes_alone(blessed: Baselines) -> None:
    subprocess.run(["git", "init", "-q", str(blessed.root.parent)], check=True)
    command = ["git", "-C", str(blessed.root), "check-attr", "text", "--", "smoke/linear/v0001.json"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().endswith("text: unset")
