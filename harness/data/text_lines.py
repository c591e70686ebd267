"""Small text files as numbered lines: calendars and memberships."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from harness.errors import DataError

# Longest first: the mark of UTF-32 begins with that of UTF-16.
_OTHER_MARKS = (
    ("UTF-32", codecs.BOM_UTF32_LE),
    ("UTF-32", codecs.BOM_UTF32_BE),
    ("UTF-16", codecs.BOM_UTF16_LE),
    ("UTF-16", codecs.BOM_UTF16_BE),
)
_LINE_END = re.compile(r"\r\n|\r|\n")


def read_lines(path: Path, *, expected: str) -> list[tuple[int, str]]:
    """Return (number from 1, text) of every line that is not blank.

    The file is UTF-8, with or without a byte order mark; lines end with LF, CRLF or CR and with nothing else, so that
    no other character is lost.

    Raises
    ------
    DataError
        When the file is in another encoding; `expected` says what its lines should be.
    """
    content = path.read_bytes()
    for name, mark in _OTHER_MARKS:
        if content.startswith(mark):
            raise _not_utf8(path, f"{name}, by its first bytes", expected)
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = len(_LINE_END.split(content[: error.start].decode("latin-1")))
        raise _not_utf8(path, f"{error} (line {line})", expected) from error
    if "\0" in text:
        raise _not_utf8(path, "zero bytes: UTF-16 without a mark, or no text at all", expected)
    return [(at, line) for at, line in enumerate(_LINE_END.split(text), start=1) if line.strip()]


def write_lines(path: Path, lines: list[str]) -> None:
    """Write lines as UTF-8, each ended by LF, on every system and under every locale."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))


def _not_utf8(path: Path, got: str, expected: str) -> DataError:
    return DataError(
        "The file is not text in UTF-8.",
        where=str(path),
        got=got,
        expected=f"{expected}, in UTF-8",
        hint=f"save it as UTF-8, for example: iconv -f ENCODING -t UTF-8 {path.name}",
    )
