"""Columns of a table, of whatever type they are stored in, as codes and numbers; what is neither is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.data.codes import check_codes
from harness.errors import DataError

_SHOWN = 5
_WHOLE = r"^-?[0-9]+$"
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_GROUPS = r"^[-+]?[0-9]{1,3}([ '’\x{a0}\x{202f}][0-9]{3})+([.,][0-9]+)?$"
_POINT = (
    r"^[-+]?[0-9]*\.[0-9]*([eE][-+]?[0-9]+)?$|^[-+]?[0-9]{1,3}(,[0-9]{3})+\.[0-9]*$|^[-+]?[0-9]{1,3}(,[0-9]{3}){2,}$"
)
_COMMA = (
    r"^[-+]?[0-9]*,[0-9]*([eE][-+]?[0-9]+)?$|^[-+]?[0-9]{1,3}(\.[0-9]{3})+,[0-9]*$|^[-+]?[0-9]{1,3}(\.[0-9]{3}){2,}$"
)
_EITHER = r"^[-+]?[1-9][0-9]{0,2}[.,][0-9]{3}$"
_THOUSANDS = {".": r"^[-+]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$", ",": r"^[-+]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]*)?$"}
# What other programs write for "nothing" in a column of numbers; as pandas and Arrow read them.
_NOTHING = pa.array(["", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "-nan", "#n/a n/a", "<na>"])


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read.

    Attributes:
        name: What it is called in the file.
        values: Its n values.
        path: The file, for messages.
        spot: Says where a row (from 0) stands: ``row 5``, or ``line 7`` of a text file.
        is_text: Whether the file holds only text, as CSV does: then numbers and nothings are read from it.
    """

    name: str
    values: pa.ChunkedArray
    path: Path
    spot: Callable[[int], str]
    is_text: bool = False


@dataclass(frozen=True, eq=False)
class Instruments:
    """The instruments of n rows.

    Attributes:
        codes: (n,) int64 index into `names`.
        names: The codes that occur, sorted.
        ranks: (N,) int64, the place of each in the order of the column's own type: whole numbers by size, categories as
            they are declared, text as `names`.
    """

    codes: npt.NDArray[np.int64]
    names: tuple[str, ...]
    ranks: npt.NDArray[np.int64]


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary-encoded column, or the type itself."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def instruments_of(column: Column) -> Instruments:
    """Return the instruments of a column of text, whole numbers, or categories of either; numbers as their digits.

    Raises:
        DataError: When it is of another type, a row has none, or a code cannot be kept as it is.
    """
    values, kind = column.values, plain(column.values.type)
    if not (is_text(kind) or pa.types.is_integer(kind)):
        hint = "leading zeros and text are kept when the column is text, in pandas: frame[column].astype(str)"
        raise wrong_type(column, [], "text, or whole numbers", hint)
    refuse_empty(column, "a time and an instrument in every row")
    declared = pa.types.is_dictionary(values.type)
    if not declared:
        values = (values.cast(pa.large_string()) if is_text(kind) else values).dictionary_encode()
    encoded = values.unify_dictionaries()
    indices = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
    texts = [str(value) for value in encoded.chunk(0).dictionary.to_pylist()]
    used = np.flatnonzero(np.bincount(indices, minlength=len(texts)))
    check_codes([texts[at] for at in used.tolist()], where=str(column.path))  # first: NumPy drops zero bytes at an end
    names, inverse = np.unique(np.array(texts, dtype=np.str_)[used], return_inverse=True)
    code = np.zeros(len(texts), dtype=np.int64)
    code[used] = inverse
    ranks = np.arange(names.size)
    if declared:
        ranks[inverse] = used
    elif pc.all(pc.match_substring_regex(pa.array(names.tolist()), _WHOLE)).as_py():
        order = sorted(range(names.size), key=lambda at: (int(names[at]), at))
        ranks[order] = np.arange(names.size)
    return Instruments(code[indices], tuple(names.tolist()), ranks)


def numbers_of(columns: Sequence[Column], decimal: str | None) -> list[npt.NDArray[np.float32]]:
    """Return each column as float32, NaN where it is empty.

    Text is read where every value is a number: the decimal mark of all columns together is `decimal`, or the one that
    the numbers leave no doubt about.

    Raises:
        DataError: With the first values that are no numbers and where they stand, or when the decimal mark is in doubt.
    """
    texts = [column for column in columns if is_text(plain(column.values.type))]
    cleaned = {column.name: _cleaned(column) for column in texts}
    if decimal in (None, ".") and (read := _plain_numbers(cleaned)) is not None:
        return [_numbers(column, read.get(column.name)) for column in columns]
    mark = decimal or _decimal(texts, cleaned)
    read = {column.name: _parsed(column, cleaned[column.name], mark) for column in texts}
    return [_numbers(column, read.get(column.name)) for column in columns]


def _plain_numbers(cleaned: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray] | None:
    """Return text as numbers where all of it is finite numbers with a decimal point and no other mark, else None."""
    try:
        read = {name: text.cast(pa.float64()) for name, text in cleaned.items()}
    except pa.ArrowInvalid:
        return None
    return read if all(pc.all(pc.is_finite(values)).as_py() is not False for values in read.values()) else None


def _numbers(column: Column, read: pa.ChunkedArray | None) -> npt.NDArray[np.float32]:
    kind = plain(column.values.type)
    if pa.types.is_null(kind):
        return np.full(len(column.values), np.nan, dtype=np.float32)
    if read is not None:
        numbers = read
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        numbers = column.values.cast(kind) if pa.types.is_dictionary(column.values.type) else column.values
    else:
        raise wrong_type(column, [], "numbers")
    values: npt.NDArray[np.float32] = numbers.cast(pa.float32(), safe=False).to_numpy()
    return values


def _cleaned(column: Column) -> pa.ChunkedArray:
    """Return text without blanks at its ends, and null where it stands for nothing."""
    text = pc.utf8_trim_whitespace(column.values.cast(pa.large_string()))
    nothing = _NOTHING if column.is_text else _NOTHING[:2]
    return pc.if_else(pc.is_in(pc.utf8_lower(text), nothing.cast(pa.large_string())), pa.scalar(None, text.type), text)


def _decimal(columns: Sequence[Column], cleaned: dict[str, pa.ChunkedArray]) -> str:
    """Return the decimal mark that all numbers agree on; a point where nothing says otherwise."""
    point: tuple[Column, int] | None = None
    comma: tuple[Column, int] | None = None
    doubtful: tuple[Column, int] | None = None
    for column in columns:
        text = cleaned[column.name]
        either = _matches(text, _EITHER)
        has_comma = _matches(text, ",")
        point = point or _first(column, _matches(text, _POINT) & ~either)
        comma = comma or _first(column, _matches(text, _COMMA) & ~either)
        doubtful = doubtful or _first(column, either & has_comma)
    if comma is not None and point is None:
        return ","
    if comma is None and (point is not None or doubtful is None):
        return "."
    shown = [
        f"    {c.spot(at)}, {c.name}: {c.values[at].as_py()!r}" for c, at in filter(None, (point, comma, doubtful))
    ]
    raise DataError(
        "Points and commas in the numbers can be read in two ways.",
        where=str(columns[0].path),
        got="\n".join(["", *shown]),
        expected="one decimal mark in the whole file",
        hint='data.csv.decimal="," reads 1.234,5 and data.csv.decimal="." reads 1,234.5',
    )


def _parsed(column: Column, text: pa.ChunkedArray, mark: str) -> pa.ChunkedArray:
    """Return text as numbers whose decimal mark is `mark`; the other mark, blanks and apostrophes group thousands."""
    if pc.any(_matching(text, r"[ '’\x{a0}\x{202f}]")).as_py():
        grouped = _matching(text, _GROUPS)
        text = pc.if_else(grouped, pc.replace_substring_regex(text, r"[ '’\x{a0}\x{202f}]", ""), text)
    other = "," if mark == "." else "."
    if pc.any(pc.match_substring(text, other)).as_py():
        grouped = _matching(text, _THOUSANDS[mark])
        text = pc.if_else(grouped, pc.replace_substring(text, other, ""), pc.replace_substring(text, other, "?"))
    if mark == ",":
        text = pc.replace_substring(text, ",", ".")
    bad = np.flatnonzero(~pc.fill_null(_matching(text, _NUMBER), True).to_numpy())
    if bad.size:
        hint = None if not column.is_text else "an empty cell means: no value"
        raise wrong_type(column, bad.tolist(), "finite numbers", hint)
    return pc.replace_substring_regex(text, r"^\+", "").cast(pa.float64())


def _matching(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.match_substring_regex(text, pattern)


def _matches(text: pa.ChunkedArray, pattern: str) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.fill_null(_matching(text, pattern), False).to_numpy()
    return found


def _first(column: Column, found: npt.NDArray[np.bool_]) -> tuple[Column, int] | None:
    return (column, int(found.argmax())) if found.any() else None


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of a type are text, however it is stored."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def refuse_empty(column: Column, expected: str) -> None:
    """Refuse a column of keys that has empty cells.

    Raises:
        DataError: With the number of such rows and where the first ones stand.
    """
    empty = np.flatnonzero(pc.is_null(column.values, nan_is_null=True).to_numpy())
    if empty.size:
        shown = ", ".join(column.spot(at) for at in empty[:_SHOWN].tolist())
        raise DataError(
            f"{empty.size} row(s) have no key in column `{column.name}`.",
            where=str(column.path),
            got=f"the first: {shown}",
            expected=expected,
        )


def wrong_type(column: Column, rows: Sequence[int], expected: str, hint: str | None = None) -> DataError:
    """Return the error of a column whose values (at `rows`, or all) are not what they should be."""
    bad = rows or range(len(column.values))
    shown = "\n".join(f"    {column.spot(row)}: {column.values[row].as_py()!r}" for row in bad[:_SHOWN])
    return DataError(
        f"{len(bad)} value(s) of column `{column.name}` have the wrong type.",
        where=str(column.path),
        got=f"{column.values.type}, the first:\n{shown}",
        expected=expected,
        hint=hint,
    )
