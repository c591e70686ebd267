"""Compiled numerical kernels, cached on disk where that can be, without the interpreter lock.

Numba itself is imported when the first kernel is called: it takes a third of a second, and whoever composes a
configuration or reads a result calls none. Where Numba can write neither beside the source nor in the user's cache
folder it would refuse to compile; here a private folder for temporary files takes their place, or every process
compiles for itself.
"""

from __future__ import annotations

import inspect
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from harness.errors.extras import PROGRAM, code_version

P = ParamSpec("P")
R = TypeVar("R")
_LOCK = threading.RLock()


class Kernel(Generic[P, R]):
    """A function that is compiled at its first call; its options are Numba's."""

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self._function, self._options = function, options
        self._compiled: Callable[P, R] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return (self._compiled or self.dispatcher())(*args, **kwargs)

    def dispatcher(self) -> Callable[P, R]:
        """Return what Numba knows the function as, and those that it calls."""
        with _LOCK:
            if self._compiled is None:
                names = self._function.__globals__
                for name in self._function.__code__.co_names:
                    if isinstance(called := names.get(name), Kernel):
                        names[name] = called.dispatcher()  # a Kernel is nothing that Numba could call
                self._compiled = _jitted(self._function, self._options)
            return self._compiled


def compiled(
    *, error_model: Literal["python", "numpy"] = "python", inline: Literal["never", "always"] = "never"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that compiles a function at its first call; without `fastmath`, sums keep their order.

    Division by zero raises, or gives infinity or NaN by the `error_model` ``numpy``; `inline` writes into the callers.
    """
    return lambda function: Kernel(function, {"nogil": True, "error_model": error_model, "inline": inline})


def kernel_threads() -> int:
    """Return how many threads may call kernels at once: the CPUs of this process, or what Numba was told."""
    import numba  # see above

    return int(numba.get_num_threads())


def _jitted(function: Callable[P, R], options: dict[str, Any]) -> Callable[P, R]:
    import numba  # see above

    def jit(*, cached: bool) -> Callable[P, R]:
        found: Callable[P, R] = numba.njit(cache=cached, **options)(function)
        if cached:
            _read_at_once(found)
        return found

    if inspect.isgeneratorfunction(function):  # Numba cannot compile a caller of one that it has read from a cache
        return jit(cached=False)
    try:
        return jit(cached=True)
    except RuntimeError as error:
        if "locator" not in str(error):
            raise
    folder = _private_folder(numba.__version__)
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
        with suppress(RuntimeError):  # it cannot be written after all
            found = jit(cached=True)
            _tell(f"compiled code is kept in {folder}: neither the installation nor your home can be written.")
            return found
    _tell("compiled code is kept nowhere, so every process compiles anew: set NUMBA_CACHE_DIR to your own folder.")
    return jit(cached=False)


def _read_at_once(dispatcher: Any) -> None:
    """Let what is in the cache be read without what only compiling needs, which takes Numba most of a second to load.

    Numba refreshes its context before it looks into the cache, and again before it compiles; here the first is left
    out. A Numba whose cache is not made so, or which fails without it, refreshes as it always does.
    """
    from numba.core.caching import FunctionCache
    from numba.core.runtime.nrt import rtsys
    from numba.cpython import hashing  # noqa: F401  # kernels that hash link to what it tells LLVM

    if type(getattr(dispatcher, "_cache", None)) is not FunctionCache:
        return

    class Cache(FunctionCache):
        def load_overload(self, sig: Any, target_context: Any) -> Any:
            with suppress(Exception):
                rtsys.initialize(target_context)  # what kernels allocate arrays with
                return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]

    dispatcher._cache = Cache(dispatcher.py_func)  # type: ignore[no-untyped-call]


@cache
def _private_folder(version: str) -> Path | None:
    """Return a folder for temporary files that is ours alone, or None: what lies there is run."""
    user = os.getuid()
    try:
        top = Path(tempfile.gettempdir()) / f"{PROGRAM}-{user}"
        folder = top / f"{code_version()}-numba-{version}"
        top.mkdir(mode=0o700, exist_ok=True)
        found = top.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or stat.S_IMODE(found.st_mode) & 0o077:
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return None
    return folder


@cache
def _tell(message: str) -> None:
    # Once; without a handler of the caller's own, logging prints warnings on standard error.
    logging.getLogger(__name__).warning("bench: %s", message)
