"""Columns of a table, of whatever type they are stored in, as codes, numbers and times; what is none is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.data.codes import check_codes
from harness.data.dates import moments_of
from harness.data.text_files import SHOWN, first_of
from harness.errors import ConfigError, DataError

Integers = npt.NDArray[np.int64]
EPOCHS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Time formats that count from 1970-01-01 00:00 UTC → nanoseconds of each unit."""

_WHOLE = r"^-?[0-9]+$"
_BLANKS = r" '’\x{a0}\x{202f}"
# Numbers by their decimal mark: digits with an exponent, or in groups of three by the other mark or by blanks.
_GROUPED = rf"[0-9]{{1,3}}(?:[{_BLANKS}][0-9]{{3}})+|[0-9]{{1,3}}(?:%s[0-9]{{3}})+"
_NUMBER = {
    mark: rf"^[-+]?(?:(?:{_GROUPED % other})(?:{own}[0-9]*)?|(?:[0-9]+{own}?[0-9]*|{own}[0-9]+)(?:[eE][-+]?[0-9]+)?)$"
    for mark, own, other in ((".", r"\.", ","), (",", ",", r"\."))
}
# What other programs write for "nothing" in a column of numbers; as pandas and Arrow read them.
_NOTHING = pa.array(["", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "-nan", "#n/a n/a", "<na>"])
_NO_TIME = np.iinfo(np.int64).min  # as NumPy counts NaT
_YEAR = re.compile(r"(?<!%)(?:%%)*%[YyGcx]")
_ZONED = re.compile(r"(?P<local>.*[0-9])\s*(?:Z|[+-][0-9]{2}:?[0-9]{2})$")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})(.*)")


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read.

    Attributes:
        spot: Says where a row (from 0) stands: ``row 5``, or ``line 7`` of a text file.
        is_text: Whether the file holds only text, as CSV does: then numbers and nothings are read from it.
    """

    name: str
    values: pa.ChunkedArray
    path: Path
    spot: Callable[[int], str]
    is_text: bool = False

    @property
    def kind(self) -> pa.DataType:
        """The type of its values, of a dictionary-encoded column that of the dictionary."""
        kind = self.values.type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    @property
    def holds_text(self) -> bool:
        """Whether its values are text, however it is stored."""
        return self.kind in (pa.string(), pa.large_string(), pa.string_view())

    def distinct(self) -> tuple[list[Any], Integers]:
        """Return the distinct values, those that a category declares too, and (n,) the index of each row's."""
        values = self.values.cast(pa.large_string()) if pa.types.is_string_view(self.values.type) else self.values
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        encoded = encoded.unify_dictionaries()
        indices = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
        return encoded.chunk(0).dictionary.to_pylist(), indices

    def wrong_type(self, rows: Sequence[int], expected: str, hint: str | None = None) -> DataError:
        """Return the error of values (at `rows`, or all) that are not what they should be."""
        bad = rows or range(len(self.values))
        return DataError(
            f"{len(bad)} value(s) of column `{self.name}` have the wrong type.",
            where=str(self.path),
            got=f"{self.values.type}, {first_of(f'{self.spot(row)}: {self.values[row].as_py()!r}' for row in bad)}",
            expected=expected,
            hint=hint,
        )

    def refuse_empty(self) -> None:
        """Refuse a column of keys that has empty cells."""
        empty = np.flatnonzero(pc.is_null(self.values, nan_is_null=True).to_numpy())
        if empty.size:
            raise DataError(
                f"{empty.size} row(s) have no key in column `{self.name}`.",
                where=str(self.path),
                got=f"the first: {', '.join(self.spot(at) for at in empty[:SHOWN].tolist())}",
                expected="a time and an instrument in every row",
            )


def instruments_of(column: Column) -> tuple[Integers, tuple[str, ...], Integers]:
    """Return the instruments of a column of text, whole numbers, or categories of either; numbers as their digits.

    Returns:
        (n,) index of each row's code; the N codes that occur, sorted; (N,) the place of each in the order of the
        column's own type: whole numbers by size, categories as they are declared, text as the codes.

    Raises:
        DataError: When it is of another type, a row has none, or a code cannot be kept as it is.
    """
    if not (column.holds_text or pa.types.is_integer(column.kind)):
        hint = "leading zeros and text are kept when the column is text, in pandas: frame[column].astype(str)"
        raise column.wrong_type([], "text, or whole numbers", hint)
    column.refuse_empty()
    values, indices = column.distinct()
    texts = [str(value) for value in values]
    used = np.flatnonzero(np.bincount(indices, minlength=len(texts)))
    check_codes([texts[at] for at in used.tolist()], where=str(column.path))  # first: NumPy drops zero bytes at an end
    names, inverse = np.unique(np.array(texts, dtype=np.str_)[used], return_inverse=True)
    code = np.zeros(len(texts), dtype=np.int64)
    code[used] = inverse
    ranks = np.arange(names.size)
    if pa.types.is_dictionary(column.values.type):
        ranks[inverse] = used
    elif all(re.fullmatch(_WHOLE, name) for name in names):
        ranks[sorted(range(names.size), key=lambda at: (int(names[at]), at))] = np.arange(names.size)
    return code[indices], tuple(names.tolist()), ranks


def numbers_of(columns: Sequence[Column], decimal: str | None) -> list[npt.NDArray[np.float32]]:
    """Return each column as float32, NaN where it is empty.

    The decimal mark of all columns together is `decimal`, or the one that the numbers leave no doubt about.

    Raises:
        DataError: With the first values that are no numbers and where they stand, or when the decimal mark is in doubt.
    """
    texts = [column for column in columns if column.holds_text]
    cleaned = {column.name: _cleaned(column) for column in texts}
    read = None if decimal == "," else _plain_numbers(cleaned)
    if read is None:
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
    kind, values = column.kind, column.values
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan, dtype=np.float32)
    if read is None and not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise column.wrong_type([], "numbers")
    numbers = (values.cast(kind) if read is None else read).cast(pa.float32(), safe=False)
    return np.asarray(numbers.to_numpy(), dtype=np.float32)


def _cleaned(column: Column) -> pa.ChunkedArray:
    """Return text without blanks at its ends, and null where it stands for nothing."""
    text = pc.utf8_trim_whitespace(column.values.cast(pa.large_string()))
    nothing = _NOTHING if column.is_text else _NOTHING[:2]
    return pc.if_else(pc.is_in(pc.utf8_lower(text), nothing.cast(pa.large_string())), pa.scalar(None, text.type), text)


def _decimal(columns: Sequence[Column], cleaned: Mapping[str, pa.ChunkedArray]) -> str:
    """Return the decimal mark that all numbers agree on; a point where nothing says otherwise."""
    first: dict[str, tuple[Column, int]] = {}  # of the values that say point, comma, or could be read either way
    for column in columns:
        text = cleaned[column.name]
        point, comma = (_matches(text, _NUMBER[mark]) for mark in ".,")
        has_comma, leads_zero = _matches(text, ","), _matches(text, "^[-+]?0[0-9]*[.,]")  # no group begins with zero
        for what, found in (
            ("point", point & ~has_comma & leads_zero | point & ~comma),
            ("comma", comma & has_comma & leads_zero | comma & ~point),
            ("doubtful", point & comma & has_comma & ~leads_zero),
        ):
            if what not in first and found.any():
                first[what] = column, int(found.argmax())
    if "comma" in first and "point" not in first:
        return ","
    if "comma" not in first and ("point" in first or "doubtful" not in first):
        return "."
    shown = [first[what] for what in ("point", "comma", "doubtful") if what in first]
    raise DataError(
        "Points and commas in the numbers can be read in two ways.",
        where=str(columns[0].path),
        got="".join(f"\n    {c.spot(at)}, {c.name}: {c.values[at].as_py()!r}" for c, at in shown),
        expected="one decimal mark in the whole file",
        hint='data.csv.decimal="," reads 1.234,5 and data.csv.decimal="." reads 1,234.5',
    )


def _parsed(column: Column, text: pa.ChunkedArray, mark: str) -> pa.ChunkedArray:
    """Return text as numbers whose decimal mark is `mark`; the other mark, blanks and apostrophes group thousands."""
    bad = np.flatnonzero(~_matches(text, _NUMBER[mark], empty=True))
    if bad.size:
        hint = "an empty cell means: no value" if column.is_text else None
        raise column.wrong_type(bad.tolist(), "finite numbers", hint)
    text = pc.replace_substring_regex(text, rf"^\+|[{_BLANKS}{'.' if mark == ',' else ','}]", "")
    return pc.replace_substring(text, mark, ".").cast(pa.float64())


def _matches(text: pa.ChunkedArray, pattern: str, empty: bool = False) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.fill_null(pc.match_substring_regex(text, pattern), empty).to_numpy()
    return found


def check_times(time_format: str | None, timezone: str | None) -> None:
    """Raise a ConfigError for a time format without a year, or a time zone that does not exist."""
    if time_format is not None and time_format not in EPOCHS and not _YEAR.search(time_format):
        raise _no_time_format(time_format, "it names no year")
    try:
        ZoneInfo(timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        what, expected = "There is no such time zone.", "such as UTC, America/New_York, Asia/Shanghai"
        raise ConfigError(what, where="data.timezone", got=timezone, expected=expected) from error


def times_of(column: Column, time_format: str | None, timezone: str | None) -> Integers:
    """Return (n,) int64 nanoseconds since 1970, on the clock of the data.

    Args:
        column: Of dates, timestamps, text or numbers.
        time_format: How times are written, as in ``%d/%m/%Y``, or what they count since 1970: a key of `EPOCHS`. None
            reads times, dates and text with the year first.
        timezone: On which clock times with a zone are read; None refuses such times.

    Raises:
        DataError: When a row has no time, or one that cannot be read in one way only; with the option to set.
        ConfigError: When a time zone is given for times that have none.
    """
    kind = column.kind
    column.refuse_empty()
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _stamps(column, time_format, timezone)
    if not (column.holds_text or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise column.wrong_type([], "dates, or timestamps without a time zone")
    # Each distinct text or number is read once: a table has far fewer times than rows.
    given, indices = column.distinct()
    whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in given)
    texts = [value.strip() if isinstance(value, str) else repr(value) for value in whole]
    if time_format in EPOCHS:
        known = _epochs(texts, EPOCHS[str(time_format)], timezone)
    else:
        zoned = "%z" in (time_format or "")
        if time_format is None:
            zoned = any(_ZONED.fullmatch(text) and ":" in text for text in texts)
        _check_zone(column, "UTC" if zoned else None, timezone)
        is_plain = time_format is None and not zoned
        known = _nanoseconds(moments_of(texts)[0]) if is_plain else _formatted(texts, time_format, timezone)
    times: Integers = known[indices]
    bad = np.flatnonzero(times == _NO_TIME)
    if bad.size:
        expected = f"times like {time_format}" if time_format else "dates such as 2019-03-01, or with a clock time"
        raise column.wrong_type(bad.tolist(), expected, _format_hint([texts[at] for at in indices[bad]]))
    return times


def _no_time_format(given: str | None, why: str) -> ConfigError:
    expected = f"such as %d/%m/%Y or %Y-%m-%d %H:%M, or one of {', '.join(EPOCHS)} since 1970"
    return ConfigError("This is no time format.", where="data.time_format", got=f"{given!r}: {why}", expected=expected)


def _check_zone(column: Column, zone: str | None, timezone: str | None) -> None:
    """Refuse times with a `zone` without the `timezone` on whose clock they are read, and the other way round."""
    name = column.name
    if zone is None and timezone is not None:
        raise ConfigError(
            "A time zone is given, but the times have none.",
            where="data.timezone",
            got=f"{timezone} for `{name}`, as in {column.values[0].as_py()!s}",
            expected="null: times without a zone are taken as they are",
        )
    if zone is not None and timezone is None:
        clock = zone if "/" in zone else "UTC"
        hint = (
            f"data.timezone={clock} reads them on that clock, or where they were written down, such as "
            f"data.timezone=America/New_York; or in pandas: frame[{name!r}] = pandas.to_datetime(frame[{name!r}], "
            f"utc=True).dt.tz_convert({clock!r}).dt.tz_localize(None)"
        )
        raise column.wrong_type([], "dates or times without a time zone", hint)


def _nanoseconds(moments: Any) -> Integers:
    return np.asarray(moments).astype("M8[ns]").astype(np.int64)


def _on_clock(moments: pd.Series, timezone: str | None) -> Integers:
    return _nanoseconds(moments.dt.tz_convert(timezone).dt.tz_localize(None).to_numpy())


def _stamps(column: Column, time_format: str | None, timezone: str | None) -> Integers:
    kind = column.kind
    if time_format is not None:
        raise ConfigError(
            "A time format is given for a column that holds times already.",
            where="data.time_format",
            got=f"{time_format} for `{column.name}` of type {kind}",
            expected="null",
        )
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    _check_zone(column, zone, timezone)
    try:
        values = column.values.cast(kind)
        if zone is not None:
            values = pc.local_timestamp(values.cast(pa.timestamp(kind.unit, timezone)))
        return _nanoseconds(values.cast(pa.timestamp("ns")).to_numpy())
    except pa.ArrowInvalid as error:
        what = f"Column `{column.name}` holds a time that does not fit."
        raise DataError(what, where=str(column.path), got=str(error), expected="1678 … 2262") from error


def _epochs(texts: Sequence[str], per: int, timezone: str | None) -> Integers:
    stamps = np.full(len(texts), _NO_TIME, dtype=np.int64)
    for at, text in enumerate(texts):
        if re.fullmatch(r"-?[0-9]+", text) and abs(int(text) * per) < 2**63:
            stamps[at] = int(text) * per
        elif re.fullmatch(r"-?[0-9]+\.[0-9]+", text) and abs(float(text) * per) < 2**63:
            stamps[at] = round(float(text) * 10**6) * (per // 10**6) if per >= 10**6 else round(float(text) * per)
    if timezone is None:
        return stamps
    return _on_clock(pd.Series(stamps.astype("M8[ns]")).dt.tz_localize("UTC"), timezone)


def _formatted(texts: Sequence[str], time_format: str | None, timezone: str | None) -> Integers:
    read: Callable[..., pd.Series] = pd.to_datetime
    given, form = pd.Series(list(texts), dtype=object), time_format or "ISO8601"
    try:
        moments = read(given, format=form, errors="coerce", utc=timezone is not None)
    except ValueError as error:  # what cannot be read is coerced: it is the format itself
        raise _no_time_format(time_format, str(error)) from error
    return _nanoseconds(moments.to_numpy()) if timezone is None else _on_clock(moments, timezone)


def _format_hint(texts: Sequence[str]) -> str:
    """Return the option that would read such texts: day and month are told apart by what no month can be."""
    if all(re.fullmatch(r"[0-9]{9,19}", text) for text in texts):
        unit = list(EPOCHS)[min((len(texts[0]) - 9) // 3, 3)]
        return f"data.time_format={unit} counts from 1970-01-01 00:00 UTC"
    parts = [found.groups() for text in texts if (found := _YEAR_LAST.fullmatch(text))]
    if len(parts) < len(texts):
        return "data.time_format=… says how they are written, such as %d/%m/%Y or %d-%b-%Y %H:%M"
    mark, year = parts[0][1], "%Y" if len(parts[0][3]) == 4 else "%y"
    clock = {0: "", 6: " %H:%M", 9: " %H:%M:%S"}.get(len(parts[0][4]), " …")
    first, second = f"%d{mark}%m{mark}{year}{clock}", f"%m{mark}%d{mark}{year}{clock}"
    if any(int(part[0]) > 12 for part in parts):
        return f"data.time_format='{first}'"
    if any(int(part[2]) > 12 for part in parts):
        return f"data.time_format='{second}'"
    return f"data.time_format='{first}' or '{second}': only you know whether day or month comes first"
