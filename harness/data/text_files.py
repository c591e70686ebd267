"""Text files as people and programs write them: lines in UTF-8, and CSV of any delimiter and encoding."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from harness.errors import ConfigError, DataError

SHOWN = 5
"""How many of many faults a message shows."""

_MARKS = (  # longest first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_LINE_END = re.compile(r"\r\n|\r|\n")
_BATCH = 1 << 22
_ZEROS = "zero bytes, as in UTF-16 without a mark, or in a file that is no text"
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def first_of(faults: Iterable[str]) -> str:
    """Return the first few of many faults, one a line, for a message."""
    return "the first:\n" + "\n".join(f"    {fault}" for fault in islice(faults, SHOWN))


def read_lines(path: Path, *, expected: str) -> list[tuple[int, str]]:
    """Return (number from 1, text) of every line of UTF-8 that is not blank; lines end with LF, CRLF or CR only.

    Raises:
        DataError: When the file is in another encoding; `expected` says what its lines should be.
    """
    content = path.read_bytes()
    encoding = _marked(content)
    try:
        if not encoding.startswith("utf-8"):
            raise ValueError(f"{encoding.upper()}, by its first bytes")
        text = "".join(_decoded(io.BytesIO(content), encoding))
    except ValueError as error:
        what, hint = "The file is not text in UTF-8.", f"as in iconv -f ENCODING -t UTF-8 {path.name}"
        raise DataError(what, where=str(path), got=str(error), expected=f"{expected}, in UTF-8", hint=hint) from error
    return [(at, line) for at, line in enumerate(_LINE_END.split(text), start=1) if line.strip()]


def write_lines(path: Path, lines: list[str]) -> None:
    """Write lines as UTF-8, each ended by LF, on every system and under every locale."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))


def unreadable(path: Path, got: object, expected: str, hint: str | None = None) -> DataError:
    """Return the error of a file that breaks off or is damaged."""
    what = "The file cannot be read; it may be truncated."
    return DataError(what, where=str(path), got=str(got), expected=expected, hint=hint)


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
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\n\r'):
            expected = 'such as "," ";" "|" or a tab, which the shell writes as data.csv.delimiter="\\t"'
            what, got = "A delimiter is one character.", repr(self.delimiter)
            raise ConfigError(what, where="data.csv.delimiter", got=got, expected=expected)
        if self.decimal not in (None, ".", ","):
            what, got = "This is no decimal mark.", repr(self.decimal)
            raise ConfigError(what, where="data.csv.decimal", got=got, expected='".", "," or null')
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError as error:
            what, expected = "There is no such encoding.", "such as utf-8, cp1252, latin-1, utf-16, gbk, shift_jis"
            raise ConfigError(what, where="data.csv.encoding", got=self.encoding, expected=expected) from error


@dataclass(frozen=True)
class CsvFile:
    """One CSV file, and how it is written.

    Attributes:
        delimiter, encoding: As Python's modules name them.
        skipped: Lines before the heads: comments that begin with ``#``, and empty ones.
        heads: The names of the columns, without blanks at their ends.
    """

    path: Path
    delimiter: str
    encoding: str
    skipped: int
    heads: tuple[str, ...]

    @property
    def described(self) -> str:
        """How the columns were told apart, for messages."""
        return f"separated by {_DELIMITERS.get(self.delimiter, repr(self.delimiter))}s"

    @classmethod
    def recognised(cls, path: Path, given: CsvFormat, wanted: Sequence[str]) -> CsvFile:
        """Return how a file is written: its delimiter is the one that gives the columns `wanted`, or most of them.

        Raises:
            DataError: When the file is empty or not written in its encoding; with the first line that is not.
        """
        try:
            encoding = given.encoding or _marked(_opened(path).read(4))
            for _ in _decoded(_opened(path), encoding):
                pass  # the whole file once: a column of codes must not hold half a character
            with _text(path, encoding) as lines:
                rest = ((at, line) for at, line in enumerate(lines) if line.strip() and not line.startswith("#"))
                skipped, head = next(rest, (0, ""))
        except (pa.ArrowException, OSError, EOFError) as error:
            raise unreadable(path, error, "a CSV file") from error
        except ValueError as error:
            other = "utf-16-le" if str(error) == _ZEROS else "cp1252" if given.encoding is None else "utf-8"
            what, expected = "The file is in another encoding.", "UTF-8, UTF-16 with its mark, or data.csv.encoding"
            hint = f"data.csv.encoding={other}, or what the program that wrote it uses, such as latin-1 or gbk"
            raise DataError(what, where=str(path), got=str(error), expected=expected, hint=hint) from error
        if not head:
            what = "The file cannot be read: it has no line of column names."
            raise DataError(what, where=str(path), expected="a CSV file")
        delimiters = _DELIMITERS if given.delimiter is None else [given.delimiter]
        found = [(cut, tuple(map(str.strip, next(csv.reader([head], delimiter=cut), [])))) for cut in delimiters]
        best, heads = max(found, key=lambda cut: (len(set(wanted) & set(cut[1])), len(cut[1])))
        return cls(path, best, encoding, skipped, heads)

    def read(self, columns: Mapping[str, int]) -> pa.Table:
        """Return some columns of the file (name → position) as text; an empty cell is null.

        Raises:
            DataError: When lines do not have as many cells as there are heads, or the file breaks off.
        """
        names = [f"c{at}" for at in range(len(self.heads))]
        chosen = {names[at]: pa.string() for at in columns.values()}
        encoding = self.encoding.removesuffix("-sig")  # Arrow skips the mark of UTF-8 itself
        empty = {"strings_can_be_null": True, "null_values": [""]}
        try:
            table = pacsv.read_csv(
                _opened(self.path),
                pacsv.ReadOptions(column_names=names, skip_rows=self.skipped + 1, encoding=encoding),
                pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                pacsv.ConvertOptions(include_columns=list(chosen), column_types=chosen, **empty),
            )
        except (pa.ArrowException, OSError, EOFError) as error:
            if "Empty CSV file" in str(error):
                return pa.table({name: pa.array([], pa.string()) for name in columns})
            raise unreadable(self.path, error, f"lines of {len(names)} cells, {self.described}") from error
        return table.rename_columns(list(columns))

    def spot(self, row: int) -> str:
        """Return the line (from 1) on which a row (from 0) begins; the file is read again, for messages only."""
        before = 0
        with _text(self.path, self.encoding) as lines:
            reader = csv.reader(islice(lines, self.skipped + 1, None), delimiter=self.delimiter)
            for cells in reader:
                row -= bool(cells)  # an empty line is no row
                if row < 0:
                    break
                before = reader.line_num
        return f"line {self.skipped + before + 2}"


def _marked(content: bytes) -> str:
    return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")


def _opened(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="detect")


def _text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_opened(path), encoding=encoding, newline="")


def _decoded(stream: Any, encoding: str) -> Iterator[str]:
    """Yield a file's text batch by batch; raises ValueError, which says what is no text and on which line it stands."""
    lines = 1
    try:
        for text in codecs.iterdecode(iter(lambda: stream.read(_BATCH), b""), encoding):
            if encoding.startswith("utf-8") and "\0" in text:
                raise ValueError(_ZEROS)
            lines += text.count("\n") or text.count("\r")
            yield text
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8") and b"\0" in error.object:
            raise ValueError(_ZEROS) from error
        bad, line = error.object[error.start : error.end], lines + error.object[: error.start].count(b"\n")
        raise ValueError(f"the bytes {bad.hex(' ')} on line {line}, which are not {encoding}") from error
