"""The store is looked after: what it holds is told, what is damaged is found, what may go goes whole."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import ArtifactError
from harness.store.artifacts import ArtifactStore, Key, key_of
from harness.store.care import chosen, damaged, entries, leftovers, remove, summary
from harness.store.locks import Lease, in_use, lease_of

DAY = 86_400.0
NOW = 1_000 * DAY
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Results of 10, 20, … bytes, made 1, 2, … days ago, in two stages by turns."""
    made = ArtifactStore(tmp_path / "store")
    for at in range(1, 5):
        folder = made.get_or_make(key(at), lambda f, at=at: (f / "x").write_bytes(b"." * 10 * at) and None)  # type: ignore[misc]
        os.utime(folder / "manifest.json", (NOW - at * DAY, NOW - at * DAY))
    return made


def key(at: int) -> Key:
    return key_of("odd" if at % 2 else "even", number=at)


def test_a_summary_counts_results_bytes_and_ages_by_stage(store: ArtifactStore) -> None:
    lines = {line.stage: line for line in summary(entries(store.root), NOW)}
    assert {stage: line.results for stage, line in lines.items()} == {"odd": 2, "even": 2}
    assert (lines["odd"].oldest, lines["odd"].newest) == (3.0, 1.0)
    assert sum(line.size for line in lines.values()) == sum(p.stat().st_size for p in store.root.glob("*/*/*"))


def test_a_flipped_byte_is_found_and_nothing_else(store: ArtifactStore) -> None:
    victim = store.path(key(2)) / "x"
    victim.write_bytes(b"!" + victim.read_bytes()[1:])
    found = {(e.stage, e.digest) for e, is_damaged in damaged(entries(store.root)) if is_damaged}
    assert found == {("even", key(2).digest)}


def test_results_go_by_age_oldest_first(store: ArtifactStore) -> None:
    found = chosen(entries(store.root), older_than=2.5, now=NOW)
    assert [e.digest for e in found] == [key(4).digest, key(3).digest]


def test_the_oldest_go_until_the_rest_fits(store: ArtifactStore) -> None:
    found = entries(store.root)
    sizes = {e.digest: e.size for e in found}
    keep = sizes[key(1).digest] + sizes[key(2).digest]
    assert [e.digest for e in chosen(found, keep_bytes=keep, now=NOW)] == [key(4).digest, key(3).digest]
    assert chosen(found, keep_bytes=sum(sizes.values()), now=NOW) == ()


def test_every_condition_must_hold(store: ArtifactStore) -> None:
    found = chosen(entries(store.root, ["even"]), older_than=2.5, keys=[key(2), key(4)], now=NOW)
    assert [e.digest for e in found] == [key(4).digest]


def test_a_stage_that_is_not_there_is_named_with_those_that_are(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match="no such stage") as caught:
        entries(store.root, ["window"])
    assert caught.value.expected == "even, odd"


def test_what_killed_runs_left_goes_once_it_is_a_day_old(store: ArtifactStore) -> None:
    for name, age in ((".making-old", 2.0), (".making-new", 0.1), (".lock-old", 2.0)):
        path = store.root / "odd" / name
        path.mkdir()
        os.utime(path, (NOW - age * DAY, NOW - age * DAY))
    found = leftovers(store.root, NOW)
    assert [path.name for path in found] == [".lock-old", ".making-old"]
    remove(found)
    assert leftovers(store.root, NOW) == ()
    assert len(entries(store.root)) == 4


def test_what_was_removed_is_gone_whole_and_removing_it_twice_is_no_error(store: ArtifactStore) -> None:
    folder = store.path(key(1))
    remove([folder, folder])
    assert store.find(key(1)) is None
    assert not [p for p in (store.root / "odd").iterdir() if p.name.startswith(".making")]


class TestCommands:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_status_tells_what_one_experiment_uses_and_gc_removes_no_more(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", *SMALL]) == 0
        assert main(["run", *SMALL, "model.alpha=1"]) == 0
        capsys.readouterr()

        def stages(*overrides: str) -> dict[str, int]:
            assert main(["cache", "status", "--json", *overrides]) == 0
            return {line["stage"]: line["results"] for line in json.loads(capsys.readouterr().out)["stages"]}

        windows = stages()["window"] // 2
        whole = {"panel": 1, "outline": 1, "features": 1, "chunk": 4, "known": 1, "label": 1, "result": 2}
        whole |= {"window": 2 * windows, "processors": 1, "fit": 2}  # the last window may still grow
        assert stages() == whole
        assert stages(*SMALL) == {**whole, "window": windows, "fit": 1, "result": 1}
        assert main(["cache", "gc", *SMALL, "--stage", "window"]) == 0
        assert "add --yes" in capsys.readouterr().out
        assert stages() == whole
        assert main(["cache", "gc", *SMALL, "--stage", "window", "--yes"]) == 0
        capsys.readouterr()
        assert stages() == {**whole, "window": windows}
        assert main(["cache", "reset", "--yes"]) == 0
        capsys.readouterr()
        assert stages() == {}
        assert (Path.cwd() / "runs").is_dir()

    def test_verify_fails_when_something_is_damaged_and_can_remove_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        store = ArtifactStore(Path(".bench/store"))
        folder = store.get_or_make(key(1), lambda f: (f / "x").write_text("sound") and None)  # type: ignore[arg-type]
        assert main(["cache", "verify"]) == 0
        (folder / "x").write_text("other")
        assert main(["cache", "verify"]) == 1
        assert main(["cache", "verify", "--remove"]) == 1
        assert main(["cache", "verify"]) == 0
        assert "0 results checked" in capsys.readouterr().out.splitlines()[-1]

    def test_gc_without_a_condition_removes_no_result(self, capsys: pytest.CaptureFixture[str]) -> None:
        ArtifactStore(Path(".bench/store")).get_or_make(key(1), lambda f: None)
        assert main(["cache", "gc", "--yes"]) == 0
        assert "removed 0 results" in capsys.readouterr().out
        assert len(entries(Path(".bench/store"))) == 1

    def test_a_reset_never_removes_the_whole_store_for_one_experiment(self, capsys: pytest.CaptureFixture[str]) -> None:
        ArtifactStore(Path(".bench/store")).get_or_make(key(1), lambda f: None)
        assert main(["cache", "reset", "model.alpha=1", "--yes"]) == 2
        assert "bench cache gc model.alpha=1" in capsys.readouterr().err
        assert len(entries(Path(".bench/store"))) == 1

    @pytest.mark.parametrize("limit", ["inf", "nan"])
    def test_a_limit_is_a_finite_number(self, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cache", "gc", "--keep-gb", limit]) == 2
        assert "--keep-gb" in capsys.readouterr().err

    def test_a_negative_limit_is_a_mistake(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cache", "gc", "--older-than", "-1"]) == 2
        assert "--older-than" in capsys.readouterr().err


def test_ages_are_counted_from_now(store: ArtifactStore) -> None:
    assert summary(entries(store.root))[0].newest == pytest.approx((time.time() - NOW) / DAY, abs=5)


_READER = """\
import sys, numpy as np
from pathlib import Path
from harness.store.artifacts import ArtifactStore, key_of
store, key = ArtifactStore(Path(sys.argv[1])), key_of("even", number=2)
values = (store.find(key) / "x").open("rb")
print("found", flush=True)
sys.stdin.readline()
print((store.path(key) / "x").read_bytes() == values.read(), flush=True)
"""


def gc(store: ArtifactStore, *more: str) -> int:
    return main(["cache", "gc", "--keep-gb", "0", "--yes", f"output.store={store.root}", *more])


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_running_process_uses_never_goes_and_goes_when_it_has_ended(
    store: ArtifactStore, capsys: pytest.CaptureFixture[str], killed: bool
) -> None:
    command = [sys.executable, "-c", _READER, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "found\n"
        assert gc(store) == 0
        assert "kept 1 results that running processes use" in capsys.readouterr().out
        assert [(e.stage, e.digest) for e in entries(store.root)] == [("even", key(2).digest)]
        assert main(["cache", "reset", "--yes", f"output.store={store.root}"]) == 2
        assert "in use" in capsys.readouterr().err
        if killed:
            reader.kill()
            reader.wait()
        else:
            assert reader.communicate("go on\n")[0] == "True\n"
    assert len(list(store.root.glob(".lease-*"))) == 1 + killed, "our own, and that of who could not take it away"
    assert gc(store) == 0
    assert entries(store.root) == ()
    assert len(list(store.root.glob(".lease-*"))) == 1


def test_what_a_process_uses_is_read_again_only_when_it_has_said_more(store: ArtifactStore) -> None:
    lease = store.root / f".lease-elsewhere-1-{time.time_ns()}-abcd"
    lease.write_text("even/a\n", encoding="utf-8")
    with lease.open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = in_use(store.root)
        assert found == {("even", "a")}
        assert in_use(store.root) is found
        print("odd/b", file=handle, flush=True)
        assert in_use(store.root) == {("even", "a"), ("odd", "b")}


def test_a_folder_that_a_living_process_fills_for_days_is_no_leftover(store: ArtifactStore) -> None:
    scratch = store.root / "even" / ".making-0123"
    scratch.mkdir()
    lease = store.root / f".lease-elsewhere-1-{int((time.time() - 3 * DAY) * 1e9)}-abcd"
    lease.write_text("", encoding="utf-8")
    os.utime(scratch, (time.time() - 2 * DAY,) * 2)
    assert scratch in leftovers(store.root)
    with lease.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert leftovers(store.root) == ()


def test_a_store_that_cannot_be_written_has_no_lease_and_gives_what_it_holds(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_of.cache_clear()
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "no")))
    other = ArtifactStore(store.root)
    lease = Lease(store.root)
    lease.tell("even", "0")
    assert other.holds(key(2))
    lease_of.cache_clear()
