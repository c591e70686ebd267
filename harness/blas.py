"""Linear algebra whose bits do not depend on the number of BLAS threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from threadpoolctl import ThreadpoolController, threadpool_limits

__all__ = ["one_blas_thread"]


@dataclass
class _Limit:
    """The process-wide limit and how many callers hold it, for the limit itself is process-wide.

    Looking for the libraries takes milliseconds, so they are looked for again only when modules were imported.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    holders: int = 0
    limits: threadpool_limits | None = None
    libraries: ThreadpoolController | None = None
    modules: int = 0

    def known(self) -> ThreadpoolController:
        if self.libraries is None or self.modules != len(sys.modules):
            self.libraries, self.modules = ThreadpoolController(), len(sys.modules)
        return self.libraries


_LIMIT = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS and LAPACK use one thread inside the block; concurrent blocks share the limit, the last one lifts it.

    A threaded BLAS splits sums by the number of its threads, so the same product can differ in its last bits between
    machines and workers. Work is shared out over fixed pieces by the caller instead.
    """
    with _LIMIT.lock:
        if _LIMIT.holders == 0:
            _LIMIT.limits = _LIMIT.known().limit(limits=1, user_api="blas")
        _LIMIT.holders += 1
    try:
        yield
    finally:
        with _LIMIT.lock:
            _LIMIT.holders -= 1
            if _LIMIT.holders == 0 and _LIMIT.limits is not None:
                _LIMIT.limits.restore_original_limits()
                _LIMIT.limits = None
