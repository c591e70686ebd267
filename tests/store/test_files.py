"""Files and folders appear whole, as open as the umask allows, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot, write_snapshot
from harness.store.artifacts import ArtifactStore, key_of
from harness.store.files import new_folder, write_atomically, write_new

SNAPSHOT = Snapshot("suite", "case", {"config": {}}, {"overall": {"IC": 0.1}}, {"code": {}})


@pytest.fixture(params=[0o022, 0o077, 0o002, 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_everything_that_is_written_is_as_open_as_the_umask_allows(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "all"
    write_atomically(root / "runs" / "table.csv", b"x")
    write_snapshot(SNAPSHOT, root / "runs" / "case" / "snapshot.json")
    Baselines(root / "results").bless(SNAPSHOT, "first")
    folder = ArtifactStore(root / "store").get_or_make(key_of("stage", a=1), lambda f: (f / "x").mkdir())
    assert folder.is_dir()
    with new_folder(root / "data") as staging:
        (staging / "calendar.txt").write_text("2020-01-01", encoding="utf-8")
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in (root, *root.rglob("*"))}
    assert len(found) > 12
    wrong = {str(p): oct(mode) for p, mode in found.items() if mode != (0o777 if p.is_dir() else 0o666) & ~umask}
    assert not wrong


WRITERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: write_atomically(folder / "table.csv", b"new"),
    "a new file": lambda folder: write_new(folder / "v0002.json", b"new"),
    "a blessing": lambda folder: Baselines(folder).bless(
        replace(SNAPSHOT, metrics={"overall": {"IC": 0.2}}), "second", when=datetime(2026, 1, 1, tzinfo=UTC)
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace", "link"])
def test_a_disk_that_is_full_at_any_call_leaves_the_old_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, call: str
) -> None:
    Baselines(tmp_path).bless(SNAPSHOT, "first")
    (tmp_path / "table.csv").write_bytes(b"old")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr(os, "fdopen", lambda handle, mode: _Full(handle))
        else:
            patch.setattr(os, call, fail)
        try:
            WRITERS[writer](tmp_path)
        except Exception as error:
            assert "No space left" in str(error)  # noqa: PT017 - not every writer makes every call
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before if path.name != "table.csv"} == {
        path: content for path, content in before.items() if path.name != "table.csv"
    }
    assert after[tmp_path / "table.csv"] in (b"old", b"new")
    assert not [path for path in after.keys() - before.keys() if path.name.startswith(".")]
    assert all(path.read_bytes() in (b"new",) or path.suffix == ".json" for path in after.keys() - before.keys())
    Baselines(tmp_path).history("suite", "case")


class _Full:
    """A file on a full disk."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def write(self, content: bytes) -> None:
        os.write(self._handle, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_of_several_writers_of_a_new_file_one_is(tmp_path: Path) -> None:
    assert [write_new(tmp_path / "v0001.json", text) for text in (b"a", b"b")] == [True, False]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"a"]
