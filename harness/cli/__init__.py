"""The command line, `bench`: the only place that prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence


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
