"""CSV files as other programs write them: which delimiter and encoding, and on which line a row stands."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.csv as pacsv

from harness.errors import ConfigError, DataError

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

    Raises:
        DataError: When the file is in another encoding; `expected` says what its lines should be.
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


Layout = Literal["long", "wide", "per_instrument"]
EPOCHS = ("s", "ms", "us", "ns")
"""Time formats that count from 1970-01-01 00:00 UTC."""
_YEAR = re.compile(r"(?<!%)(?:%%)*%[YyGcx]")


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written; what is None is recognised where it is in no doubt.

    Attributes:
        delimiter: What stands between two cells. None takes the one of ``, ; tab |`` that gives the columns asked for.
        decimal: ``.`` or ``,``; the other one may then group thousands. None looks at the numbers.
        encoding: Such as ``cp1252`` or ``utf-16``. None reads UTF-8, and UTF-16 and UTF-32 by their first bytes.

    Raises:
        ConfigError: When a value is impossible.
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\n\r'):
            raise ConfigError(
                "A delimiter is one character.",
                where="data.csv.delimiter",
                got=repr(self.delimiter),
                expected='such as "," ";" "|" or a tab, which the shell writes as data.csv.delimiter="\\t"',
            )
        if self.decimal not in (None, ".", ","):
            raise ConfigError(
                "This is no decimal mark.",
                where="data.csv.decimal",
                got=repr(self.decimal),
                expected='".", "," or null',
            )
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError as error:
            raise ConfigError(
                "There is no such encoding.",
                where="data.csv.encoding",
                got=self.encoding,
                expected="such as utf-8, cp1252, latin-1, utf-16, gbk, shift_jis",
            ) from error


@dataclass(frozen=True)
class TableFormat:
    """How tables are written.

    Attributes:
        csv: For CSV files.
        time_format: How times are written, as in ``%d/%m/%Y``, or what they count since 1970: ``s``, ``ms``, ``us``,
            ``ns``. None reads times, dates and text with the year first.
        timezone: Where the clock hangs that times with a zone are read on; None refuses such times.

    Raises:
        ConfigError: When there is no such time zone, or the time format names no year.
    """

    csv: CsvFormat = field(default_factory=CsvFormat)
    time_format: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.time_format not in (None, *EPOCHS) and not _YEAR.search(str(self.time_format)):
            raise no_time_format(self.time_format)
        try:
            ZoneInfo(self.timezone or "UTC")
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                "There is no such time zone.",
                where="data.timezone",
                got=self.timezone,
                expected="such as UTC, America/New_York, Asia/Shanghai",
            ) from error


def no_time_format(given: str | None, why: str = "it names no year") -> ConfigError:
    """Return the error for a time format that cannot be used."""
    return ConfigError(
        "This is no time format.",
        where="data.time_format",
        got=f"{given!r}: {why}",
        expected=f"such as %d/%m/%Y or %Y-%m-%d %H:%M, or one of {', '.join(EPOCHS)} since 1970",
    )


_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_MARKS = (  # longest first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Dialect:
    """How one file is written.

    Attributes:
        delimiter, encoding: As Python's modules name them.
        skipped: Lines before the heads: comments that begin with ``#``, and empty ones.
        heads: The names of the columns, without blanks at their ends.
    """

    delimiter: str
    encoding: str
    skipped: int
    heads: tuple[str, ...]

    @property
    def described(self) -> str:
        """How the columns were told apart, for messages."""
        return f"separated by {_NAMES.get(self.delimiter, repr(self.delimiter))}s"


def recognise(path: Path, given: CsvFormat, wanted: Sequence[str]) -> Dialect:
    """Return how a CSV file is written.

    The delimiter is the one that gives the columns `wanted`, or most of them; lines before the heads that begin with
    ``#`` are skipped.

    Raises:
        DataError: When the file is empty or not written in its encoding; with the first line that is not.
    """
    try:
        encoding = given.encoding or _marked(path)
        _check_encoding(path, encoding, given)
        skipped, head = _first_line(path, encoding)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DataError(
            "The file cannot be read; it may be truncated.", where=str(path), got=str(error), expected="a CSV file"
        ) from error
    if not head:
        raise DataError(
            "The file cannot be read: it has no line of column names.", where=str(path), expected="a CSV file"
        )
    tried = [given.delimiter] if given.delimiter is not None else list(_DELIMITERS)
    found = {delimiter: heads_of(head, delimiter) for delimiter in tried}
    best = max(tried, key=lambda d: (len(set(wanted) & set(found[d])), len(found[d]), -tried.index(d)))
    return Dialect(best, encoding, skipped, found[best])


def _first_line(path: Path, encoding: str) -> tuple[int, str]:
    """Return the line of the column names and how many stand before it; an empty line when there is none."""
    with _text(path, encoding) as lines:
        for skipped, line in enumerate(lines):
            if line.strip() and not line.startswith("#"):
                return skipped, line
    return 0, ""


def heads_of(line: str, delimiter: str) -> tuple[str, ...]:
    """Return the column names of a line, without blanks at their ends."""
    return tuple(cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), []))


def read_csv(path: Path, dialect: Dialect, columns: Sequence[int]) -> pa.Table:
    """Return some columns of a file, by position, as text; an empty cell is null.

    Raises:
        DataError: When the lines do not have as many cells as there are heads, a quote is never closed, or the file
            breaks off.
    """
    names = [f"c{at}" for at in range(len(dialect.heads))]
    chosen = [names[at] for at in columns]
    try:
        table = pacsv.read_csv(
            pa.input_stream(str(path), compression="detect"),
            pacsv.ReadOptions(
                column_names=names,
                skip_rows=dialect.skipped + 1,
                encoding=dialect.encoding.removesuffix("-sig"),  # Arrow skips the mark of UTF-8 itself
            ),
            pacsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
            pacsv.ConvertOptions(
                include_columns=chosen,
                column_types={name: pa.string() for name in chosen},
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except (pa.ArrowException, OSError, EOFError) as error:
        if "Empty CSV file" in str(error):
            return pa.table({name: pa.array([], pa.string()) for name in chosen})
        raise DataError(
            "The file cannot be read; it may be truncated.",
            where=str(path),
            got=str(error),
            expected=f"lines of {len(names)} cells, {dialect.described}",
        ) from error
    return table


def line_of(path: Path, dialect: Dialect, row: int) -> int:
    """Return the number (from 1) of the line on which a row (from 0) begins; read again, for messages only."""
    with _text(path, dialect.encoding) as lines:
        for _ in range(dialect.skipped + 1):
            next(lines)
        reader = csv.reader(lines, delimiter=dialect.delimiter)
        seen = -1
        before = 0
        for cells in reader:
            seen += bool(cells)
            if seen == row:
                return dialect.skipped + 1 + before + 1
            before = reader.line_num
    return dialect.skipped + row + 2


def _text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(pa.input_stream(str(path), compression="detect"), encoding=encoding, newline="")


def _marked(path: Path) -> str:
    start = _bytes(path).read(4)
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")


def _check_encoding(path: Path, encoding: str, given: CsvFormat) -> None:
    """Decode the whole file once, piece by piece: a column of codes must not hold half a character."""
    decoder = codecs.getincrementaldecoder(encoding)()
    stream, lines, piece = _bytes(path), 1, b""
    try:
        while piece := stream.read(_CHUNK):
            if encoding in ("utf-8", "utf-8-sig") and b"\0" in piece:
                raise _not_text(
                    path, "zero bytes, as in UTF-16 without a mark, or in a file that is no text", "utf-16-le"
                )
            text = decoder.decode(piece)
            lines += text.count("\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.end]
        at = lines + error.object[: error.start].count(b"\n")
        got = f"the bytes {bad.hex(' ')} on line {at}"
        other = "cp1252" if given.encoding is None else "utf-8"
        raise _not_text(path, f"{got}, which are not {encoding}", other) from error


def _bytes(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="detect")


def _not_text(path: Path, got: str, other: str) -> DataError:
    return DataError(
        "The file is written in another encoding.",
        where=str(path),
        got=got,
        expected="UTF-8, UTF-16 with its mark, or what data.csv.encoding says",
        hint=f"data.csv.encoding={other}, or whichever the program that wrote it uses (cp1252 and latin-1 are common "
        "in western Europe, gbk in China)",
    )
