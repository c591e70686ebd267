"""Where a command prints: its result on standard output, how it goes and what went wrong on standard error."""

from __future__ import annotations

import sys
import time
from typing import IO, cast

from rich.console import Console

from harness.cli.streams import READER_GONE, silence
from harness.errors.redaction import RedactedStream

_WIDTH_OF_A_FILE = 160


class OutputConsole(Console):
    """The result. A reader that leaves early, as `head` does, ends the command without a word."""

    def __init__(self) -> None:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        width = None if is_terminal else _WIDTH_OF_A_FILE
        super().__init__(file=_redacted(sys.stdout), highlight=False, emoji=False, width=width)

    def on_broken_pipe(self) -> None:
        """End the command as the system would."""
        self.quiet = True
        silence(self.file)
        raise SystemExit(READER_GONE)


class ErrorConsole(Console):
    """Messages. Nobody who reads them is no reason to stop."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(file=_redacted(sys.stderr), stderr=True, highlight=False, emoji=False, quiet=quiet)

    def on_broken_pipe(self) -> None:
        """Be silent from now on."""
        self.quiet = True
        silence(self.file)


class StatusConsole(ErrorConsole):
    """Where a command tells how it goes, beside its result.

    Parameters
    ----------
    verbosity
        −1: nothing; 0: progress and notices; 1: also the seconds of every stage.
    """

    def __init__(self, verbosity: int = 0) -> None:
        super().__init__(quiet=verbosity < 0)
        self.verbosity = verbosity
        self.began = time.monotonic()


def _redacted(stream: IO[str] | None) -> IO[str] | None:
    return None if stream is None else cast("IO[str]", RedactedStream(stream))
