"""Table files on disk: which ones a path means, and the columns of one, Parquet or CSV."""

from __future__ import annotations

import glob
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.source import existing_file
from harness.data.table_columns import Column
from harness.data.text_files import CsvFile, CsvFormat, unreadable
from harness.errors import DataError, closest
from harness.store.fingerprint import fingerprint_file

_KINDS = "a Parquet (.parquet) or CSV (.csv) file"
_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".tsv", ".txt")
_COMPRESSED = (".gz", ".zst", ".bz2", ".lz4")
_ALSO = f"a CSV file also compressed ({' '.join(_COMPRESSED)})"
_SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
_SHOWN = 12
# What other programs call the keys.
_USUAL = {
    "time": ["date", "datetime", "timestamp", "time", "day", "trade_date", "price date"],
    "instrument": "ticker symbol code instrument stock sid permno asset ts_code isin ric".split(),
}
_BARS = {"open", "high", "low", "close"}


@dataclass(frozen=True)
class TablePart:
    """One file of a table.

    Attributes:
        name: What it is called below the table's folder.
        values: Columns that its folders name, as in ``year=2019/part-0.parquet``.
    """

    path: Path
    name: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name of the file without what says how it is stored: ``BRK.B`` for ``BRK.B.csv.gz``."""
        return _uncompressed(self.path).rpartition(".")[0]


def parts_of(path: str, *, key: str, expected: str) -> list[TablePart]:
    """Return the files that a path means: itself, a folder's, or those that a pattern such as ``data/*.csv`` matches.

    Of a folder all Parquet files are taken, or all CSV files where there are none; hidden files and those that begin
    with ``_`` are not.

    Raises:
        DataError: When there is none; `key` is the configuration key that names the path.
    """
    found = Path(path).expanduser()
    if found.is_dir():
        files = [(file, file.relative_to(found).parts) for file in sorted(found.rglob("*")) if file.is_file()]
        inside = [file for file, names in files if not any(name.startswith((".", "_")) for name in names)]
        for suffixes in (_PARQUET, _CSV):
            if chosen := [file for file in inside if _suffix(file) in suffixes]:
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
    return [TablePart(existing_file(path, key=key, expected=expected), found.name)]


def fingerprint_parts(parts: Sequence[TablePart]) -> str:
    """Return the hex SHA-256 of one file, or of the names and digests of several."""
    if len(parts) == 1 and parts[0].name == parts[0].path.name and not parts[0].values:
        return fingerprint_file(parts[0].path)
    listed = "".join(f"{part.name}\0{fingerprint_file(part.path)}\n" for part in parts)
    return hashlib.sha256(listed.encode()).hexdigest()


def read_columns(
    part: TablePart, columns: Mapping[str, str], csv: CsvFormat, *, others: bool = False
) -> dict[str, Column]:
    """Return column → its values for the `columns` (canonical name → column) of a Parquet or CSV file.

    With `others` all that have a name follow in their order, but for those that hold the index of a frame.

    Raises:
        DataError: When the file is damaged, empty or of another kind, or columns are missing or there twice.
    """
    wanted = list(columns.values())
    file = CsvFile.recognised(part.path, csv, wanted) if _suffix(part.path) in _CSV else _parquet(part.path)
    is_csv = isinstance(file, CsvFile)
    present = file.heads if isinstance(file, CsvFile) else file.schema_arrow.names
    if others:
        rest = [name for name in present if name not in ("", *wanted) and not _is_index(name)]
        columns = {**columns, **{f"column {name}": name for name in rest}}
    if isinstance(file, CsvFile):
        at = _positions(columns, present, part, f", {file.described}")
        table, spot = file.read(at), file.spot
    else:
        at, spot = _positions(columns, present, part, ""), "row {}".format
        try:  # columns are chosen by name: of a name that occurs twice both would come
            table = file.read(columns=list(at)) if len(set(present)) == len(present) else file.read()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(part.path, error, _KINDS) from error
    if table.num_rows == 0:
        expected = "one row per time and instrument"
        raise DataError("The file has no rows.", where=str(part.path), expected=expected)
    place = {name: i for i, name in enumerate(table.column_names)}
    read = {}
    for name in dict.fromkeys(columns.values()):
        if name in at:
            read[name] = Column(name, table.column(place[name]), part.path, spot, is_csv)
        else:
            value = pa.chunked_array([pa.repeat(pa.scalar(part.values[name]), table.num_rows)])
            read[name] = Column(name, value, part.path, spot, is_text=True)
    return read


def _parquet(path: Path) -> pq.ParquetFile:
    suffix = _suffix(path)
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


def _positions(columns: Mapping[str, str], present: Sequence[str], part: TablePart, how: str) -> dict[str, int]:
    times, where = Counter(present) + Counter(part.values.keys()), str(part.path)
    missing = {name: column for name, column in columns.items() if column not in times}
    if missing:
        what = "The file lacks a column." if len(missing) == 1 else f"The file lacks {len(missing)} columns."
        got = f"no column {', '.join(f'`{column}`' for column in missing.values())}"
        shown = [f"`{name}`" for name in present[:_SHOWN]] + (["…"] if len(present) > _SHOWN else [])
        hint = "; ".join(_remedy(name, column, present) for name, column in missing.items())
        raise DataError(what, where=where, got=got, expected=f"columns of the file: {', '.join(shown)}{how}", hint=hint)
    wanted = dict.fromkeys(columns.values())
    twice = [f"`{name}` {times[name]} times" for name in wanted if times[name] > 1]
    if twice:
        what, expected = "A column name occurs more than once in the file.", "each column that is read once"
        hint = "rename or remove one of them, in pandas: frame.loc[:, ~frame.columns.duplicated()]"
        raise DataError(what, where=where, got=", ".join(twice), expected=expected, hint=hint)
    place = {name: at for at, name in enumerate(present)}
    return {name: place[name] for name in wanted if name not in part.values}


def _remedy(name: str, column: str, present: Sequence[str]) -> str:
    """Return what to do about a column that is missing: the one that was meant, another layout, or to leave it out."""
    folded = [other for other in present if other.casefold() == column.casefold()]
    near = f"did you mean `{folded[0]}`?" if folded else closest(column, present)
    if near is not None:
        return f"{column}: {near}"
    if name not in _USUAL:
        return f"data.columns.{name}=COLUMN names it, '~data.columns.{name}' leaves it out"
    usual = [other for other in present if other.casefold() in _USUAL[name]]
    usual += [other for other in present if name == "time" and (other == "" or _is_index(other))]
    if usual:
        return f"data.columns.{name}={usual[0] or repr('')}"
    each = "data=per_instrument reads a file per instrument"
    if name == "instrument" and {other.casefold() for other in present} >= _BARS:
        return f"no column names the instrument: {each}, which is called like it"
    layouts = "" if name == "time" else f"; where there is none, {each} and data=wide a column per instrument"
    return f"data.columns.{name}=COLUMN names the column of the {name}s{layouts}"


def _is_index(name: str) -> bool:
    """Return whether pandas wrote a column because a frame has an index, not because somebody wanted it."""
    return name.startswith(("Unnamed: ", "__index_level_"))


def _part(file: Path, folder: Path) -> TablePart:
    relative = file.relative_to(folder)
    pairs = [name.split("=", 1) for name in relative.parts[:-1] if "=" in name]
    return TablePart(file, relative.as_posix(), {name: unquote(value) for name, value in pairs})


def _uncompressed(path: Path) -> str:
    return path.name[: -len(path.suffix)] if path.suffix.lower() in _COMPRESSED else path.name


def _suffix(path: Path) -> str:
    return Path(_uncompressed(path)).suffix.lower()
