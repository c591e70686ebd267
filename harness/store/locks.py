"""Who uses a store now: each process writes down what it has taken, and what is written down does not go.

A lease is a hidden file in the store that its process keeps locked while it lives; the system frees the lock of one
that is killed. Its lines are the results that were found or made, ``stage/digest``. Over NFS this holds as far as the
mount passes locks on; where it does not, a lease counts for a day after its last line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

LEASE = ".lease-"
_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)
_LONGEST = 86_400.0  # seconds for which a lease counts that cannot be locked


class Lease:
    """What this process uses of a store; nothing is written where nothing can be.

    Args:
        root: The store's folder; it must exist.
    """

    def __init__(self, root: Path) -> None:
        self._told: set[str] = set()
        path = root / f"{_own_prefix()}{time.time_ns()}-{secrets.token_hex(4)}"
        try:
            self._handle: int | None = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o666)
        except OSError:
            self._handle = None  # a store that cannot be written cannot be cleared by us, and others cannot be told
            return
        weakref.finalize(self, _release, self._handle, path, os.getpid())
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def tell(self, stage: str, digest: str) -> None:
        """Write down that a result is used."""
        name = f"{stage}/{digest}"
        if self._handle is None or name in self._told:
            return
        self._told.add(name)
        try:
            os.write(self._handle, f"{name}\n".encode())
        except OSError:
            return  # a full disk: the run itself will say so


@lru_cache(maxsize=8)
def lease_of(root: Path, process: int) -> Lease:
    """Return the lease of a process on a store; a fork has its own."""
    return Lease(root)


def in_use(root: Path) -> frozenset[tuple[str, str]]:
    """Return stage and digest of every result that another living process uses."""
    found: set[tuple[str, str]] = set()
    for path in _others(root):
        try:
            if _is_alive(path):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                found |= {(stage, digest) for stage, _, digest in (line.partition("/") for line in lines)}
        except FileNotFoundError:
            continue  # its process has just ended
    return frozenset(found)


def living_since(root: Path) -> float | None:
    """Return when the oldest other living process began to use the store, seconds since the epoch, or None."""
    starts = [int(path.name.split("-")[-2]) / 1e9 for path in _others(root) if path.exists() and _is_alive(path)]
    return min(starts, default=None)


def state(root: Path) -> tuple[tuple[str, int], ...]:
    """Return what changes whenever a process begins to use another result."""
    return tuple((path.name, path.stat().st_size) for path in _others(root) if path.exists())


def dead_leases(root: Path) -> tuple[Path, ...]:
    """Return the leases of processes that were killed."""
    return tuple(path for path in _others(root) if path.exists() and not _is_alive(path))


def _others(root: Path) -> list[Path]:
    return sorted(path for path in root.glob(f"{LEASE}*") if not path.name.startswith(_own_prefix()))


def _own_prefix() -> str:
    return f"{LEASE}{socket.gethostname()[:64].replace('/', '_')}-{os.getpid()}-"


def _is_alive(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return True  # another user's; better keep too much
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - os.fstat(handle).st_mtime < _LONGEST
    finally:
        os.close(handle)
    return False


def _release(handle: int, path: Path, process: int) -> None:
    if os.getpid() != process:
        return  # a fork: the lease is its parent's
    path.unlink(missing_ok=True)
    os.close(handle)


@contextmanager
def only_maker(path: Path) -> Iterator[None]:
    """Hold the lock file `path` inside the block; wait for whoever holds it now.

    The lock belongs to the process, so a killed holder frees it. It saves work and guards nothing: on a file system
    without locks everyone goes ahead, and the store is right all the same.

    Raises:
        OSError: When the file cannot be made.
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
