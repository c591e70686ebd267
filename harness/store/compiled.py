"""Compiled numerical kernels, cached on disk where that can be, without the interpreter lock.

Where Numba can write neither beside the source nor in the user's cache folder it would refuse to import the module;
here a private folder for temporary files takes their place, or every process compiles for itself.
"""

from __future__ import annotations

import inspect
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar, cast

import numba

from harness.errors.extras import PROGRAM, code_version

P = ParamSpec("P")
R = TypeVar("R")


def compiled(
    *, error_model: Literal["python", "numpy"] = "python", inline: Literal["never", "always"] = "never"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that compiles a function at its first call; without `fastmath`, sums keep their order.

    Division by zero raises, or gives infinity or NaN by the `error_model` ``numpy``; `inline` writes into the callers.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        jit = partial(numba.njit, nogil=True, error_model=error_model, inline=inline)
        if inspect.isgeneratorfunction(function):  # Numba cannot compile a caller of one that it has read from a cache
            return cast("Callable[P, R]", jit()(function))
        try:
            return cast("Callable[P, R]", jit(cache=True)(function))
        except RuntimeError as error:
            if "locator" not in str(error):
                raise
        folder = _private_folder()
        if folder is not None:
            numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
            with suppress(RuntimeError):  # it cannot be written after all
                found = cast("Callable[P, R]", jit(cache=True)(function))
                _tell(f"compiled code is kept in {folder}: neither the installation nor your home can be written.")
                return found
        _tell("compiled code is kept nowhere, so every process compiles anew: set NUMBA_CACHE_DIR to your own folder.")
        return cast("Callable[P, R]", jit()(function))

    return decorate


@cache
def _private_folder() -> Path | None:
    """Return a folder for temporary files that is ours alone, or None: what lies there is run."""
    user = os.getuid()
    try:
        top = Path(tempfile.gettempdir()) / f"{PROGRAM}-{user}"
        folder = top / f"{code_version()}-numba-{numba.__version__}"
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
