"""The command line, `bench`: the only place that prints."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

_NEW_OBJECTS = 200_000  # containers made until the youngest generation is collected
_SWITCH = 0.0005  # seconds


def command() -> None:
    """Be the process of one `bench` command: run it, and end with its exit code.

    At the end threads are waited for, what is registered with `atexit` runs, and output is written; then the system
    takes the memory as a whole, instead of the interpreter object by object.
    """
    tune()
    code = main()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _close_files_of_users()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # whose reader is gone: as the interpreter ends it
    os._exit(code)


def _close_files_of_users() -> None:
    """Close what modules of the user's have opened and closed nowhere, such as a log, a compressed one or an archive.

    That is what would close itself when it goes; layers above others first, for they still write something. The
    interpreter would not do so for certain: what libraries keep of a class keeps alive all that its module holds.
    """
    digests = sys.modules.get("harness.store.code_digest")
    if digests is None or not digests.knows_code_of_users():
        return
    layers: dict[type, int | None] = {}
    found: list[list[Any]] = [[], [], []]
    for one in gc.get_objects():
        kind = type(one)
        if kind not in layers:
            layers[kind] = _layer(kind)
        if (layer := layers[kind]) is not None:
            found[layer].append(one)
    for one in chain.from_iterable(found):
        with suppress(Exception):  # of anybody's class; there is nobody to tell any more
            if not _is_standard(one):
                one.close()


def _layer(kind: type) -> int | None:
    """Return 0 for text, 1 for what stands on files, such as archives, 2 for files; None for what closes nothing."""
    if kind in (GeneratorType, CoroutineType, AsyncGeneratorType) or not {"__del__", "close"} <= set(dir(kind)):
        return None
    return 0 if issubclass(kind, io.TextIOBase) else 2 if kind.__module__ == "_io" else 1


def _is_standard(file: Any) -> bool:
    try:
        return file.fileno() in (0, 1, 2)
    except (AttributeError, OSError, ValueError):
        return False


def tune() -> None:
    """Set the interpreter for what a command does.

    Imports and configurations make a hundred thousand objects that stay, so that looking for garbage among them is
    rare; a thread that comes back from a kernel waits half a millisecond for the interpreter instead of 5.
    """
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
    sys.setswitchinterval(_SWITCH)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `bench` command and return its exit code.

    That is 0 when all is fine, 1 for a finding, 2 for a mistake of the user, 3 for what cannot be compared, and 128
    plus the signal's number after SIGINT, SIGTERM and SIGHUP.
    """
    if sys.platform == "win32":  # before anything is imported that needs locks, signals and folders of POSIX
        sys.stderr.write("bench: Windows is not supported: use Linux or macOS; under Windows, WSL works.\n")
        return 2
    from harness.cli.application import run

    return run(arguments)
