"""Standard output and standard error: signs that an encoding lacks degrade, a reader that has left is no error."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

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
