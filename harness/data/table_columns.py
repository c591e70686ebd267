"""Columns of a table, of whatever type they are stored in, as codes, numbers and times; what is none is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.data.codes import check_codes
from harness.data.dates import moments_of
from harness.data.text_files import first_of
from harness.errors import ConfigError, DataError
from harness.store.arrow import array_of

Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
EPOCHS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Time formats that count from 1970-01-01 00:00 UTC → nanoseconds of each unit."""

_MOST_DAYS = 106_751  # since 1970, or before, that nanoseconds can count
_BLANKS = r" '’\x{a0}\x{202f}"
# Numbers by their decimal mark: digits with an exponent, or in groups of three by the other mark or by blanks.
# No group begins with zero: 0.123 has a decimal point.
_GROUPED = rf"[0-9]{{1,3}}(?:[{_BLANKS}][0-9]{{3}})+|[1-9][0-9]{{0,2}}(?:%s[0-9]{{3}})+"
_NUMBER = {
    mark: rf"^[-+]?(?:(?:{_GROUPED % other})(?:{own}[0-9]*)?|(?:[0-9]+{own}?[0-9]*|{own}[0-9]+)(?:[eE][-+]?[0-9]+)?)$"
    for mark, own, other in ((".", r"\.", ","), (",", ",", r"\."))
}
# What other programs write for "nothing" in a column of numbers; as pandas and Arrow read them.
_NOTHING = ("", "nan", "na", "n/a", "#n/a", "#na", "null", "none", "-nan", "#n/a n/a", "<na>")
_NUMERIC = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
_COUNT = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]+)?")
_YEAR = re.compile(r"(?<!%)(?:%%)*%[YyGcx]")
_ZONED = re.compile(r"(?P<local>.*[0-9])\s*(?:Z|[+-][0-9]{2}:?[0-9]{2})$")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})(.*)")


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read.

    Attributes:
        spot: Says where a row (from 0) stands: ``row 5``, or ``line 7`` of a text file.
        is_text: Whether the file holds only text, as CSV does: then numbers and nothings are read from it.
        is_category: Whether the file declares its values as categories, in an order of their own.
    """

    name: str
    values: pa.ChunkedArray
    path: Path
    spot: Callable[[int], str]
    is_text: bool = False
    is_category: bool = False

    @property
    def kind(self) -> pa.DataType:
        """The type of its values, of a dictionary-encoded column that of the dictionary."""
        kind = self.values.type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    @property
    def holds_text(self) -> bool:
        """Whether its values are text, however it is stored."""
        return self.kind in (pa.string(), pa.large_string(), pa.string_view())

    @property
    def _has_empty_category(self) -> bool:
        is_coded = pa.types.is_dictionary(self.values.type)
        return is_coded and any(chunk.dictionary.null_count for chunk in self.values.chunks)

    def distinct(self) -> tuple[list[Any], npt.NDArray[np.integer[Any]]]:
        """Return the distinct values, those that a category declares too, and (n,) the index of each row's."""
        values = self.values.cast(pa.large_string()) if pa.types.is_string_view(self.values.type) else self.values
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        if self._has_empty_category and encoded.num_chunks > 1:  # Arrow joins no dictionaries that hold a null
            encoded = encoded.cast(self.kind).dictionary_encode()
        encoded = encoded.unify_dictionaries().combine_chunks()
        places = array_of(pa.chunked_array([encoded.indices]))
        return encoded.dictionary.to_pylist(), places if places.dtype.kind == "i" else places.astype(np.int64)

    def wrong_type(self, rows: Sequence[int], expected: str, hint: str | None = None) -> DataError:
        """Return the error of values (at `rows`, or all) that are not what they should be."""
        bad = rows or range(len(self.values))
        what = f"{len(bad)} value(s) of column `{self.name}` have the wrong type."
        got = f"{self.values.type}, {first_of(f'{self.spot(row)}: {_shown(self.values[row])}' for row in bad)}"
        return DataError(what, where=self.path, got=got, expected=expected, hint=hint)

    def refuse_empty(self) -> None:
        """Refuse a column of keys that has empty cells."""
        has_empty = self._has_empty_category
        if not (has_empty or self.values.null_count or pa.types.is_floating(self.kind)):
            return  # as most are: what follows loads Arrow's functions, which takes longer than to read a panel's times
        values = self.values.cast(self.kind) if has_empty else self.values
        empty = np.flatnonzero(array_of(values.is_null(nan_is_null=True).cast(pa.uint8())))
        if empty.size:
            what, expected = f"{empty.size} row(s) have no key in column `{self.name}`.", "one in every row"
            raise DataError(what, where=self.path, got=first_of(map(self.spot, empty.tolist())), expected=expected)


def _shown(value: pa.Scalar, text: Callable[[Any], str] = repr) -> str:
    try:
        return text(value.as_py())
    except (OverflowError, ValueError):  # a time that Python has none for, or with more digits than it keeps
        return f"a {value.type} that is out of range"


Texts = Mapping[Column, pa.ChunkedArray]


def instruments_of(column: Column) -> tuple[tuple[str, ...], Integers, Integers]:
    """Return the instruments of a column of text, whole numbers, or categories of either; numbers as their digits.

    Returns:
        The codes that occur, sorted; (n,) the place of each row's among them; (n,) where it stands in the order of the
        column's own type: whole numbers by size, categories as they are declared, text as the codes.

    Raises:
        DataError: When it is of another type, a row has none, or a code cannot be kept as it is.
    """
    if not (column.holds_text or pa.types.is_integer(column.kind)):
        hint = "leading zeros and text are kept when the column is text, in pandas: frame[column].astype(str)"
        raise column.wrong_type([], "text, or whole numbers", hint)
    column.refuse_empty()
    values, indices = column.distinct()
    used = np.flatnonzero(np.bincount(indices, minlength=len(values)))  # a category may declare codes that no row has
    texts = [str(values[at]) for at in used.tolist()]
    check_codes(texts, where=str(column.path))
    instruments = tuple(sorted(set(texts)))
    position = {text: at for at, text in enumerate(instruments)}

    def each(ranks: Sequence[int]) -> Integers:
        found = np.zeros(len(values), dtype=np.int64)
        found[used] = ranks
        ranked: Integers = found[indices]
        return ranked

    codes = each([position[text] for text in texts])
    if column.is_category:
        return instruments, codes, indices.astype(np.int64)
    if all(re.fullmatch("-?[0-9]+", text) for text in texts):
        numbers = [int(text) for text in texts]
        rank = {number: at for at, number in enumerate(sorted(set(numbers)))}
        return instruments, codes, each([rank[number] for number in numbers])
    return instruments, codes, codes


def numbers_of(columns: Sequence[Column], decimal: str | None) -> list[npt.NDArray[np.float32]]:
    """Return each column as float32, NaN where it is empty.

    The decimal mark of all columns together is `decimal`, or the one that the numbers leave no doubt about.

    Raises:
        DataError: With the first values that are no numbers and where they stand, or when the decimal mark is in doubt.
    """
    texts = {column: _cleaned(column) for column in columns if column.holds_text}
    read = _numbers_in(texts, decimal) if texts else {}
    found = []
    for column in columns:
        values = read.get(column)
        if values is None:
            if not any(is_one(column.kind) for is_one in _NUMERIC):
                raise column.wrong_type([], "numbers")
            values = _as(column.values, column.kind)
        values = _as(values, pa.float32(), safe=False)
        found.append(array_of(values.fill_null(float("nan")) if values.null_count else values))
    return found


def _as(values: pa.ChunkedArray, kind: pa.DataType, *, safe: bool = True) -> pa.ChunkedArray:
    """Return values as another type; those that are of that type already without loading Arrow's functions."""
    return values if values.type == kind else values.cast(kind, safe=safe)


def _cleaned(column: Column) -> pa.ChunkedArray:
    """Return text without blanks at its ends, and null where it stands for nothing."""
    import pyarrow.compute as pc  # slow to import

    text = pc.utf8_trim_whitespace(column.values.cast(pa.large_string()))
    nothing = _NOTHING if column.is_text else _NOTHING[:2]
    is_nothing = pc.is_in(pc.utf8_lower(text), pa.array(nothing, pa.large_string()))
    return pc.if_else(is_nothing, pa.scalar(None, text.type), text)


def _numbers_in(texts: Texts, decimal: str | None) -> dict[Column, pa.ChunkedArray]:
    plain = None if decimal == "," else _plain_numbers(texts)
    return _marked_numbers(texts, decimal) if plain is None else plain


def _plain_numbers(texts: Texts) -> dict[Column, pa.ChunkedArray] | None:
    """Return text as numbers where all of it is finite numbers with a decimal point and no other mark, else None."""
    import pyarrow.compute as pc  # slow to import

    try:
        read = {column: text.cast(pa.float64()) for column, text in texts.items()}
    except pa.ArrowInvalid:
        return None
    return read if all(pc.all(pc.is_finite(values)).as_py() is not False for values in read.values()) else None


def _marked_numbers(texts: Texts, decimal: str | None) -> dict[Column, pa.ChunkedArray]:
    """Return text as numbers; the mark that is not the decimal one, blanks and apostrophes group thousands."""
    import pyarrow.compute as pc  # slow to import

    fits = {
        mark: {column: _matches(text, pattern, empty=True) for column, text in texts.items()}
        for mark, pattern in _NUMBER.items()
    }
    for column in texts:
        is_number = fits[decimal][column] if decimal else fits["."][column] | fits[","][column]
        if not is_number.all():
            hint = "an empty cell means: no value" if column.is_text else None
            raise column.wrong_type(np.flatnonzero(~is_number).tolist(), "finite numbers", hint)
    mark = decimal or _decimal(texts, fits)
    grouping = rf"^\+|[{_BLANKS}{'.' if mark == ',' else ','}]"
    plain = {column: pc.replace_substring_regex(text, grouping, "") for column, text in texts.items()}
    return {column: pc.replace_substring(text, mark, ".").cast(pa.float64()) for column, text in plain.items()}


def _decimal(texts: Texts, fits: Mapping[str, Mapping[Column, Bools]]) -> str:
    """Return the decimal mark with which all text is numbers; a point where none has a comma."""
    possible = [mark for mark, found in fits.items() if all(is_number.all() for is_number in found.values())]
    commas = {column: _matches(text, ",") for column, text in texts.items()}
    if len(possible) == 1 or (possible and not any(found.any() for found in commas.values())):
        return possible[0]
    # What could be read with either mark, or else what needs the one and what needs the other.
    doubtful = [commas] if possible else [{c: ~found for c, found in fits[mark].items()} for mark in ",."]
    first = [next((c, int(bad.argmax())) for c, bad in those.items() if bad.any()) for those in doubtful]
    what, expected = "Points and commas in the numbers can be read in two ways.", "one decimal mark in the whole file"
    got = "".join(f"\n    {column.spot(at)}, {column.name}: {column.values[at].as_py()!r}" for column, at in first)
    hint = 'data.csv.decimal="," reads 1.234,5 and data.csv.decimal="." reads 1,234.5'
    raise DataError(what, where=first[0][0].path, got=got, expected=expected, hint=hint)


def _matches(text: pa.ChunkedArray, pattern: str, empty: bool = False) -> Bools:
    import pyarrow.compute as pc  # slow to import

    return array_of(pc.match_substring_regex(text, pattern).fill_null(empty).cast(pa.uint8())).astype(np.bool_)


def check_times(time_format: str | None, timezone: str | None) -> None:
    """Raise a ConfigError for a time format without a year, or a time zone that does not exist."""
    if time_format is not None and time_format not in EPOCHS and not _YEAR.search(time_format):
        raise _no_time_format(time_format, "it names no year")
    try:
        ZoneInfo(timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        what, expected = "There is no such time zone.", "such as UTC, America/New_York, Asia/Shanghai"
        raise ConfigError(what, where="data.timezone", got=timezone, expected=expected) from error


def times_of(column: Column, time_format: str | None, timezone: str | None) -> npt.NDArray[np.datetime64]:
    """Return (n,) ``datetime64[ns]``, on the clock of the data.

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
    zoned = "%z" in (time_format or "")
    if time_format is None:
        zoned = any(_ZONED.fullmatch(text) and ":" in text for text in texts)
    if time_format not in EPOCHS:
        _check_zone(column, "UTC" if zoned else None, timezone)
    if time_format is None and not zoned:
        known = moments_of(texts)[0]
    else:
        known = _formatted(texts, time_format or "ISO8601", timezone)
    times: npt.NDArray[np.datetime64] = known[indices]
    bad = np.flatnonzero(np.isnat(times))
    if bad.size:
        expected = f"times like {time_format}" if time_format else "dates such as 2019-03-01, or with a clock time"
        raise column.wrong_type(bad.tolist(), expected, _format_hint([texts[at] for at in np.unique(indices[bad])]))
    return times


def _no_time_format(given: str | None, why: str) -> ConfigError:
    expected = f"such as %d/%m/%Y or %Y-%m-%d %H:%M, or one of {', '.join(EPOCHS)} since 1970"
    return ConfigError("This is no time format.", where="data.time_format", got=f"{given!r}: {why}", expected=expected)


def _check_zone(column: Column, zone: str | None, timezone: str | None) -> None:
    """Refuse times with a `zone` without the `timezone` on whose clock they are read, and the other way round."""
    name = column.name
    if zone is None and timezone is not None:
        what, expected = "A time zone is given, but the times have none.", "null: times are taken as they are"
        got = f"{timezone} for `{name}`, as in {_shown(column.values[0], str)}"
        raise ConfigError(what, where="data.timezone", got=got, expected=expected)
    if zone is not None and timezone is None:
        clock = zone if "/" in zone else "UTC"
        hint = (
            f"data.timezone={clock} reads them on that clock, or where they were written down, such as "
            f"data.timezone=America/New_York; or in pandas: frame[{name!r}] = pandas.to_datetime(frame[{name!r}], "
            f"utc=True).dt.tz_convert({clock!r}).dt.tz_localize(None)"
        )
        raise column.wrong_type([], "dates or times without a time zone", hint)


def _stamps(column: Column, time_format: str | None, timezone: str | None) -> npt.NDArray[np.datetime64]:
    kind = column.kind
    if time_format is not None:
        what, got = "A time format is given for a column that holds times already.", f"`{column.name}` of type {kind}"
        raise ConfigError(what, where="data.time_format", got=f"{time_format} for {got}", expected="null")
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    _check_zone(column, zone, timezone)
    if column.values.type == pa.date32():
        days = array_of(pa.chunked_array([chunk.view(pa.int32()) for chunk in column.values.chunks]))
        if -_MOST_DAYS <= days.min() and days.max() <= _MOST_DAYS:
            return days.astype("M8[D]").astype("M8[ns]")
    import pyarrow.compute as pc  # slow to import

    try:
        values = column.values.cast(kind)
        if zone is not None:
            values = pc.local_timestamp(values.cast(pa.timestamp(kind.unit, timezone)))
        return array_of(values.cast(pa.timestamp("ns")).cast(pa.int64())).view("M8[ns]")
    except pa.ArrowInvalid as error:
        what = f"Column `{column.name}` holds a time that does not fit."
        raise DataError(what, where=str(column.path), got=str(error), expected="1678 … 2262") from error


def _formatted(texts: Sequence[str], time_format: str, timezone: str | None) -> npt.NDArray[np.datetime64]:
    """Return each text by a format, or as what it counts since 1970; NaT where it is neither."""
    import pandas as pd  # slow to import

    given: list[Any] = list(texts)
    per = EPOCHS.get(time_format)
    if per is not None:
        # Digits beyond these are the noise of seconds since 1970 as a float.
        counts = (round(Decimal(text), 6) * per if _COUNT.fullmatch(text) else Decimal("inf") for text in texts)
        given = [np.datetime64(round(count) if abs(count) < 2**63 else "NaT", "ns") for count in counts]
    read: Callable[..., pd.Series] = pd.to_datetime
    form = None if per is not None else time_format
    try:
        moments = read(pd.Series(given), format=form, errors="coerce", utc=timezone is not None)
    except ValueError as error:  # what cannot be read is coerced: it is the format itself
        raise _no_time_format(time_format, str(error)) from error
    local = moments if timezone is None else moments.dt.tz_convert(timezone).dt.tz_localize(None)
    return local.to_numpy().astype("M8[ns]")


def _format_hint(texts: Sequence[str]) -> str:
    """Return the option that would read such texts: the formats, if any, that read them all."""
    if all(re.fullmatch(r"[0-9]{9,19}", text) for text in texts):
        unit = list(EPOCHS)[min((len(texts[0]) - 9) // 3, 3)]
        return f"data.time_format={unit} counts from 1970-01-01 00:00 UTC"
    found, fits = _YEAR_LAST.fullmatch(texts[0]), []
    if found is not None:
        mark, year = found[2], "%Y" if len(found[4]) == 4 else "%y"
        clock = {6: " %H:%M", 9: " %H:%M:%S"}.get(len(found[5]), "")
        forms = (f"%d{mark}%m{mark}{year}{clock}", f"%m{mark}%d{mark}{year}{clock}")
        fits = [f"'{form}'" for form in forms if not np.isnat(_formatted(texts, form, None)).any()]
    if not fits:
        return "data.time_format=… says how they are written, such as %d/%m/%Y or %d-%b-%Y %H:%M"
    doubt = ": only you know whether day or month comes first" if len(fits) > 1 else ""
    return f"data.time_format={' or '.join(fits)}{doubt}"
