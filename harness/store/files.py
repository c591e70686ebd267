"""Files and folders that appear whole, with the permissions that the user's umask gives, and stay after a crash."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from harness.errors import ConfigError, DataError, closest

HYDRA = "hydra"  # a folder of configuration files, and a key of theirs, that are Hydra's own
_LONGEST_PREFIX = 40
# File systems that cannot flush a folder say so in one of these ways.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part, also after a crash.

    Raises:
        OSError: When it cannot be written; nothing is left then.
    """
    with _written_beside(path, content) as scratch:
        scratch.replace(path)


def write_changed(path: Path, content: bytes) -> None:
    """Do what `write_atomically` does, unless the file holds just that already: then the disk has nothing to do."""
    with suppress(OSError):
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    write_atomically(path, content)


def write_new(path: Path, content: bytes) -> bool:
    """Write a file whole, unless it is there already; return whether it was written. Of several writers one is.

    Raises:
        OSError: When it cannot be written, or the file system has no hard links; nothing is left then.
    """
    with _written_beside(path, content) as scratch, suppress(FileExistsError):
        path.hardlink_to(scratch)  # unlike a rename this fails when its target is there
        return True
    return False


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[Path]:
    """Yield a file beside `path` that holds the content; what the block does with it is then taken by the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name[:_LONGEST_PREFIX]}-{secrets.token_hex(6)}")
    handle = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)
    flush(path.parent)


def scratch_folder(parent: Path, prefix: str, suffix: str = "") -> Path:
    """Make an empty folder of a new name in `parent`; unlike `tempfile.mkdtemp` it is as open as the umask allows."""
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(6)}{suffix}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def flush(path: Path) -> None:
    """Let the disk take a file or the names in a folder, where the file system can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)


LONGEST = 255  # bytes that a name may have on the file systems in use

_QLIB = "_qlib_"
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
_UNSAFE = re.compile(r'^\.|^_(?=qlib_)|[/\\:*?"<>|%\x00-\x1f\x7f]|[. ]$', re.IGNORECASE)


def _escaped(found: re.Match[str] | str) -> str:
    return f"%{ord(found[0]):02X}"


def file_name(name: str) -> str:
    """Return the file name of a name; different names have different file names."""
    if name.upper() in _DEVICES:
        return _QLIB + name
    if name.upper().split(".")[0] in _DEVICES:
        return _escaped(name) + _UNSAFE.sub(_escaped, name[1:])
    return _UNSAFE.sub(_escaped, name)


def name_of_file(name: str) -> str:
    """Return the name of which this is the `file_name`."""
    device = name[len(_QLIB) :]
    if name.startswith(_QLIB) and device.upper() in _DEVICES:
        return device
    return unquote(name)


def fault_of_file(file: str) -> str | None:
    """Return why no file can be called `file` here, or None when one can."""
    try:
        length = len(os.fsencode(file))
    except UnicodeEncodeError:
        return f"cannot be written in {sys.getfilesystemencoding()}, this locale's encoding (PYTHONUTF8=1 changes it)"
    return f"has {length} bytes, more than {LONGEST}" if length > LONGEST else None


def equal_files(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of names whose files are one file on some system.

    macOS and Windows ignore the case of file names, and macOS how an accent is composed.
    """
    seen: dict[str, str] = {}
    equal = []
    for name in names:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", file_name(name)).casefold())
        if folded in seen:
            equal.append((seen[folded], name))
        seen.setdefault(folded, name)
    return equal


def config_folder() -> Path:
    """Return the folder of the configuration tree: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def search_folder(given: Path, option: str = "--config-dir") -> Path:
    """Return a folder that an option gives, absolute; ``~`` is the home where no folder has that name."""
    folder = given if given.is_dir() else Path(os.path.expanduser(given))  # one that is not known here stays ~somebody
    if folder.is_dir():
        return folder.resolve()
    above = folder.resolve().parent
    beside = sorted(path.name for path in above.glob("*/"))
    near = closest(folder.name, beside)
    what = f"The configuration folder {'is a file' if folder.exists() else 'does not exist'}."
    expected = "a folder with groups like conf/, such as FOLDER/model/mine.yaml"
    hint = f"in {above}: {near}" if near else "`bench new model mine` writes one"
    raise ConfigError(what, where=option, got=str(given), expected=expected, hint=hint)


def config_files() -> dict[str, tuple[Path, ...]]:
    """Return folder → its files, both sorted, of the configuration tree, but for Hydra's own."""
    folders = sorted(p for p in config_folder().iterdir() if p.is_dir() and p.name != HYDRA)
    return {folder.name: tuple(sorted(folder.glob("*.yaml"))) for folder in folders}


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its name when the block ends well, and vanishes otherwise.

    A killed process leaves a hidden folder that no reader takes for `target`.

    Raises:
        DataError: When `target` exists, or appears meanwhile.
    """
    what, hint = "The folder exists already; nothing was overwritten.", "remove the folder, or choose another one"
    exists = DataError(what, where=str(target), expected="a path that does not exist yet", hint=hint)
    if target.exists():
        raise exists
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = scratch_folder(target.parent, f".{target.name}.", ".partial")
    try:
        yield staging
        os.sync()  # thousands of small files: one by one would take longer than writing them
        if target.exists():
            raise exists
        staging.rename(target)
        flush(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
