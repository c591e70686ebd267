"""The command line, `bench`: the only place that prints."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Sequence

_NEW_OBJECTS = 200_000  # containers made until the youngest generation is collected
_SWITCH = 0.0005  # seconds


def command() -> None:
    """Be the process of one `bench` command: run it, and end with its exit code.

    At the end threads are waited for, what is registered with `atexit` runs, and output is written; then the system
    takes the memory as a whole, instead of the interpreter object by object. Objects of a user's module may do
    something when they go, such as an archive that is closed nowhere: then the interpreter ends as it always does.
    """
    tune()
    code = main()
    if _runs_code_of_users():
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(code)  # whose reader is gone: as the interpreter ends it
    os._exit(code)


def _runs_code_of_users() -> bool:
    digests = sys.modules.get("harness.store.code_digest")
    return digests is not None and digests.knows_code_of_users()


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
