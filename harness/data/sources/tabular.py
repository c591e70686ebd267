"""Market data from tables: Parquet or CSV with a column mapping, a membership file and a benchmark file."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.calendar import Calendar, read_calendar
from harness.data.codes import check_codes
from harness.data.dates import time_texts
from harness.data.membership import Spans, UnknownMembers, mask_of, read_spans, spans_of_snapshots
from harness.data.panel import Benchmark, Panel
from harness.data.raw_prices import RawPrices, Units, ZeroVolume
from harness.data.rows import Rows, out_of_order
from harness.data.series import SeriesFormat
from harness.data.source import existing_file
from harness.data.table_columns import Column, check_times, instruments_of, numbers_of, times_of
from harness.data.text_files import CsvFile, CsvFormat, first_of, unreadable
from harness.data.validation import check_panel
from harness.errors import ConfigError, DataError, closest
from harness.store.fingerprint import fingerprint_file
from harness.store.records import LATER

Layout = Literal["long", "wide", "per_instrument"]
MembershipFormat = Literal["spans", "snapshots"]
_KINDS = "a Parquet (.parquet) or CSV (.csv) file"
_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".tsv", ".txt")
_COMPRESSED = (".gz", ".zst", ".bz2", ".lz4")
_ALSO = f"a CSV file also compressed ({' '.join(_COMPRESSED)})"
_SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
_SHOWN = 12
# What other programs call the keys.
_USUAL = {
    "time": ["date", "datetime", "timestamp", "time", "day", "trade_date", "price date", "updatedate", "日期"],
    "instrument": "ticker symbol code instrument stock sid permno asset ts_code isin ric con_code".split(),
}
_INDEX = ("Unnamed: ", "__index_level_")  # how pandas calls what is the index of a frame
_BARS = {"open", "high", "low", "close"}
_TABLE = (
    "a Parquet or CSV file with one row per time and instrument, a folder of such files, or a pattern like data/*.csv"
)
_FILES = {
    "membership": "a text file: code, first day, last day, separated by tabs",
    "calendar": "a text file with one time per line",
}
_SNAPSHOTS = "a Parquet or CSV file with one row per snapshot and member, or a folder of such files"
_KEYS = ("time", "instrument")
_OWN_NAME = "(name of the file)"
_LEVELS = re.compile(r"""\((?:['"].*['"], )+['"].*['"]\)""")


@dataclass(frozen=True)
class _Part:
    """One file of a table: what it is called below the table's folder, and columns that its folders name."""

    path: Path
    name: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SnapshotColumns:
    """Which columns of a table of members are read; others, such as weights, are not.

    Attributes:
        time: The column of the day.
        instrument: The column of the member.
    """

    time: str = "date"
    instrument: str = "instrument"


@dataclass(frozen=True)
class TabularSource:
    """A table in Parquet or CSV files, of any of three layouts.

    Attributes:
        path: The file, ``.parquet`` or ``.csv`` (also compressed: ``.csv.gz``), a folder of files of one kind, or a
            pattern such as ``data/*.csv``. Folders called ``name=value`` give a column. A row that is missing was not
            traded.
        columns: canonical name → column of the file; ``time`` and ``instrument`` are required, every other entry is a
            field. In the layouts ``wide`` and ``per_instrument`` there is no column for the instrument. With
            ``previous_close`` prices are raw: it and the last close give the ``factor``, by which they are adjusted.
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
        units: What a 1 in the columns ``volume`` and ``amount`` means; with both, vwap = amount / volume.
        zero_volume: ``suspended`` drops rows whose volume is 0 or missing: nothing was traded then.
        membership_format: ``spans`` as above, or ``snapshots``: a table of who was a member on some days, each valid
            until the day before the next one, the last one for ever.
        membership_columns: The columns of such a table; its dates are read as those of spans.
        series: What a set of series has beyond market data: a regular calendar, fields known before their time.

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
    units: Units = field(default=Units(), metadata=LATER)
    zero_volume: ZeroVolume = field(default="kept", metadata=LATER)
    membership_format: MembershipFormat = field(default="spans", metadata=LATER)
    membership_columns: SnapshotColumns = field(default=SnapshotColumns(), metadata=LATER)
    series: SeriesFormat = field(default=SeriesFormat(), metadata=LATER)

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ConfigError("The path is empty.", where="data.path", got=repr(self.path), expected=_TABLE)
        self._check_columns()
        RawPrices(self.columns, self.units, self.zero_volume)  # refuses what contradicts itself
        check_times(self.time_format, self.timezone)
        if (self.benchmark is None) != (self.benchmark_instrument is None):
            what, where = "A benchmark needs both its file and its instrument.", "data.benchmark, benchmark_instrument"
            got = f"{self.benchmark} and {self.benchmark_instrument}"
            raise ConfigError(what, where=where, got=got, expected="both, or null for both")

    def _check_columns(self) -> None:
        columns, where, given = self.columns, "data.columns", ", ".join(self.columns) or "nothing"
        each = "the time only: each other column is an instrument of the price field"
        needed, idle, accepted = {
            "long": ((*_KEYS, self.price_field), [], "time, instrument, the price field, and any other field"),
            "wide": (("time",), [name for name in columns if name != "time"], each),
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

        for name in self.series.known_ahead:
            if name not in columns or name in (*_KEYS, self.price_field):
                what, got = "This cannot be known ahead.", f"{name}, of the columns {given}"
                expected = f"a field; `{self.price_field}` says what has a row, and is observed"
                raise ConfigError(what, where="data.series.known_ahead", got=got, expected=expected)

    def inputs(self) -> dict[str, str]:
        return {key: _fingerprint(parts) for key, parts in self._files().items()}

    def load(self) -> Panel:
        files = self._files()
        rows = self._read(files["path"], self.columns)
        if self.calendar is None or self.series.every is not None:
            calendar = self.series.calendar_of(rows.times, self.path)
        if self.calendar is not None:
            calendar = read_calendar(files["calendar"][0].path)
        instruments = rows.instruments
        at = calendar.positions_of(rows.times)
        strangers = np.unique(rows.times[at < 0])
        if strangers.size:
            what = f"{strangers.size} time(s) of the table are not on the calendar."
            got, expected = first_of(time_texts(strangers, "m")), f"times of the calendar, {calendar.reach}"
            hint = "leave `calendar` out to use the times that occur"
            raise DataError(what, where=self.path, got=got, expected=expected, hint=hint)
        shape = (len(calendar), len(instruments))
        cells = np.multiply(at, len(instruments), out=at)  # in place: they are many
        cells += rows.codes
        # One allocation for all fields: the system gives it large pages.
        dense = np.full((len(rows.fields), *shape), np.nan, np.float32)
        for values, read in zip(dense, rows.fields.values(), strict=True):
            values.reshape(-1)[cells] = read
        fields = dict(zip(rows.fields, dense, strict=True))
        ahead = self.series.add_to(fields, calendar)
        membership = np.ones(shape, dtype=bool)
        if self.membership is not None:
            spans = self._spans(files["membership"])
            membership = mask_of(spans, calendar, instruments, unknown=self.unknown_members, where=self.membership)
        benchmark = self._benchmark(files["benchmark"], calendar) if self.benchmark is not None else None
        panel = Panel(calendar, instruments, fields, membership, benchmark, None, self.price_field, self.name, ahead)
        return check_panel(panel, where=self.path, any_sign=self.negative_prices)

    def _files(self) -> dict[str, list[_Part]]:
        found: dict[str, list[_Part]] = {}
        for key in ("path", "benchmark", "membership", "calendar"):
            if getattr(self, key) is not None:
                path, where = str(Path(self.root) / getattr(self, key)), f"data.{key}"
                if key == "membership" and self.membership_format == "snapshots":
                    found[key] = _parts_of(path, key=where, expected=_SNAPSHOTS)
                elif key in _FILES:
                    if key == "membership" and (Path(path).is_dir() or _split(Path(path))[1] in _PARQUET):
                        what, hint = "This is no file of spans.", "data.membership_format=snapshots reads a table"
                        raise DataError(what, where=where, got=path, expected=_FILES[key], hint=hint)
                    file = existing_file(path, key=where, expected=_FILES[key])
                    found[key] = [_Part(file, file.name)]
                else:
                    found[key] = _parts_of(path, key=where, expected=_TABLE)
        return found

    def _spans(self, parts: Sequence[_Part]) -> Spans:
        if self.membership_format == "spans":
            return read_spans(parts[0].path)
        named, times, codes = self.membership_columns, [], []
        columns = {"time": named.time, "instrument": named.instrument}
        for part in parts:
            read = _read_columns(part, columns, self.csv, key="data.membership_columns")
            times.append(times_of(read[named.time], None, None))
            instruments, members, _ = instruments_of(read[named.instrument])
            codes += [instruments[at] for at in members.tolist()]
        return spans_of_snapshots(np.concatenate(times), codes)

    def _benchmark(self, parts: Sequence[_Part], calendar: Calendar) -> Benchmark:
        needed, code = (*_KEYS, self.price_field), str(self.benchmark_instrument)
        rows = self._read(parts, {key: self.columns[key] for key in needed if key in self.columns})
        own = rows.take(np.array([name == code for name in rows.instruments])[rows.codes])
        if not len(own):
            known = rows.instruments
            what, expected = "The benchmark file lacks the benchmark.", f"one of {', '.join(known[:8])}"
            where, hint = "data.benchmark_instrument", closest(code, known)
            raise DataError(what, where=where, got=code, expected=expected, hint=hint)
        at = calendar.positions_of(own.times)
        level = np.full(len(calendar), np.nan, dtype=np.float32)
        level[at[at >= 0]] = own.fields[self.price_field][at >= 0]
        return Benchmark(name=code, close=level)

    def _read(self, parts: Sequence[_Part], columns: Mapping[str, str]) -> Rows:
        """Return the rows of all files, each key once."""
        tables = [(self._wide if self.layout == "wide" else self._long)(part, columns) for part in parts]
        rows = self.series.merged(Rows.joined(tables))
        where, expected = os.path.commonpath([part.path for part in parts]), "each time and instrument once"
        hint = "keep one of them, in pandas: frame.drop_duplicates([time column, instrument column])"
        hint, fault = self._repeated_hour or hint, "have a time and an instrument that another row has too"
        stops = np.cumsum([len(read) for read in tables])

        def spot(at: int) -> str:
            return f"{parts[int(np.searchsorted(stops, at, side='right'))].name} row {rows.places[at]}"

        rows.refuse(rows.repeats, fault, spot=spot, where=where, expected=expected, hint=hint)
        return RawPrices(self.columns, self.units, self.zero_volume).adjusted(rows, where=where, spot=spot)

    def _long(self, part: _Part, columns: Mapping[str, str]) -> Rows:
        """Read a file of a row per time and instrument, or of the one instrument that it is called after."""
        if self.layout == "per_instrument":  # its name is a column, as the name of a folder can be
            stem = _split(part.path)[0]
            check_codes([stem], where=str(part.path))  # first: a name that is no text cannot be opened
            part = replace(part, values={**part.values, _OWN_NAME: stem})
            columns = {**columns, "instrument": _OWN_NAME}
        read = _read_columns(part, columns, self.csv, coded=columns["instrument"])
        instruments, codes, order = instruments_of(read[columns["instrument"]])
        times = times_of(read[columns["time"]], self.time_format, self.timezone)
        rows = Rows(times, codes, instruments, {}, np.arange(times.size))
        if self.layout == "long" and not self.sort:
            self._refuse_unsorted(rows, order, [columns[key] for key in _KEYS], str(part.path))
        names = [name for name in columns if name not in _KEYS]
        distinct = list(dict.fromkeys(columns[name] for name in names))
        values = dict(zip(distinct, numbers_of([read[c] for c in distinct], self.csv.decimal), strict=True))
        return replace(rows, fields={name: values[columns[name]] for name in names})

    def _refuse_unsorted(self, rows: Rows, order: npt.NDArray[np.int64], keys: list[str], where: str) -> None:
        """Refuse rows that are sorted neither by their codes nor by the `order` of the column's own type."""
        hint = f"data.sort=true takes rows in any order; or in pandas: frame.sort_values({keys})"
        hint = f"{self._repeated_hour}; {hint}" if self._repeated_hour else hint
        backward, own = rows.steps_back, out_of_order(rows.times, order)
        for bad, fault in (
            (backward if own.any() else own, "step back: they are not sorted by time, then instrument"),
            (rows.repeats, "repeat the key of the row before"),
        ):
            expected = "rows sorted by time, then instrument, each key once"
            rows.refuse(bad, fault, spot="row {}".format, where=where, expected=expected, hint=hint)

    def _wide(self, part: _Part, columns: Mapping[str, str]) -> Rows:
        time, where = columns["time"], str(part.path)
        read = _read_columns(part, {"time": time}, self.csv, others=True)
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
        head = Column("the heads", heads, part.path, lambda at: f"column {at + 1}")
        instruments, codes, _ = instruments_of(head)
        values = np.stack(numbers_of([read[name] for name in names], self.csv.decimal), axis=1)
        at, column = np.indices(values.shape).reshape(2, -1)
        return Rows(times[at], codes[column], instruments, {self.price_field: values.reshape(-1)}, at)

    @property
    def _repeated_hour(self) -> str | None:
        """What to do about times that repeat or step back because they were read on a clock that is set back."""
        if self.series.every is not None and self.series.repeated == "refused":
            return "data.series.repeated=mean, where it is the hour that comes twice when clocks go back"
        if self.timezone in (None, "UTC"):
            return None
        return f"when the clocks of {self.timezone} go back an hour repeats: data.timezone=UTC has none that does"


def _parts_of(path: str, *, key: str, expected: str) -> list[_Part]:
    """Return the files that a path means: itself, those of a folder, or what a pattern matches; none is an error."""
    found = Path(path).expanduser()
    if found.is_dir():
        files = [(file, file.relative_to(found).parts) for file in sorted(found.rglob("*")) if file.is_file()]
        inside = [file for file, names in files if not any(name.startswith((".", "_")) for name in names)]
        of_kind = [[file for file in inside if _split(file)[1] in suffixes] for suffixes in (_PARQUET, _CSV)]
        others = [file for file in of_kind[1] if _split(file)[1] != ".txt"]  # which may be a note beside the tables
        if of_kind[0] and others:
            what, got = "The folder holds tables of two kinds.", f"{of_kind[0][0].name}, {others[0].name}, …"
            hint = f"a pattern takes one of them: {key}='{found}/*.parquet'"
            raise DataError(what, where=key, got=got, expected="Parquet files, or CSV files", hint=hint)
        if chosen := of_kind[0] or of_kind[1]:
            return [_part(file, found) for file in chosen]
        got = f"{found}, which holds {', '.join(file.name for file in inside[:8]) or 'no file'}"
        expected = "Parquet or CSV files, or folders of them"
        raise DataError("The folder holds no table.", where=key, got=got, expected=expected)
    if not found.exists() and glob.has_magic(str(found)):
        matched = [Path(name) for name in sorted(glob.glob(str(found), recursive=True)) if Path(name).is_file()]
        if not matched:
            raise DataError("No file matches the pattern.", where=key, got=str(found), expected=expected)
        fixed = next(folder for folder in found.parents if not glob.has_magic(str(folder)))
        return [_part(file, fixed) for file in matched]
    return [_Part(existing_file(path, key=key, expected=expected), found.name)]


def _fingerprint(parts: Sequence[_Part]) -> str:
    """Return the hex SHA-256 of one file, or of the names and digests of several."""
    if len(parts) == 1 and parts[0].name == parts[0].path.name and not parts[0].values:
        return fingerprint_file(parts[0].path)
    listed = "".join(f"{part.name}\0{fingerprint_file(part.path)}\n" for part in parts)
    return hashlib.sha256(listed.encode()).hexdigest()


def _read_columns(
    part: _Part,
    columns: Mapping[str, str],
    csv: CsvFormat,
    *,
    others: bool = False,
    key: str = "data.columns",
    coded: str = "",
) -> dict[str, Column]:
    """Return column → its values, of the `columns` (canonical name → column), or of all `others` that are named too.

    Text of the column `coded` is read as the distinct texts and where each row's stands among them, as Parquet has it.
    """
    wanted = list(columns.values())
    file = CsvFile.recognised(part.path, csv, wanted) if _split(part.path)[1] in _CSV else _parquet(part.path)
    is_csv, is_text = isinstance(file, CsvFile), False
    present = file.heads if isinstance(file, CsvFile) else file.schema_arrow.names
    if others:
        rest = [name for name in present if name not in ("", *wanted) and not name.startswith(_INDEX)]
        columns = {**columns, **{f"column {name}": name for name in rest}}
    if isinstance(file, CsvFile):
        at = _positions(columns, present, part, f", {file.described}", key)
        table, spot = file.read(at), file.spot
    else:
        at, spot = _positions(columns, present, part, "", key), "row {}".format
        is_text = coded in at and file.schema_arrow.field(coded).type in (pa.string(), pa.large_string())
        if is_text:
            file = pq.ParquetFile(part.path, metadata=file.metadata, read_dictionary=[coded])
        try:  # columns are chosen by name: of a name that occurs twice both would come
            table = file.read(columns=list(at)) if len(set(present)) == len(present) else file.read()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(part.path, error, _KINDS) from error
    if table.num_rows == 0:
        raise DataError("The file has no rows.", where=part.path, expected="one row per time and instrument")
    read = {name: Column(name, table.column(name), part.path, spot, is_csv) for name in at}
    if coded in read and pa.types.is_dictionary(read[coded].values.type):
        read[coded] = replace(read[coded], is_category=not is_text)
    for name in set(columns.values()) - set(at):
        value = pa.chunked_array([pa.repeat(pa.scalar(part.values[name]), table.num_rows)])
        read[name] = Column(name, value, part.path, spot, is_text=True)
    return read


def _parquet(path: Path) -> pq.ParquetFile:
    suffix = _split(path)[1]
    if suffix not in _PARQUET or path.suffix.lower() in _COMPRESSED:
        sheet = f'in pandas: pandas.read_excel("{path.name}").to_parquet("{path.stem}.parquet", index=False)'
        hint = sheet if suffix in _SHEETS else "Parquet is compressed inside; unpack it" if suffix in _PARQUET else None
        what, got = "This kind of file is not known.", path.suffix or path.name
        raise DataError(what, where=str(path), got=got, expected=f"{_KINDS}, {_ALSO}", hint=hint)
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        is_other = path.stat().st_size > 0 and path.read_bytes()[:4] != b"PAR1"
        hint = "it does not begin as Parquet does: give a CSV file the extension .csv" if is_other else None
        raise unreadable(path, error, _KINDS, hint) from error


def _positions(columns: Mapping[str, str], present: Sequence[str], part: _Part, how: str, key: str) -> dict[str, int]:
    times, where = Counter(present) + Counter(part.values.keys()), str(part.path)
    missing = {name: column for name, column in columns.items() if column not in times}
    if missing:
        what = "The file lacks a column." if len(missing) == 1 else f"The file lacks {len(missing)} columns."
        got = f"no column {', '.join(f'`{column}`' for column in missing.values())}"
        shown = [f"`{name}`" for name in present[:_SHOWN]] + (["…"] if len(present) > _SHOWN else [])
        free = [name for name in present if name not in columns.values()]
        hint = "; ".join(_remedy(name, column, present, free, key) for name, column in missing.items())
        raise DataError(what, where=where, got=got, expected=f"columns of the file: {', '.join(shown)}{how}", hint=hint)
    wanted = dict.fromkeys(columns.values())
    twice = [f"`{name}` {times[name]} times" for name in wanted if times[name] > 1]
    if twice:
        what, expected = "A column name occurs more than once in the file.", "each column that is read once"
        hint = "rename or remove one of them, in pandas: frame.loc[:, ~frame.columns.duplicated()]"
        raise DataError(what, where=where, got=", ".join(twice), expected=expected, hint=hint)
    place = {name: at for at, name in enumerate(present)}
    return {name: place[name] for name in wanted if name not in part.values}


def _remedy(name: str, column: str, present: Sequence[str], free: Sequence[str], key: str) -> str:
    """Return what to do about a column that is missing: the one that was meant, another layout, or to leave it out.

    What was meant is one of the `free` columns, which are not read as something else.
    """
    folded = [other for other in free if other.casefold() == column.casefold()]
    near = f"did you mean `{folded[0]}`?" if folded else closest(column, free)
    if near is not None:
        return f"{column}: {near}"
    if name not in _USUAL:
        return f"data.columns.{name}=COLUMN names it, '~data.columns.{name}' leaves it out"
    usual = [other for other in present if other.casefold() in _USUAL[name]]
    usual += [other for other in present if name == "time" and (other == "" or other.startswith(_INDEX))]
    if usual:
        return f"{key}.{name}={usual[0] or repr('')}"
    if key != "data.columns":
        return f"{key}.{name}=COLUMN names the column of the {name}s"
    each = "data=per_instrument reads a file per instrument"
    if name == "instrument" and {other.casefold() for other in present} >= _BARS:
        return f"no column names the instrument: {each}, which is called like it"
    layouts = "" if name == "time" else f"; where there is none, {each} and data=wide a column per instrument"
    return f"data.columns.{name}=COLUMN names the column of the {name}s{layouts}"


def _part(file: Path, folder: Path) -> _Part:
    relative = file.relative_to(folder)
    pairs = [name.split("=", 1) for name in relative.parts[:-1] if "=" in name]
    return _Part(file, relative.as_posix(), {name: unquote(value) for name, value in pairs})


def _split(path: Path) -> tuple[str, str]:
    """Return the name of a file and what says its kind, of ``BRK.B.csv.gz`` these are ``BRK.B`` and ``.csv``."""
    whole = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    return whole.stem, whole.suffix.lower()
