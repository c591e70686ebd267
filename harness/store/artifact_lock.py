"""One maker at a time: whoever wants a result that another process is making waits for it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


@contextmanager
def only_maker(path: Path) -> Iterator[None]:
    """Hold the lock file `path` inside the block; wait for whoever holds it now.

    The lock belongs to the process, so a killed holder frees it. It saves work and guards nothing: on a file system
    without locks everyone goes ahead, and the store is right all the same.

    Raises
    ------
    OSError
        When the file cannot be made.
    """
    handle = _acquire(path)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _acquire(path: Path) -> int | None:
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_same_file(handle, path):
                return handle
            os.close(handle)  # the last holder removed it while we waited, so a newer one counts
        except OSError as error:
            os.close(handle)
            if error.errno in _NO_LOCKS:
                return None
            raise
        except BaseException:
            os.close(handle)
            raise


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
