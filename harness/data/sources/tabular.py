"""Market data from tables: Parquet or CSV with a column mapping, a membership file and a benchmark file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import union_categoricals

from harness.data.calendar import Calendar, read_calendar
from harness.data.codes import check_codes
from harness.data.dates import time_texts
from harness.data.membership import UnknownMembers, mask_of, read_spans
from harness.data.panel import Benchmark, Panel
from harness.data.source import existing_file
from harness.data.table_columns import Column, check_times, instruments_of, numbers_of, times_of
from harness.data.table_files import TablePart, fingerprint_parts, parts_of, read_columns
from harness.data.text_files import SHOWN, CsvFormat, first_of
from harness.data.validation import check_panel
from harness.errors import ConfigError, DataError, closest
from harness.store.records import LATER

Layout = Literal["long", "wide", "per_instrument"]
Bools = npt.NDArray[np.bool_]
_TABLE = (
    "a Parquet or CSV file with one row per time and instrument, a folder of such files, or a pattern like data/*.csv"
)
_FILES = {
    "membership": "a text file: code, first day, last day, separated by tabs",
    "calendar": "a text file with one time per line",
}
_KEYS = ("time", "instrument")
_OWN_NAME = "(name of the file)"
_LEVELS = re.compile(r"""\((?:['"].*['"], )+['"].*['"]\)""")


@dataclass(frozen=True)
class TabularSource:
    """A table in Parquet or CSV files, of any of three layouts.

    Attributes:
        path: The file, ``.parquet`` or ``.csv`` (also compressed: ``.csv.gz``), a folder of files of one kind, or a
            pattern such as ``data/*.csv``. Folders called ``name=value`` give a column. A row that is missing was not
            traded.
        columns: canonical name → column of the file; ``time`` and ``instrument`` are required, every other entry is a
            field. In the layouts ``wide`` and ``per_instrument`` there is no column for the instrument.
        price_field: The field whose presence says that an instrument traded.
        membership: File in qlib's instruments format (code, first day, last day). Without one, every instrument is
            always in the universe.
        unknown_members: What to do with members that have no prices: ``error`` or ``drop``.
        benchmark: Table with columns like those of `path`, of which time, instrument and price are read; of the same
            layout.
        benchmark_instrument: Which of its instruments is the benchmark.
        calendar: File with one time per line. Without one, the times that occur.
        root: Folder that the files are relative to; itself relative to the current directory.
        name: For reports.
        layout: ``long``: a row per time and instrument. ``wide``: a row per time and a column per instrument, which
            holds the price field; columns then names the time only. ``per_instrument``: a file per instrument, which is
            called like it.
        sort: Whether the rows of a long file may stand in any order; false refuses rows that are not sorted by time and
            instrument. Rows of the other layouts, and files of a folder, may always.
        csv: How CSV files are written, where it cannot be recognised.
        time_format: How times are written that do not begin with the year, as in ``%d/%m/%Y``; or ``s``, ``ms``,
            ``us``, ``ns`` since 1970.
        timezone: On which clock times with a time zone are read, such as ``UTC``; None refuses them.
        negative_prices: Whether prices may be 0 or negative, as those of spreads and of some futures. Returns are then
            undefined or without meaning, and with them the default label and a portfolio: give a label of differences.

    Raises:
        ConfigError: When keys contradict each other.
    """

    path: str
    columns: Mapping[str, str]
    price_field: str = "close"
    membership: str | None = None
    unknown_members: UnknownMembers = "error"
    benchmark: str | None = None
    benchmark_instrument: str | None = None
    calendar: str | None = None
    root: str = "."
    name: str = "tabular"
    layout: Layout = field(default="long", metadata=LATER)
    sort: bool = field(default=True, metadata=LATER)
    csv: CsvFormat = field(default=CsvFormat(), metadata=LATER)
    time_format: str | None = field(default=None, metadata=LATER)
    timezone: str | None = field(default=None, metadata=LATER)
    negative_prices: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ConfigError("The path is empty.", where="data.path", got=repr(self.path), expected=_TABLE)
        self._check_columns()
        check_times(self.time_format, self.timezone)
        if (self.benchmark is None) != (self.benchmark_instrument is None):
            what, where = "A benchmark needs both its file and its instrument.", "data.benchmark, benchmark_instrument"
            got = f"{self.benchmark} and {self.benchmark_instrument}"
            raise ConfigError(what, where=where, got=got, expected="both, or null for both")

    def _check_columns(self) -> None:
        columns, where, given = self.columns, "data.columns", ", ".join(self.columns) or "nothing"
        needed, idle, accepted = {
            "long": ((*_KEYS, self.price_field), [], "time, instrument, the price field, and any other field"),
            "wide": (("time",), [name for name in columns if name != "time"], "the time only"),
            "per_instrument": (("time", self.price_field), ["instrument"], "time, the price field, any other field"),
        }[self.layout]
        lacking = next((key for key in needed if key not in columns), None)
        if lacking is not None:
            what, got = "The column mapping lacks a name.", f"{given}; no `{lacking}`"
            raise ConfigError(what, where=where, got=got, expected=accepted, hint=closest(lacking, columns))
        unread = [name for name in columns if name in idle]
        if unread:
            what = f"In the layout `{self.layout}` no column holds {', '.join(f'`{name}`' for name in unread)}."
            hint = f"data={self.layout} is a configuration for it; '~data.columns.{unread[0]}' removes a column"
            raise ConfigError(what, where=where, got=given, expected=accepted, hint=hint)
        mapped = list(columns.values())
        if any(mapped.count(columns[key]) > 1 for key in needed if key in _KEYS):
            what = "A column that holds the time or the instrument is mapped twice."
            got = ", ".join(f"{name}: {other}" for name, other in columns.items())
            expected = "one column for the time, another for the instrument, others for fields"
            raise ConfigError(what, where=where, got=got, expected=expected)

    def inputs(self) -> dict[str, str]:
        return {key: fingerprint_parts(parts) for key, parts in self._files().items()}

    def load(self) -> Panel:
        files = self._files()
        table = self._read(files["path"], self.columns)
        times, codes = table["time"].to_numpy(), table["instrument"].cat.codes.to_numpy(np.int64)
        calendar = Calendar(np.unique(times)) if self.calendar is None else read_calendar(files["calendar"][0].path)
        instruments = tuple(table["instrument"].cat.categories)
        at = calendar.positions_of(times)
        strangers = np.unique(times[at < 0])
        if strangers.size:
            raise DataError(
                f"{strangers.size} time(s) of the table are not on the calendar.",
                where=self.path,
                got=f"the first: {', '.join(np.datetime_as_string(strangers[:SHOWN], unit='m'))}",
                expected=f"times of the calendar, {calendar.reach}",
                hint="leave `calendar` out to use the times that occur",
            )
        shape = (len(calendar), len(instruments))
        fields = {name: np.full(shape, np.nan, np.float32) for name in map(str, table) if name not in _KEYS}
        for name, values in fields.items():
            values[at, codes] = table[name]
        membership = np.ones(shape, dtype=bool)
        if self.membership is not None:
            spans = read_spans(files["membership"][0].path)
            membership = mask_of(spans, calendar, instruments, unknown=self.unknown_members, where=self.membership)
        benchmark = self._benchmark(files["benchmark"], calendar) if self.benchmark is not None else None
        panel = Panel(calendar, instruments, fields, membership, benchmark, None, self.price_field, self.name)
        return check_panel(panel, where=self.path, any_sign=self.negative_prices)

    def _files(self) -> dict[str, list[TablePart]]:
        found: dict[str, list[TablePart]] = {}
        for key in ("path", "benchmark", "membership", "calendar"):
            if getattr(self, key) is not None:
                path, where = str(Path(self.root) / getattr(self, key)), f"data.{key}"
                if key in _FILES:
                    file = existing_file(path, key=where, expected=_FILES[key])
                    found[key] = [TablePart(file, file.name)]
                else:
                    found[key] = parts_of(path, key=where, expected=_TABLE)
        return found

    def _benchmark(self, parts: Sequence[TablePart], calendar: Calendar) -> Benchmark:
        needed, code = (*_KEYS, self.price_field), str(self.benchmark_instrument)
        table = self._read(parts, {key: self.columns[key] for key in needed if key in self.columns})
        own = table[table["instrument"] == code]
        if own.empty:
            known = list(table["instrument"].cat.categories)
            what, expected = "The benchmark file lacks the benchmark.", f"one of {', '.join(known[:8])}"
            where, hint = "data.benchmark_instrument", closest(code, known)
            raise DataError(what, where=where, got=code, expected=expected, hint=hint)
        at = calendar.positions_of(own["time"].to_numpy())
        level = np.full(len(calendar), np.nan, dtype=np.float32)
        level[at[at >= 0]] = own[self.price_field][at >= 0]
        return Benchmark(name=code, close=level)

    def _read(self, parts: Sequence[TablePart], columns: Mapping[str, str]) -> pd.DataFrame:
        """Return the rows of all files, each key once.

        The columns are time (``datetime64[ns]``, on the clock of the data), instrument (categories: the codes that
        occur, sorted) and the fields (float32, NaN where empty).
        """
        tables = [(self._wide if self.layout == "wide" else self._long)(part, columns) for part in parts]
        instruments = union_categoricals([table.pop("instrument") for table in tables], sort_categories=True)
        table = pd.concat(tables).assign(instrument=instruments)
        where, expected = os.path.commonpath([part.path for part in parts]), "each time and instrument once"
        hint = "keep one of them, in pandas: frame.drop_duplicates([time column, instrument column])"
        fault = "have a time and an instrument that another row has too"
        _refuse(table, table.duplicated(list(_KEYS)), fault, where, expected, self._repeated_hour or hint)
        return table

    def _long(self, part: TablePart, columns: Mapping[str, str]) -> pd.DataFrame:
        """Read a file of a row per time and instrument, or of the one instrument that it is called after."""
        if self.layout == "per_instrument":  # its name is a column, as the name of a folder can be
            check_codes([part.stem], where=str(part.path))  # first: a name that is no text cannot be opened
            part = replace(part, values={**part.values, _OWN_NAME: part.stem})
            columns = {**columns, "instrument": _OWN_NAME}
        read = read_columns(part, columns, self.csv)
        instruments, order = instruments_of(read[columns["instrument"]])
        times = times_of(read[columns["time"]], self.time_format, self.timezone)
        table = pd.DataFrame({"time": times, "instrument": instruments})
        if self.layout == "long" and not self.sort:
            keys, repeated = [columns[key] for key in _KEYS], self._repeated_hour
            hint = f"data.sort=true takes rows in any order; or in pandas: frame.sort_values({keys})"
            backward, own = _out_of_order(times, instruments.codes), _out_of_order(times, order)
            for bad, fault in (
                (backward if own.any() else own, "step back: they are not sorted by time, then instrument"),
                (table.duplicated(list(_KEYS)), "repeat the key of the row before"),
            ):
                expected = "rows sorted by time, then instrument, each key once"
                _refuse(table, bad, fault, str(part.path), expected, f"{repeated}; {hint}" if repeated else hint)
        names = [name for name in columns if name not in _KEYS]
        distinct = list(dict.fromkeys(columns[name] for name in names))
        values = dict(zip(distinct, numbers_of([read[c] for c in distinct], self.csv.decimal), strict=True))
        return table.assign(**{name: values[columns[name]] for name in names})

    def _wide(self, part: TablePart, columns: Mapping[str, str]) -> pd.DataFrame:
        time, where = columns["time"], str(part.path)
        read = read_columns(part, {"time": time}, self.csv, others=True)
        names = [name for name in read if name != time]
        times = times_of(read[time], self.time_format, self.timezone)
        if not names:
            what, expected = "The file has no column beside the time.", "a column per instrument"
            raise DataError(what, where=where, got=f"`{time}`", expected=expected)
        levels = [name for name in names if _LEVELS.fullmatch(name)]  # pandas writes heads of several levels as tuples
        if levels:
            what, got = "The heads have several levels.", ", ".join(levels[:4]) + (", …" if len(levels) > 4 else "")
            hint = (
                'in pandas: frame["Close"] keeps one field; frame.stack("Ticker").reset_index() makes a long '
                "table, for data=tabular"
            )
            raise DataError(what, where=where, got=got, expected="the code of an instrument above each", hint=hint)
        heads = pa.chunked_array([pa.array(names, pa.string())])
        codes, _ = instruments_of(Column("the heads", heads, part.path, lambda at: f"column {at + 1}"))
        values = np.stack(numbers_of([read[name] for name in names], self.csv.decimal), axis=1)
        at, column = np.indices(values.shape).reshape(2, -1)
        rows = {"time": times[at], "instrument": codes.take(column), self.price_field: values.reshape(-1)}
        return pd.DataFrame(rows, index=at)

    @property
    def _repeated_hour(self) -> str | None:
        """What to do about times that repeat or step back because they were read on the clock of a time zone."""
        if self.timezone in (None, "UTC"):
            return None
        return f"when the clocks of {self.timezone} go back an hour repeats: data.timezone=UTC has none that does"


def _out_of_order(times: npt.NDArray[np.datetime64], codes: npt.NDArray[np.integer[Any]]) -> Bools:
    """Return (n,) whether a row belongs before the one that stands before it."""
    step, move = np.diff(times, prepend=times[:1]).astype(np.int64), np.diff(codes, prepend=codes[:1])
    backward: Bools = (step < 0) | ((step == 0) & (move < 0))
    return backward


def _refuse(table: pd.DataFrame, bad: Bools | pd.Series, fault: str, where: str, expected: str, hint: str) -> None:
    """Refuse the bad rows of a table, whose index says where each stands in its file."""
    if bad.any():
        first = table[bad][:SHOWN]
        times = [time.removesuffix(" 00:00:00") for time in time_texts(first["time"].to_numpy(), "s")]
        shown = zip(first.index, times, first["instrument"], strict=True)
        got = first_of(f"row {at}: {time} {code}" for at, time, code in shown)
        raise DataError(f"{bad.sum()} row(s) {fault}.", where=where, got=got, expected=expected, hint=hint)
