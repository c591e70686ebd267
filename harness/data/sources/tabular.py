"""Market data from tables: Parquet or CSV with a column mapping, a membership file and a benchmark file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar, read_calendar
from harness.data.long_table import LongTable, read_table
from harness.data.membership import UnknownMembers, mask_of, read_spans
from harness.data.panel import Benchmark, Panel
from harness.data.source import existing_file
from harness.data.table_files import TablePart, fingerprint_parts, parts_of
from harness.data.text_files import CsvFormat, Layout, TableFormat
from harness.data.validation import check_panel
from harness.errors import ConfigError, DataError, closest
from harness.store.fingerprint import fingerprint_file

Floats = npt.NDArray[np.float32]
_TABLE = (
    "a Parquet or CSV file with one row per time and instrument, a folder of such files, or a pattern like data/*.csv"
)
# A key that was added after snapshots were blessed is no part of what they describe while it has its default.
_LATER: Mapping[str, object] = {"later": True}


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
    layout: Layout = field(default="long", metadata=_LATER)
    sort: bool = field(default=True, metadata=_LATER)
    csv: CsvFormat = field(default=CsvFormat(), metadata=_LATER)
    time_format: str | None = field(default=None, metadata=_LATER)
    timezone: str | None = field(default=None, metadata=_LATER)
    negative_prices: bool = field(default=False, metadata=_LATER)

    def __post_init__(self) -> None:
        """Refuse keys that contradict each other."""
        if not self.path.strip():
            raise ConfigError("The path is empty.", where="data.path", got=repr(self.path), expected=_TABLE)
        self._check_columns()
        TableFormat(self.csv, self.time_format, self.timezone)
        if (self.benchmark is None) != (self.benchmark_instrument is None):
            raise ConfigError(
                "A benchmark needs both its file and its instrument.",
                where="data.benchmark | data.benchmark_instrument",
                got=f"{self.benchmark} | {self.benchmark_instrument}",
                expected="both, or null for both",
            )

    def _check_columns(self) -> None:
        needed = {"long": ("time", "instrument", self.price_field), "wide": ("time",)}
        for key in needed.get(self.layout, ("time", self.price_field)):
            if key not in self.columns:
                raise ConfigError(
                    "The column mapping lacks a name.",
                    where="data.columns",
                    got=f"{', '.join(self.columns) or 'nothing'}; no `{key}`",
                    expected="time, instrument, the price field, and any other field",
                    hint=closest(key, self.columns),
                )
        idle = {"long": [], "wide": [n for n in self.columns if n != "time"]}
        unread = idle.get(self.layout, [n for n in self.columns if n == "instrument"])
        if unread:
            raise ConfigError(
                f"In the layout `{self.layout}` no column holds {', '.join(f'`{name}`' for name in unread)}.",
                where="data.columns",
                got=", ".join(self.columns),
                expected="the time only: each other column is an instrument of the price field"
                if self.layout == "wide"
                else "time and fields: each file is an instrument",
                hint=f"data={self.layout} is a configuration for it; '~data.columns.{unread[0]}' removes a column",
            )
        column = self.columns["time"]
        if column in [other for name, other in self.columns.items() if name != "time"] or (
            self.layout == "long" and list(self.columns.values()).count(self.columns["instrument"]) > 1
        ):
            raise ConfigError(
                "A column that holds the time or the instrument is mapped twice.",
                where="data.columns",
                got=", ".join(f"{name}: {other}" for name, other in self.columns.items()),
                expected="one column for the time, another for the instrument, others for fields",
            )

    def inputs(self) -> dict[str, str]:
        """Return key → SHA-256 of every file that is named; of several files, of their names and digests."""
        tables = {key: fingerprint_parts(parts) for key, parts in self._tables().items()}
        return tables | {key: fingerprint_file(path) for key, path in self._files().items()}

    def load(self) -> Panel:
        """Return the panel.

        Raises:
            DataError: When a file is missing or damaged, keys are repeated or, without `sort`, unsorted, values are
                impossible, members are unknown, or files do not overlap; with the number of offending rows and the
                first ones.
        """
        files, tables = self._files(), self._tables()
        table = self._read(tables["path"], self.columns)
        calendar = _calendar_of(table) if self.calendar is None else read_calendar(files["calendar"])
        rows = _positions(table, calendar, self.path)
        shape = (len(calendar), len(table.instruments))
        where = rows * shape[1] + table.codes
        if self.membership is None:
            membership = np.ones(shape, dtype=bool)
        else:
            membership = mask_of(
                read_spans(files["membership"]),
                calendar,
                table.instruments,
                unknown=self.unknown_members,
                where=self.membership,
            )
        panel = Panel(
            calendar=calendar,
            instruments=table.instruments,
            fields={name: _dense(values, where, shape) for name, values in table.fields.items()},
            membership=membership,
            benchmark=self._benchmark(tables, calendar),
            price_field=self.price_field,
            name=self.name,
        )
        return check_panel(panel, where=self.path, any_sign=self.negative_prices)

    def _tables(self) -> dict[str, list[TablePart]]:
        named = {"path": self.path, "benchmark": self.benchmark}
        return {
            key: parts_of(str(Path(self.root) / path), key=f"data.{key}", expected=_TABLE)
            for key, path in named.items()
            if path is not None
        }

    def _files(self) -> dict[str, Path]:
        expected = {
            "membership": "a text file: code, first day, last day, separated by tabs",
            "calendar": "a text file with one time per line",
        }
        named = {key: getattr(self, key) for key in expected}
        return {
            key: existing_file(str(Path(self.root) / path), key=f"data.{key}", expected=expected[key])
            for key, path in named.items()
            if path is not None
        }

    def _read(self, parts: Sequence[TablePart], columns: Mapping[str, str]) -> LongTable:
        form = TableFormat(self.csv, self.time_format, self.timezone)
        return read_table(parts, columns, self.layout, form, sort=self.sort, field=self.price_field)

    def _benchmark(self, tables: Mapping[str, list[TablePart]], calendar: Calendar) -> Benchmark | None:
        if self.benchmark is None or self.benchmark_instrument is None:
            return None
        needed = ("time", "instrument", self.price_field)
        table = self._read(tables["benchmark"], {key: self.columns[key] for key in needed if key in self.columns})
        if self.benchmark_instrument not in table.instruments:
            raise DataError(
                "The benchmark file lacks the benchmark.",
                where="data.benchmark_instrument",
                got=self.benchmark_instrument,
                expected=f"one of {', '.join(table.instruments[:8])}",
                hint=closest(self.benchmark_instrument, table.instruments),
            )
        own = table.codes == table.instruments.index(self.benchmark_instrument)
        times, levels = table.times[own], table.fields[self.price_field][own]
        at = np.minimum(np.searchsorted(times, calendar.times.astype(np.int64)), times.size - 1)
        level = np.where(times[at] == calendar.times.astype(np.int64), levels[at], np.float32(np.nan))
        return Benchmark(name=self.benchmark_instrument, close=level)


def _calendar_of(table: LongTable) -> Calendar:
    """Return the times that occur; the rows are sorted."""
    is_new = np.concatenate([[True], np.diff(table.times) > 0])
    return Calendar(table.times[is_new].astype("datetime64[ns]"))


def _positions(table: LongTable, calendar: Calendar, path: str) -> npt.NDArray[np.int64]:
    """Return (n,) the calendar position of every row."""
    known = calendar.times.astype(np.int64)
    at = np.minimum(np.searchsorted(known, table.times), known.size - 1)
    strangers = np.unique(table.times[known[at] != table.times]).astype("datetime64[ns]")
    if strangers.size:
        raise DataError(
            f"{strangers.size} time(s) of the table are not on the calendar.",
            where=path,
            got=f"the first: {', '.join(str(np.datetime_as_string(time, unit='m')) for time in strangers[:5])}",
            expected=f"times of the calendar, {calendar.format(0)} … {calendar.format(len(calendar) - 1)}",
            hint="leave `calendar` out to use the times that occur",
        )
    return at


def _dense(values: Floats, where: npt.NDArray[np.int64], shape: tuple[int, int]) -> Floats:
    dense = np.full(shape, np.nan, dtype=np.float32)
    dense.reshape(-1)[where] = values
    return dense
