"""Tables on disk (one row per time and instrument, in one file or many) read into checked columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.data.dates import period_of
from harness.data.table_columns import Column, instruments_of, is_text, numbers_of, plain, refuse_empty, wrong_type
from harness.data.table_files import TablePart, heads, is_index, read_columns
from harness.data.text_files import EPOCHS, Layout, TableFormat, no_time_format
from harness.data.validation import check_keys, check_unique, repeated_hour
from harness.errors import ConfigError, DataError

Stamps = npt.NDArray[np.int64]
_PER_SECOND = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MISSING = np.iinfo(np.int64).min
_ZONED = re.compile(r"(?P<local>.*[0-9])\s*(?:Z|[+-][0-9]{2}:?[0-9]{2})$")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4}|[0-9]{2})(.*)")


def times_of(column: Column, form: TableFormat) -> Stamps:
    """Return (n,) int64 nanoseconds since 1970, on the clock of the data.

    Raises:
        DataError: When a row has no time, or one that cannot be read in one way only; with the first ones and the
            option to set.
        ConfigError: When a time zone is given for times that have none.
    """
    kind = plain(column.values.type)
    refuse_empty(column, "a time and an instrument in every row")
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _stamps(column, form)
    if is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _read_once(column, form)
    raise wrong_type(column, [], "dates, or timestamps without a time zone")


def _stamps(column: Column, form: TableFormat) -> Stamps:
    """Return stamps as they are; those with a zone on the clock that is given."""
    values, kind = column.values.cast(plain(column.values.type)), plain(column.values.type)
    if form.time_format is not None:
        raise ConfigError(
            "A time format is given for a column that holds times already.",
            where="data.time_format",
            got=f"{form.time_format} for `{column.name}` of type {kind}",
            expected="null",
        )
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    if zone is not None and form.timezone is None:
        raise wrong_type(column, [], "dates, or timestamps without a time zone", _zone_hint(column.name, zone))
    if zone is None:
        _refuse_zone(column, form)
    try:
        if zone is not None:
            values = pc.local_timestamp(values.cast(pa.timestamp(kind.unit, form.timezone)))
        moments = values.cast(pa.timestamp("ns")).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(
            f"Column `{column.name}` holds a time that does not fit.",
            where=str(column.path),
            got=str(error),
            expected="1678 … 2262",
        ) from error
    times: Stamps = moments.astype("datetime64[ns]").astype(np.int64)
    return times


def _read_once(column: Column, form: TableFormat) -> Stamps:
    """Read each distinct text or number once: a table has far fewer times than rows."""
    encoded = column.values if pa.types.is_dictionary(column.values.type) else column.values.dictionary_encode()
    encoded = encoded.unify_dictionaries()
    indices = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
    given = encoded.chunk(0).dictionary.to_pylist()
    texts = [value.strip() if isinstance(value, str) else _digits(value) for value in given]
    zoned = form.time_format is None and any(_ZONED.fullmatch(text) and ":" in text for text in texts)
    if form.time_format in EPOCHS:
        known = _epochs(texts, str(form.time_format), form.timezone)
    elif form.time_format is not None or zoned:
        if zoned and form.timezone is None:
            raise wrong_type(column, [], "times without a time zone", _zone_hint(column.name, None))
        known = _formatted(texts, form, column)
    else:
        _refuse_zone(column, form)
        known = np.array([_by_year(text) for text in texts], dtype=np.int64)
    times: Stamps = known[indices]
    bad = np.flatnonzero(times == _MISSING)
    if bad.size:
        expected = (
            f"times like {form.time_format}" if form.time_format else "dates such as 2019-03-01, or with a clock time"
        )
        raise wrong_type(column, bad.tolist(), expected, _format_hint([texts[at] for at in indices[bad]]))
    return times


def _digits(value: float | int) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _by_year(text: str) -> int:
    """Return a date or time whose year comes first; a bare year is no time of a table."""
    try:
        period = period_of(text)
    except DataError:
        return _MISSING
    return int(period.first.astype("M8[ns]").astype(np.int64)) if period.is_one_time else _MISSING


def _epochs(texts: list[str], unit: str, timezone: str | None) -> Stamps:
    per = _PER_SECOND[unit]
    stamps = np.full(len(texts), _MISSING, dtype=np.int64)
    for at, text in enumerate(texts):
        if re.fullmatch(r"-?[0-9]+", text) and abs(int(text) * per) < 2**63:
            stamps[at] = int(text) * per
        elif re.fullmatch(r"-?[0-9]+\.[0-9]+", text) and abs(float(text) * per) < 2**63:
            stamps[at] = round(float(text) * 10**6) * (per // 10**6) if per >= 10**6 else round(float(text) * per)
    if timezone is None:
        return stamps
    moments = pd.DatetimeIndex(stamps.astype("M8[ns]")).tz_localize("UTC").tz_convert(timezone).tz_localize(None)
    return np.asarray(moments.as_unit("ns").to_numpy().astype(np.int64), dtype=np.int64)


def _formatted(texts: list[str], form: TableFormat, column: Column) -> Stamps:
    """Return texts read by the format, or as ISO 8601 with a zone; those with a zone on the clock that is given."""
    zoned = form.time_format is None or "%z" in form.time_format
    read: Callable[..., pd.Series] = pd.to_datetime
    given = pd.Series(texts, dtype=object)
    try:
        moments = pd.Series(read(given, format=form.time_format or "ISO8601", errors="coerce", utc=zoned))
    except ValueError as error:  # what cannot be read is coerced: it is the format itself
        raise no_time_format(form.time_format, str(error)) from error
    if zoned:
        if form.timezone is None:
            raise wrong_type(column, [], "a time zone in data.timezone, for `%z`", "such as data.timezone=UTC")
        moments = moments.dt.tz_convert(form.timezone).dt.tz_localize(None)
    else:
        _refuse_zone(column, form)
    return np.asarray(moments.to_numpy().astype("M8[ns]").astype(np.int64), dtype=np.int64)


def _refuse_zone(column: Column, form: TableFormat) -> None:
    if form.timezone is not None:
        raise ConfigError(
            "A time zone is given, but the times have none.",
            where="data.timezone",
            got=f"{form.timezone} for `{column.name}`, as in {column.values[0].as_py()!s}",
            expected="null: times without a zone are taken as they are",
        )


def _zone_hint(name: str, zone: str | None) -> str:
    """Return the option that reads times with a zone; `zone` is that of a column of times, None that of text."""
    if zone is None:
        return (
            "data.timezone=UTC reads them on that clock, or where they were written down, such as "
            f"data.timezone=America/New_York; or in pandas: frame[{name!r}] = pandas.to_datetime(frame[{name!r}], "
            "utc=True).dt.tz_convert('America/New_York').dt.tz_localize(None)"
        )
    local = zone if "/" in zone else "UTC"
    return (
        f"data.timezone={local} reads them on that clock; or in pandas: "
        f"frame[{name!r}] = frame[{name!r}].dt.tz_convert({local!r}).dt.tz_localize(None)"
    )


def _format_hint(texts: list[str]) -> str | None:
    """Return the option that would read such texts: day and month are told apart by what no month can be."""
    if texts and all(re.fullmatch(r"[0-9]{9,19}", text) for text in texts):
        unit = EPOCHS[min((len(texts[0]) - 9) // 3, 3)]
        return f"data.time_format={unit} counts from 1970-01-01 00:00 UTC"
    parts = [found.groups() for text in texts if (found := _YEAR_LAST.fullmatch(text))]
    if not parts or len(parts) < len(texts):
        return "data.time_format=… says how they are written, such as %d/%m/%Y or %d-%b-%Y %H:%M"
    mark, year = parts[0][1], "%Y" if len(parts[0][3]) == 4 else "%y"
    clock = {0: "", 6: " %H:%M", 9: " %H:%M:%S"}.get(len(parts[0][4]), " …")
    first, second = f"%d{mark}%m{mark}{year}{clock}", f"%m{mark}%d{mark}{year}{clock}"
    if any(int(part[0]) > 12 for part in parts):
        return f"data.time_format='{first}'"
    if any(int(part[2]) > 12 for part in parts):
        return f"data.time_format='{second}'"
    return f"data.time_format='{first}' or '{second}': only you know whether day or month comes first"


_KEYS = ("time", "instrument")
_LEVELS = re.compile(r"""\((?:['"].*['"], )+['"].*['"]\)""")


@dataclass(frozen=True, eq=False)
class LongTable:
    """Columns of n rows, each (time, instrument) once.

    Attributes:
        times: (n,) int64 nanoseconds since 1970, on the clock of the data.
        codes: (n,) int64 index into `instruments`.
        instruments: The codes that occur, sorted.
        fields: canonical name → (n,) float32, NaN where empty.
    """

    times: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    instruments: tuple[str, ...]
    fields: Mapping[str, npt.NDArray[np.float32]]


def read_table(
    parts: Sequence[TablePart], columns: Mapping[str, str], layout: Layout, form: TableFormat, *, sort: bool, field: str
) -> LongTable:
    """Read the named columns of Parquet or CSV files as one table.

    Args:
        parts: The files.
        columns: canonical name → column of the files; ``time`` and ``instrument`` are keys, everything else is a field.
        layout: ``long``: a row per time and instrument. ``wide``: a row per time, a column per instrument, which holds
            `field`. ``per_instrument``: a file per instrument, which is called like it.
        form: How the files are written.
        sort: Whether the rows of a long file may stand in any order.
        field: What a wide file holds.

    Raises:
        DataError: When a file is damaged or empty, lacks a column, or a column has the wrong type or an empty key, when
            rows are unsorted or a key occurs twice; with the first offending rows.
    """
    reader = {"long": _long, "wide": _wide, "per_instrument": _one_instrument}[layout]
    table = _joined([reader(part, columns, form, sort, field) for part in parts])
    check_unique(table.times, table.codes, table.instruments, where=_where(parts), zone=form.timezone)
    return table


def _long(part: TablePart, columns: Mapping[str, str], form: TableFormat, sort: bool, field: str) -> LongTable:
    read = read_columns(part, columns, form.csv)
    instruments = instruments_of(read[columns["instrument"]])
    times = times_of(read[columns["time"]], form)
    if not sort:
        keys = [columns[key] for key in _KEYS]
        hint = f"data.sort=true takes rows in any order; or in pandas: frame.sort_values({keys})"
        repeated = repeated_hour(form.timezone)
        hint = hint if repeated is None else f"{repeated}; {hint}"
        own_order = instruments.ranks[instruments.codes]
        check_keys(times, instruments.codes, instruments.names, where=str(part.path), hint=hint, own_order=own_order)
    return LongTable(times, instruments.codes, instruments.names, _fields(read, columns, form))


def _one_instrument(
    part: TablePart, columns: Mapping[str, str], form: TableFormat, sort: bool, field: str
) -> LongTable:
    read = read_columns(part, columns, form.csv)
    times = times_of(read[columns["time"]], form)
    return LongTable(times, np.zeros(times.size, dtype=np.int64), (part.stem,), _fields(read, columns, form))


def _wide(part: TablePart, columns: Mapping[str, str], form: TableFormat, sort: bool, field: str) -> LongTable:
    time = columns["time"]
    names = [name for name in heads(part, form.csv, [time]) if name not in (time, "") and not is_index(name)]
    read = read_columns(part, {"time": time, **{f"column {name}": name for name in names}}, form.csv)
    times = times_of(read[time], form)
    if not names:
        raise DataError(
            "The file has no column beside the time.",
            where=str(part.path),
            got=f"`{time}`",
            expected="a column per instrument",
        )
    _refuse_levels(names, part)
    codes = Column(
        "the heads", pa.chunked_array([pa.array(names, pa.string())]), part.path, lambda at: f"column {at + 1}"
    )
    instruments = instruments_of(codes)
    values = numbers_of([read[name] for name in names], form.csv.decimal)
    return LongTable(
        np.repeat(times, len(names)),
        np.tile(instruments.codes, times.size),
        instruments.names,
        {field: np.stack(values, axis=1).reshape(-1)},
    )


def _fields(
    read: Mapping[str, Column], columns: Mapping[str, str], form: TableFormat
) -> dict[str, npt.NDArray[np.float32]]:
    names = [name for name in columns if name not in _KEYS]
    distinct = list(dict.fromkeys(columns[name] for name in names))
    values = dict(zip(distinct, numbers_of([read[c] for c in distinct], form.csv.decimal), strict=True))
    return {name: values[columns[name]] for name in names}


def _joined(tables: Sequence[LongTable]) -> LongTable:
    """Return the rows of all tables, sorted by time, then instrument."""
    names = sorted({name for table in tables for name in table.instruments})
    place = {name: at for at, name in enumerate(names)}
    codes = [np.array([place[n] for n in t.instruments], dtype=np.int64)[t.codes] for t in tables]
    fields = {name: np.concatenate([table.fields[name] for table in tables]) for name in tables[0].fields}
    times = np.concatenate([table.times for table in tables])
    table = LongTable(times, np.concatenate(codes), tuple(names), fields)
    if np.all((np.diff(table.times) > 0) | ((np.diff(table.times) == 0) & (np.diff(table.codes) >= 0))):
        return table
    return _rows(table, np.lexsort((table.codes, table.times)))


def _rows(table: LongTable, chosen: npt.NDArray[np.int64]) -> LongTable:
    fields = {name: values[chosen] for name, values in table.fields.items()}
    return replace(table, times=table.times[chosen], codes=table.codes[chosen], fields=fields)


def _refuse_levels(names: Sequence[str], part: TablePart) -> None:
    """Refuse heads of several levels, which pandas writes as tuples: they hold more than one field."""
    levels = [name for name in names if _LEVELS.fullmatch(name)]
    if levels:
        raise DataError(
            "The heads have several levels.",
            where=str(part.path),
            got=", ".join(levels[:4]) + (", …" if len(levels) > 4 else ""),
            expected="the code of an instrument above each column",
            hint='in pandas: frame["Close"] keeps one field; frame.stack("Ticker").reset_index() makes a long table, '
            "for data=tabular",
        )


def _where(parts: Sequence[TablePart]) -> str:
    if len(parts) == 1:
        return str(parts[0].path)
    return str(Path(*[a for a, b in zip(parts[0].path.parts, parts[-1].path.parts, strict=False) if a == b]))
