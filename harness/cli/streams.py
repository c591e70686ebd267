"""Standard output and standard error: signs that an encoding lacks degrade, a reader that has left is no error."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console

from harness.errors import ConfigError
from harness.errors.redaction import RedactedStream
from harness.store.files import write_atomically

READER_GONE = 141  # what a shell reports for a program whose reader has left: 128 + SIGPIPE
PLAIN, _JSON = "driftbench.plain", "driftbench.json"
_SIGNS = {
    **{"–": "-", "—": "-", "−": "-", "…": "...", "·": "-", "•": "*", "●": "*", "▲": "^", "▼": "v"},
    **{"±": "+-", "×": "x", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∞": "inf"},
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "α": "alpha", "β": "beta", "λ": "lambda", "Δ": "D", "θ": "theta"},
}
_ALONG, _ACROSS = ("HORIZONTAL", "LEFT", "RIGHT"), ("VERTICAL", "UP", "DOWN")
_WIDTH_OF_A_FILE = 160


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


def _register(name: str, replacement: Callable[[str], str]) -> None:
    def handle(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        return replacement(error.object[error.start : error.end]), error.end

    codecs.register_error(name, handle)


_register(PLAIN, plain)
_register(_JSON, lambda text: json.dumps(text)[1:-1])


@contextmanager
def degrading() -> Iterator[None]:
    """Let no sign that the terminal or the file cannot show end a command, nor a reader that has seen enough.

    Under ``LANG=C`` a table is then drawn in ASCII. Afterwards everything written has left the buffers, or is dropped
    when nobody takes it.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [(stream, stream.errors) for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=PLAIN)
    try:
        yield
    finally:
        for stream, errors in before:
            try:
                stream.flush()
                stream.reconfigure(errors=errors)
            except OSError:
                _silence(stream)


def as_json() -> None:
    """Let signs that standard output lacks be written as JSON escapes: no character of a document may be lost."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_JSON)


def _silence(stream: IO[str]) -> None:
    """Drop whatever is written to a stream from now on, and what its buffer holds."""
    with suppress(OSError, ValueError):  # a stream without a file descriptor has no reader that could leave
        target = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)


class StreamConsole(Console):
    """A console that prints text as it is, without passwords; nobody who reads it is no reason to stop."""

    def __init__(self, stream: IO[str] | None, **options: Any) -> None:
        file = None if stream is None else cast("IO[str]", RedactedStream(stream))
        super().__init__(file=file, highlight=False, emoji=False, markup=False, **options)

    def write(self, text: str, style: str | None = None) -> None:
        """Print text and end the line; nothing is wrapped."""
        self.print(text, style=style, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _silence(self.file)


class OutputConsole(StreamConsole):
    """The result. A reader that leaves early, as `head` does, ends the command without a word."""

    def __init__(self) -> None:
        super().__init__(sys.stdout, width=None if sys.stdout and sys.stdout.isatty() else _WIDTH_OF_A_FILE)

    def write_record(self, record: object) -> None:
        """Print data as JSON, or a text that ends its last line itself."""
        from harness.store.artifacts import canonical_json

        self.print(record if isinstance(record, str) else canonical_json(record, indent=1), soft_wrap=True, end="")

    def on_broken_pipe(self) -> None:
        super().on_broken_pipe()
        raise SystemExit(READER_GONE)


def write_file(path: Path, text: str, option: str) -> None:
    """Write a file that an option names, atomically; raises `ConfigError` when that cannot be done."""
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        what, got = "The file cannot be written.", f"{path}: {error.strerror or type(error).__name__}"
        expected = "a file in a folder that you may write to, with space left"
        raise ConfigError(what, where=option, got=got, expected=expected) from error
