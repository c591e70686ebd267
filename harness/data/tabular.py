"""Market data from long tables: Parquet or CSV with a column mapping, a membership file and a benchmark file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.calendar_file import read_calendar
from harness.data.fingerprint import fingerprint_file
from harness.data.long_table import LongTable, read_long
from harness.data.membership import UnknownMembers, mask_of, read_spans
from harness.data.panel import Benchmark, Panel
from harness.data.source import existing_file
from harness.data.validation import check_keys, check_panel
from harness.errors import ConfigError, DataError, closest

__all__ = ["TabularSource"]

Floats = npt.NDArray[np.float32]
_TABLE = "a Parquet or CSV file in long form: one row per time and instrument"


@dataclass(frozen=True)
class TabularSource:
    """One row per time and instrument in a Parquet or CSV file.

    Attributes
    ----------
    path
        The file, ``.parquet`` or ``.csv``, sorted by time, then instrument. A row that is missing was not traded.
    columns
        canonical name → column of the file; ``time`` and ``instrument`` are required, every other entry is a field.
    price_field
        The field whose presence says that an instrument traded.
    membership
        File in qlib's instruments format (code, first day, last day). Without one, every instrument is always in the
        universe.
    unknown_members
        What to do with members that have no prices: ``error`` or ``drop``.
    benchmark
        File with columns like those of `path`, of which time, instrument and price are read.
    benchmark_instrument
        Which of its instruments is the benchmark.
    calendar
        File with one time per line. Without one, the times that occur.
    root
        Folder that the files are relative to; itself relative to the current directory.
    name
        For reports.

    Raises
    ------
    ConfigError
        When keys contradict each other.
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

    def __post_init__(self) -> None:
        """Refuse keys that contradict each other."""
        for key in ("time", "instrument", self.price_field):
            if key not in self.columns:
                raise ConfigError(
                    "The column mapping lacks a name.",
                    where="data.columns",
                    got=f"{', '.join(self.columns) or 'nothing'}; no `{key}`",
                    expected="time, instrument, the price field, and any other field",
                    hint=closest(key, self.columns),
                )
        if (self.benchmark is None) != (self.benchmark_instrument is None):
            raise ConfigError(
                "A benchmark needs both its file and its instrument.",
                where="data.benchmark | data.benchmark_instrument",
                got=f"{self.benchmark} | {self.benchmark_instrument}",
                expected="both, or null for both",
            )

    def inputs(self) -> dict[str, str]:
        """Return key → SHA-256 of every file that is named."""
        return {key: fingerprint_file(path) for key, path in self._files().items()}

    def load(self) -> Panel:
        """Return the panel.

        Raises
        ------
        DataError
            When a file is missing or damaged, keys are unsorted or repeated, values are impossible, members are
            unknown, or files do not overlap; with the number of offending rows and the first ones.
        """
        files = self._files()
        table = read_long(files["path"], self.columns)
        self._check_order(table, files["path"])
        calendar = _calendar_of(table) if self.calendar is None else read_calendar(files["calendar"])
        rows = _positions(table, calendar, files["path"])
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
            benchmark=self._benchmark(files, calendar),
            price_field=self.price_field,
            name=self.name,
        )
        return check_panel(panel, where=self.path)

    def _files(self) -> dict[str, Path]:
        expected = {
            "path": _TABLE,
            "membership": "a text file: code, first day, last day, separated by tabs",
            "benchmark": _TABLE,
            "calendar": "a text file with one time per line",
        }
        named = {key: getattr(self, key) for key in expected}
        return {
            key: existing_file(str(Path(self.root) / path), key=f"data.{key}", expected=expected[key])
            for key, path in named.items()
            if path is not None
        }

    def _check_order(self, table: LongTable, path: Path) -> None:
        keys = [self.columns["time"], self.columns["instrument"]]
        hint = f"in pandas: frame.sort_values({keys}).drop_duplicates({keys})"
        check_keys(table.times, table.codes, table.instruments, where=str(path), hint=hint)

    def _benchmark(self, files: Mapping[str, Path], calendar: Calendar) -> Benchmark | None:
        if self.benchmark is None or self.benchmark_instrument is None:
            return None
        columns = {key: self.columns[key] for key in ("time", "instrument", self.price_field)}
        table = read_long(files["benchmark"], columns)
        self._check_order(table, files["benchmark"])
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


def _positions(table: LongTable, calendar: Calendar, path: Path) -> npt.NDArray[np.int64]:
    """Return (n,) the calendar position of every row."""
    known = calendar.times.astype(np.int64)
    at = np.minimum(np.searchsorted(known, table.times), known.size - 1)
    strangers = np.unique(table.times[known[at] != table.times]).astype("datetime64[ns]")
    if strangers.size:
        raise DataError(
            f"{strangers.size} time(s) of the table are not on the calendar.",
            where=str(path),
            got=f"the first: {', '.join(str(np.datetime_as_string(time, unit='m')) for time in strangers[:5])}",
            expected=f"times of the calendar, {calendar.format(0)} … {calendar.format(len(calendar) - 1)}",
            hint="leave `calendar` out to use the times that occur",
        )
    return at


def _dense(values: Floats, where: npt.NDArray[np.int64], shape: tuple[int, int]) -> Floats:
    dense = np.full(shape, np.nan, dtype=np.float32)
    dense.reshape(-1)[where] = values
    return dense
