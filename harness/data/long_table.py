"""Tables on disk (one row per time and instrument, in one file or many) read into checked columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.data.table_columns import Column, instruments_of, numbers_of
from harness.data.table_files import TablePart, heads, is_index, read_columns
from harness.data.table_format import Layout, TableFormat
from harness.data.table_times import times_of
from harness.data.validation import check_keys, check_unique, repeated_hour
from harness.errors import DataError

_KEYS = ("time", "instrument")
_LEVELS = re.compile(r"""\((?:['"].*['"], )+['"].*['"]\)""")


@dataclass(frozen=True, eq=False)
class LongTable:
    """Columns of n rows, each (time, instrument) once.

    Attributes
    ----------
    times
        (n,) int64 nanoseconds since 1970, on the clock of the data.
    codes
        (n,) int64 index into `instruments`.
    instruments
        The codes that occur, sorted.
    fields
        canonical name → (n,) float32, NaN where empty.
    """

    times: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    instruments: tuple[str, ...]
    fields: Mapping[str, npt.NDArray[np.float32]]


def read_table(
    parts: Sequence[TablePart], columns: Mapping[str, str], layout: Layout, form: TableFormat, *, sort: bool, field: str
) -> LongTable:
    """Read the named columns of Parquet or CSV files as one table.

    Parameters
    ----------
    parts
        The files.
    columns
        canonical name → column of the files; ``time`` and ``instrument`` are keys, everything else is a field.
    layout
        ``long``: a row per time and instrument. ``wide``: a row per time, a column per instrument, which holds `field`.
        ``per_instrument``: a file per instrument, which is called like it.
    form
        How the files are written.
    sort
        Whether the rows of a long file may stand in any order.
    field
        What a wide file holds.

    Raises
    ------
    DataError
        When a file is damaged or empty, lacks a column, or a column has the wrong type or an empty key, when rows are
        unsorted or a key occurs twice; with the first offending rows.
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
