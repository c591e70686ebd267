"""The artifact store: atomic, checksummed, found by content."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness.artifacts import ArtifactStore, canonical_json, key_of, write_atomically
from harness.errors import ArtifactError


def write_answer(folder: Path) -> None:
    (folder / "answer.txt").write_text("42", encoding="utf-8")


def test_a_result_is_made_once_and_found_afterwards(tmp_path: Path) -> None:
    store, key, made = ArtifactStore(tmp_path), key_of("stage", a=1), []

    def make(folder: Path) -> None:
        made.append(folder)
        write_answer(folder)

    first = store.get_or_make(key, make)
    assert store.get_or_make(key, make) == first
    assert len(made) == 1
    assert (first / "answer.txt").read_text() == "42"


def test_any_difference_in_the_parts_or_the_stage_is_another_key() -> None:
    keys = [key_of("s", a=1), key_of("s", a=2), key_of("s", a="1"), key_of("s", a=1, b=None), key_of("t", a=1)]
    assert len({k.digest for k in keys}) == len(keys)


def test_the_order_of_the_parts_does_not_matter() -> None:
    assert key_of("s", a=1, b=[2]) == key_of("s", b=[2], a=1)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
def test_a_damaged_result_is_computed_again(tmp_path: Path, damage: str) -> None:
    store, key = ArtifactStore(tmp_path), key_of("stage", a=1)
    target = store.get_or_make(key, write_answer) / "answer.txt"
    if damage == "flip":
        target.write_text("43", encoding="utf-8")
    elif damage == "truncate":
        target.write_text("", encoding="utf-8")
    elif damage == "remove":
        target.unlink()
    else:
        (target.parent / "manifest.json").write_text("{", encoding="utf-8")
    assert store.find(key) is None
    assert (store.get_or_make(key, write_answer) / "answer.txt").read_text() == "42"


def test_a_failing_stage_leaves_nothing_behind(tmp_path: Path) -> None:
    store, key = ArtifactStore(tmp_path), key_of("stage", a=1)

    def fail(folder: Path) -> None:
        write_answer(folder)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        store.get_or_make(key, fail)
    assert store.find(key) is None
    assert list((tmp_path / "stage").iterdir()) == []


def test_a_store_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be written"):
        ArtifactStore(tmp_path / "file").get_or_make(key_of("stage", a=1), write_answer)


def test_a_file_that_a_stage_does_not_find_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "nowhere" / "file").read_text(encoding="utf-8")

    with pytest.raises(FileNotFoundError):
        ArtifactStore(tmp_path).get_or_make(key_of("stage", a=1), fail)


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="cannot be written"):
        ArtifactStore(tmp_path).get_or_make(key_of("stage", a=1), fail)
    assert list((tmp_path / "stage").iterdir()) == []


def test_a_killed_writer_leaves_no_result(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from harness.artifacts import ArtifactStore, key_of
        def make(folder):
            (folder / "answer.txt").write_text("4")
            print("started", flush=True)
            time.sleep(60)
        ArtifactStore(Path(sys.argv[1])).get_or_make(key_of("stage", a=1), make)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "started"
        os.kill(process.pid, signal.SIGKILL)
    store = ArtifactStore(tmp_path)
    assert store.find(key_of("stage", a=1)) is None
    assert (store.get_or_make(key_of("stage", a=1), write_answer) / "answer.txt").read_text() == "42"


def _race(root: Path, mark: str) -> None:
    def make(folder: Path) -> None:
        (folder / "answer.txt").write_text("42", encoding="utf-8")
        time.sleep(0.2)

    ArtifactStore(root).get_or_make(key_of("stage", a=1), make)


def test_concurrent_writers_of_one_key_are_harmless(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_race, args=(tmp_path, str(i))) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(list((tmp_path / "stage").iterdir())) == 1
    assert ArtifactStore(tmp_path).find(key_of("stage", a=1)) is not None


def test_the_manifest_tells_people_what_the_result_depends_on(tmp_path: Path) -> None:
    folder = ArtifactStore(tmp_path).get_or_make(key_of("stage", alpha=0.5), write_answer)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["parts"] == {"alpha": 0.5}
    assert list(manifest["files"]) == ["answer.txt"]


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_canonical_json_is_sorted_shortest_and_ends_with_a_newline() -> None:
    assert canonical_json({"b": 0.1, "a": [1, None]}) == '{"a":[1,null],"b":0.1}\n'


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
