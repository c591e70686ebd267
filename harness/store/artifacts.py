"""The content-addressed store: a result is found by the hash of everything that determines it.

``<root>/<stage>/<digest>/`` holds a result's files and a manifest: the key and every file's SHA-256. It appears by one
rename of a finished folder: nothing half-written is ever visible, and of concurrent writers the first wins. The disk is
not waited for: what a power cut leaves short fails its checksum, and is made again. A store that cannot be read or
written is an `ArtifactError`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from harness.errors import ArtifactError, HarnessError, is_full_disk, removed_current_folder
from harness.errors.redaction import redacted
from harness.store.code_digest import check_code_unchanged
from harness.store.codec import plain
from harness.store.files import scratch_folder
from harness.store.fingerprint import fingerprint_file
from harness.store.locks import Lease, lease_of, only_maker

MANIFEST = "manifest.json"
SCRATCH = ".making-"
_SEAL = "seal"
LOCK = ".lock-"
_DIGEST_LENGTH = 32
_LONGEST_MANIFEST = 256 * 1024**2  # bytes
Stamp = tuple[tuple[str, str, int, int], ...]


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(root, error) from error


def _unwritable(root: Path, error: OSError) -> HarnessError:
    what, got = "The artifact store cannot be written.", f"{type(error).__name__}: {error}"
    expected = "a folder that you may write to, with space left"
    hint = "choose another folder with output.store=… or free some space with `bench cache gc`"
    refusal = ArtifactError(what, where=str(root), got=got, expected=expected, hint=hint)
    return removed_current_folder() or refusal


def remove_folder(folder: Path) -> None:
    """Remove a result, or whatever lies in its place: a reader sees it whole or not at all."""
    gone = folder.with_name(f"{SCRATCH}gone-{secrets.token_hex(6)}")
    with _writing(folder), suppress(FileNotFoundError):  # somebody else removed it
        folder.rename(gone)
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone, ignore_errors=True)
        else:
            gone.unlink(missing_ok=True)  # a file or a link that took a result's place; what it points to is not ours


def canonical_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON with sorted keys, shortest round-trip floats, no NaN, records as mappings, a newline at the end.

    Raises:
        ValueError: For NaN or infinity: undefined numbers are null, decided by whoever made them.
    """
    separators = (",", ":" if indent is None else ": ")
    options: dict[str, Any] = {"sort_keys": True, "ensure_ascii": False, "allow_nan": False, "separators": separators}
    return json.dumps(value, default=plain, indent=indent, **options) + "\n"


@dataclass(frozen=True)
class Key:
    """What identifies a result."""

    stage: str
    digest: str
    _text: str = field(repr=False)  # which may hold passwords

    @property
    def parts(self) -> str:
        """JSON of everything that determines the result, without passwords, for people."""
        return redacted(self._text)


def key_of(stage: str, **parts: object) -> Key:
    """Return the key of a result from JSON-able parts: configuration, digests of the inputs, digest of the code."""
    text = canonical_json(parts)
    digest = hashlib.sha256(f"{stage}\0{text}".encode()).hexdigest()
    return Key(stage, digest[:_DIGEST_LENGTH], text)


class ArtifactStore:
    """Results on disk, by key; the folder `root` is made when the first one is written.

    A result is held against its checksums when this object first finds it, and again when the time or the size of one
    of its files has changed. Bits that rot on the disk in between are noticed by the next process.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: dict[Path, Stamp] = {}
        self._lease: Lease | None = None

    def path(self, key: Key) -> Path:
        """Return where the result of `key` lies, or would lie."""
        return self.root / key.stage / key.digest

    def results(self, stage: str) -> Iterator[Path]:
        """Yield the folder of every result of a stage, in the order of their digests, unchecked: see `is_intact`."""
        folder = self.root / stage
        if folder.is_dir():
            yield from sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))

    def holds(self, key: Key) -> bool:
        """Return whether there is a result, without reading it."""
        self._use(key)
        return (self.path(key) / MANIFEST).is_file()

    def find(self, key: Key) -> Path | None:
        """Return the result's folder, or None when there is none; a damaged one is removed, see `is_intact`."""
        folder = self.path(key)
        self._use(key)
        with suppress(FileNotFoundError):  # removed by another process while we looked
            if os.path.lexists(folder) and self._is_sound(folder):
                return folder
        return None

    def _use(self, key: Key) -> None:
        # Written down before it looks: from here on the result does not go.
        if self._lease is None and self.root.is_dir():
            self._lease = lease_of(self.root.absolute(), os.getpid())
        if self._lease is not None:
            self._lease.tell(key.stage, key.digest)

    def _is_sound(self, folder: Path) -> bool:
        if self._verified.get(folder) == _stamp(folder):
            return True
        if is_intact(folder):
            self._verified[folder] = _stamp(folder)
            return True
        self._verified.pop(folder, None)
        remove_folder(folder)
        return False

    def get_or_make(self, key: Key, make: Callable[[Path], None]) -> Path:
        """Return the result's folder; when it is not there, let `make` fill a new folder first.

        While another process makes it, wait for that one.

        Raises:
            ArtifactError: When the store cannot be written.
            ConfigError: When a file of code was changed before it was loaded, so that the key may tell of other code.
        """
        found = self.find(key)
        if found is not None:
            return found
        final = self.path(key)
        with ExitStack() as held:
            with _writing(self.root):
                final.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(only_maker(final.with_name(f"{LOCK}{final.name}")))
            found = self.find(key)
            if found is not None:
                return found
            with _writing(self.root):
                scratch = scratch_folder(final.parent, SCRATCH)
            held.callback(shutil.rmtree, scratch, ignore_errors=True)
            try:
                make(scratch)
            except OSError as error:
                # A file that somebody's model does not find is not the store's fault.
                if is_full_disk(error) or error.errno in (errno.EROFS, errno.EIO):
                    raise _unwritable(self.root, error) from error
                raise
            check_code_unchanged()
            with _writing(self.root):
                _seal(scratch, key)
                try:
                    scratch.rename(final)
                except OSError:
                    if not is_intact(final):
                        raise  # else another maker was first, on a file system without locks
            self._verified[final] = _stamp(final)
        return final


def _seal(folder: Path, key: Key) -> None:
    files = {str(p.relative_to(folder)): fingerprint_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = {"stage": key.stage, "digest": key.digest, "parts": json.loads(key.parts), "files": files}
    text = canonical_json({**manifest, _SEAL: _seal_of(manifest)}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def _seal_of(manifest: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of a manifest: its parts, without their secrets, need not give the digest again."""
    return hashlib.sha256(canonical_json(manifest).encode()).hexdigest()


def is_intact(folder: Path) -> bool:
    """Return whether a result is whole: its manifest as written and of this place, every file as its checksum says."""
    try:
        found = (folder / MANIFEST).lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST_MANIFEST:
            return False
        manifest = dict(json.loads((folder / MANIFEST).read_bytes().decode("utf-8")))
        place = (folder.parent.name, folder.name)
        if manifest.pop(_SEAL) != _seal_of(manifest) or (manifest["stage"], manifest["digest"]) != place:
            return False
        return all(_is_file(folder, name, digest) for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        return False  # no mapping, other types, no JSON, no text, nested too deep, gone


def _is_file(folder: Path, name: str, digest: str) -> bool:
    path = folder / name
    is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    return is_inside and stat.S_ISREG(path.lstat().st_mode) and fingerprint_file(path) == digest


def _stamp(folder: Path) -> Stamp:
    """Return name, time and size of every file, which change whenever a program writes to one."""
    places = [(parent, name) for parent, _, names in os.walk(folder) for name in names]
    found = [(*place, os.lstat(os.path.join(*place))) for place in places]
    return tuple(sorted((parent, name, at.st_mtime_ns, at.st_size) for parent, name, at in found))


Value = TypeVar("Value")


class MemoryCache:
    """The `most` recently used results of each stage, by digest; it changes how long things take, never a number."""

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self._kept: dict[str, dict[str, object]] = {}

    def get(self, stage: str, digest: str, make: Callable[[], Value]) -> Value:
        """Return the result of `stage` under `digest`, made by `make` when it is not there."""
        kept = self._kept.setdefault(stage, {})
        kept[digest] = found = kept.pop(digest) if digest in kept else make()  # the last is the one used last
        for oldest in list(kept)[: -self._most]:
            kept.pop(oldest, None)  # a worker's other threads drop some too
        return cast("Value", found)
