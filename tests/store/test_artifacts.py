"""The artifact store: atomic, checksummed, found by content."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness.errors import ArtifactError
from harness.store.artifacts import ArtifactStore, Key, canonical_json, is_intact, key_of
from harness.store.care import damaged, entries
from harness.store.files import write_atomically


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


@pytest.mark.parametrize("what", ["file", "dangling link", "link to itself", "link to a foreign folder", "pipe"])
def test_what_lies_in_the_place_of_a_result_is_damage_and_healed(tmp_path: Path, what: str) -> None:
    store, key, foreign = ArtifactStore(tmp_path / "store"), key_of("stage", a=1), tmp_path / "foreign"
    place = store.path(key)
    place.parent.mkdir(parents=True)
    foreign.mkdir()
    write_answer(foreign)
    if what == "file":
        place.write_text("no folder", encoding="utf-8")
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to({"dangling link": tmp_path / "nowhere", "link to itself": place}.get(what, foreign))
    assert store.find(key) is None
    assert is_intact(store.get_or_make(key, write_answer))
    assert (foreign / "answer.txt").is_file()
    assert [path.name for path in place.parent.iterdir() if path.name.startswith(".making")] == []


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
        from harness.store.artifacts import ArtifactStore, key_of
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


MANIFESTS = [
    *["[]", "null", "0", '""', "{}", "", "\xff", "[" * 100_000, '{"files": null}', "NaN", '{"files": {}}', " " * 9],
    *['{"stage": "stage", "digest": 1, "parts": {}, "files": {}}', '{"stage": [], "digest": "", "parts": {}}'],
]


def sealed(tmp_path: Path, number: int = 1) -> tuple[ArtifactStore, Key, Path]:
    store, key = ArtifactStore(tmp_path), key_of("stage", a=number)

    def make(made: Path) -> None:
        (made / "answer.txt").write_text(str(number), encoding="utf-8")

    folder = store.get_or_make(key, make)
    return ArtifactStore(tmp_path), key, folder


def check_healed(store: ArtifactStore, key: Key) -> None:
    """A result that is damaged is told by `bench cache verify`, not taken, and computed again."""
    assert [is_damaged for entry, is_damaged in damaged(entries(store.root)) if entry.digest == key.digest] == [True]
    assert store.find(key) is None
    assert (store.get_or_make(key, write_answer) / "answer.txt").read_text() == "42"
    assert is_intact(store.path(key))


@pytest.mark.parametrize("text", MANIFESTS, ids=lambda text: text[:20] or "empty")
def test_a_manifest_of_any_other_shape_is_damage_and_healed(tmp_path: Path, text: str) -> None:
    store, key, folder = sealed(tmp_path)
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    check_healed(store, key)


@pytest.mark.parametrize("how", ["gone", "a folder", "a pipe", "a loop of links", "huge", "utf-16"])
def test_a_manifest_that_is_no_readable_file_is_damage_and_healed(tmp_path: Path, how: str) -> None:
    store, key, folder = sealed(tmp_path)
    manifest = folder / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    manifest.unlink()
    if how == "a folder":
        manifest.mkdir()
    elif how == "a pipe":
        os.mkfifo(manifest)
    elif how == "a loop of links":
        manifest.symlink_to(manifest)
    elif how == "huge":
        manifest.write_text(text, encoding="utf-8")
        os.truncate(manifest, 2**40)
    elif how == "utf-16":
        manifest.write_text(text, encoding="utf-16")
    check_healed(store, key)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(["stage", "digest", "parts", "files", "seal", "files.answer.txt", None]), value=JSON)
def test_a_manifest_with_any_other_value_in_a_field_is_damage(
    tmp_path_factory: pytest.TempPathFactory, field: str | None, value: object
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    store, key, folder = sealed(root)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if field == "files.answer.txt":
        assume(value != manifest["files"]["answer.txt"])
        manifest["files"]["answer.txt"] = value
    elif field is None:
        manifest = value
    else:
        assume(value != manifest[field])
        manifest[field] = value
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert not is_intact(folder)
    assert store.find(key) is None
    assert not folder.exists()


@pytest.mark.parametrize("what", ["the folders", "the files", "the manifests", "all files into a third place"])
def test_a_result_whose_content_is_another_ones_is_damage_and_healed(tmp_path: Path, what: str) -> None:
    store, key, first = sealed(tmp_path, 1)
    _, _, second = sealed(tmp_path, 2)
    if what == "the folders":
        first.rename(tmp_path / "aside")
        second.rename(first)
        (tmp_path / "aside").rename(second)
    elif what == "all files into a third place":
        key = key_of("stage", a=3)
        shutil.copytree(first, store.path(key))
    else:
        name = "answer.txt" if what == "the files" else "manifest.json"
        one, other = (first / name).read_bytes(), (second / name).read_bytes()
        (first / name).write_bytes(other)
        (second / name).write_bytes(one)
    check_healed(store, key)


def test_a_file_that_a_manifest_looks_for_outside_its_folder_is_damage(tmp_path: Path) -> None:
    _, _, folder = sealed(tmp_path)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    digest = manifest["files"].pop("answer.txt")
    del manifest["seal"]
    shutil.copy(folder / "answer.txt", tmp_path / "answer.txt")
    for name, sound in (("answer.txt", True), ("../../answer.txt", False), (str(tmp_path / "answer.txt"), False)):
        sealed_again = {**manifest, "files": {name: digest}}
        sealed_again["seal"] = hashlib.sha256(canonical_json(sealed_again).encode()).hexdigest()
        path.write_text(json.dumps(sealed_again), encoding="utf-8")
        assert is_intact(folder) is sound


def test_a_result_whose_key_holds_a_secret_is_sound_and_its_manifest_holds_none(tmp_path: Path) -> None:
    store, key = ArtifactStore(tmp_path), key_of("panel", url="https://me:hunter22@example.org/prices.zip")
    folder = store.get_or_make(key, write_answer)
    assert is_intact(folder)
    assert "hunter22" not in (folder / "manifest.json").read_text(encoding="utf-8")


def test_damage_that_cannot_be_removed_is_an_error_and_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key, folder = sealed(tmp_path)
    (folder / "answer.txt").write_text("43", encoding="utf-8")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ArtifactError, match="cannot be written"):
        store.get_or_make(key, write_answer)
