"""Standard output and standard error: signs that an encoding lacks degrade, a reader that has left is no error."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO, cast

from rich.console import Console

from harness.errors.redaction import RedactedStream

READER_GONE = 141  # what a shell reports for a program whose reader has left: 128 + SIGPIPE
_PLAIN, _JSON = "driftbench.plain", "driftbench.json"
_SIGNS = {
    **{"–": "-", "—": "-", "−": "-", "…": "...", "·": "-", "•": "*", "●": "*", "▲": "^", "▼": "v"},
    **{"±": "+-", "×": "x", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∞": "inf"},
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "α": "alpha", "β": "beta", "λ": "lambda", "Δ": "D", "θ": "theta"},
}
_ALONG, _ACROSS = ("HORIZONTAL", "LEFT", "RIGHT"), ("VERTICAL", "UP", "DOWN")


def plain(text: str) -> str:
    """Return text in ASCII that reads alike: a dash for a rule, a letter without its accent, an escape for the rest."""
    return "".join(sign if sign.isascii() else _plain(sign) for sign in text)


def _plain(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    name = unicodedata.name(sign, "")
    if name.startswith("BOX DRAWINGS"):
        along, across = (any(word in name for word in words) for words in (_ALONG, _ACROSS))
        return "+" if along and across else "|" if across else "-"
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return bare.strip() or sign.encode("ascii", "backslashreplace").decode()


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def _in_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_PLAIN, _in_ascii)
codecs.register_error(_JSON, _in_json)


@contextmanager
def degrading() -> Iterator[None]:
    """Let no sign that the terminal or the file cannot show end a command, nor a reader that has seen enough.

    Under ``LANG=C`` a table is then drawn in ASCII. Afterwards everything written has left the buffers, or is dropped
    when nobody takes it.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [(stream, stream.errors) for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=_PLAIN)
    try:
        yield
    finally:
        for stream, errors in before:
            try:
                stream.flush()
                stream.reconfigure(errors=errors)
            except OSError:
                silence(stream)


def as_json() -> None:
    """Let signs that standard output lacks be written as JSON escapes: no character of a document may be lost."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_JSON)


def silence(stream: TextIO | IO[str]) -> None:
    """Drop whatever is written to a stream from now on, and what its buffer holds."""
    with suppress(OSError, ValueError):  # a stream without a file descriptor has no reader that could leave
        target = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)


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

    Args:
        verbosity: −1: nothing; 0: progress and notices; 1: also the seconds of every stage.
    """

    def __init__(self, verbosity: int = 0) -> None:
        super().__init__(quiet=verbosity < 0)
        self.verbosity = verbosity
        self.began = time.monotonic()


def _redacted(stream: IO[str] | None) -> IO[str] | None:
    return None if stream is None else cast("IO[str]", RedactedStream(stream))
