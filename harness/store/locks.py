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
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

LEASE = ".lease-"
CLAIM = ".claim"  # ends the name of the file beside a folder that its process keeps locked
STATUS = ".status-"  # what a process tells about itself is called after its lease, see `harness.run.status`
_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)
_LONGEST = 86_400.0  # seconds for which a lease counts that cannot be locked
_OFTEN = 0.02  # seconds between two looks at a lock that somebody else holds


class Lease:
    """What this process uses of a store, whose folder `root` must exist; nothing is written where nothing can be."""

    def __init__(self, root: Path) -> None:
        self._written: set[str] = set()
        self.name: str | None = None  # of its file; None where none can be written
        path = root / f"{_own_prefix()}{time.time_ns()}-{secrets.token_hex(4)}"
        try:
            self._handle: int | None = locked_file(path)
        except OSError:
            self._handle = None  # a store that cannot be written cannot be cleared by us, and others cannot be told
            return
        self.name = path.name
        weakref.finalize(self, _release, self._handle, path, os.getpid())

    def tell(self, stage: str, digest: str) -> None:
        """Write down that a result is used."""
        name = f"{stage}/{digest}"
        if self._handle is not None and name not in self._written:
            self._written.add(name)
            with suppress(OSError):  # a full disk: the run itself will say so
                os.write(self._handle, f"{name}\n".encode())


def locked_file(path: Path) -> int:
    """Make a file that this process keeps locked, and had locked before anybody could find it; return its handle."""
    unnamed = path.with_name(f".{secrets.token_hex(8)}")
    handle = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    unnamed.rename(path)
    return handle


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a folder that is not there yet inside the block, see `is_claimed`; the folder around it must exist."""
    path = folder.with_name(f"{folder.name}{CLAIM}")
    try:
        handle = locked_file(path)
    except OSError:  # nothing can be written there: whoever makes the folder says so
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def is_claimed(folder: Path) -> bool:
    """Return whether a living process keeps a folder; the claim of one that was killed is none any more."""
    return is_alive(folder.with_name(f"{folder.name}{CLAIM}"))


def _release(handle: int, path: Path, process: int) -> None:
    if os.getpid() == process:  # in a fork the lease is its parent's
        path.unlink(missing_ok=True)
        os.close(handle)


@lru_cache(maxsize=8)
def lease_of(root: Path, process: int) -> Lease:
    """Return the lease of a process on a store; a fork has its own."""
    return Lease(root)


def in_use(root: Path) -> frozenset[tuple[str, str]]:
    """Return stage and digest of every result that another living process uses."""
    living = [path for path, is_alive in _others(root) if is_alive and path.exists()]
    return _named(tuple((path, path.stat().st_size) for path in living))


@lru_cache(maxsize=1)
def _named(leases: tuple[tuple[Path, int], ...]) -> frozenset[tuple[str, str]]:
    """Return what leases of these sizes name; a lease that has not grown is not read again."""
    found: set[tuple[str, str]] = set()
    for path, _ in leases:
        with suppress(FileNotFoundError):  # its process has just ended
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found |= {(stage, digest) for stage, _, digest in (line.partition("/") for line in lines)}
    return frozenset(found)


def living_since(root: Path) -> float | None:
    """Return when the oldest other living process began to use the store, seconds since the epoch, or None."""
    return min((int(path.name.split("-")[-2]) / 1e9 for path, is_alive in _others(root) if is_alive), default=None)


def dead_leases(root: Path) -> tuple[Path, ...]:
    """Return the leases of processes that were killed."""
    return tuple(path for path, is_alive in _others(root) if not is_alive)


def lease_of_status(name: str) -> str:
    """Return the name of the lease that a process's ``.status-…json`` is called after."""
    return f".{name.removeprefix(STATUS).removesuffix('.json')}"


def is_alive(lease: Path) -> bool:
    """Return whether the process of a lease lives; one that has ended in order has no lease any more."""
    try:
        handle = os.open(lease, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's; better keep too much
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - os.fstat(handle).st_mtime < _LONGEST
    finally:
        os.close(handle)


def _others(root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the leases of other processes, and whether each process lives."""
    for path in sorted(path for path in root.glob(f"{LEASE}*") if not path.name.startswith(_own_prefix())):
        yield path, is_alive(path)


def _own_prefix() -> str:
    return f"{LEASE}{socket.gethostname()[:64].replace('/', '_')}-{os.getpid()}-"


@contextmanager
def only_maker(path: Path) -> Iterator[None]:
    """Hold the lock file `path` inside the block; wait for whoever holds it now.

    The lock belongs to the process, so a killed holder frees it. It saves work and guards nothing: on a file system
    without locks everyone goes ahead, and the store is right all the same.
    """
    from filelock import FileLock  # takes a while, and most commands lock nothing

    lock = FileLock(path, poll_interval=_OFTEN, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)  # whoever waits for it sees that it is gone, and makes a new one
            lock.release()
