"""Files and folders that appear whole, with the permissions that the user's umask gives, and stay after a crash."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

_LONGEST_PREFIX = 40
# File systems that cannot flush a folder say so in one of these ways.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part, also after a crash.

    Raises
    ------
    OSError
        When it cannot be written; nothing is left then.
    """
    scratch = _written_beside(path, content)
    try:
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    flush(path.parent)


def write_new(path: Path, content: bytes) -> bool:
    """Write a file whole, unless it is there already; return whether it was written. Of several writers one is.

    Raises
    ------
    OSError
        When it cannot be written, or the file system has no hard links; nothing is left then.
    """
    scratch = _written_beside(path, content)
    try:
        # A link, unlike a rename, fails when its target is there.
        path.hardlink_to(scratch)
    except FileExistsError:
        return False
    finally:
        scratch.unlink(missing_ok=True)
    flush(path.parent)
    return True


def scratch_folder(parent: Path, prefix: str, suffix: str = "") -> Path:
    """Make an empty folder of a new name in `parent`; unlike `tempfile.mkdtemp` it is as open as the umask allows."""
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(6)}{suffix}"
        with contextlib.suppress(FileExistsError):
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


def _written_beside(path: Path, content: bytes) -> Path:
    """Write a hidden file beside `path` and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name[:_LONGEST_PREFIX]}-{secrets.token_hex(6)}")
    handle = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return scratch
