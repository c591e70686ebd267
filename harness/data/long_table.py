"""Long tables on disk (one row per time and instrument, Parquet or CSV) read into checked columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from harness.errors import DataError, closest

__all__ = ["LongTable", "read_long"]

_SHOWN = 5
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$|^(?i:nan)?$"
_DAY = r"^\d{4}-\d{2}-\d{2}([T ].*)?$"
_FORMATS = "a Parquet (.parquet) or CSV (.csv) file"


@dataclass(frozen=True, eq=False)
class LongTable:
    """Columns of n rows.

    Attributes
    ----------
    times
        (n,) int64 nanoseconds since 1970.
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


def read_long(path: Path, columns: Mapping[str, str]) -> LongTable:
    """Read the named columns of a Parquet or CSV file, by its extension.

    Parameters
    ----------
    path
        The file.
    columns
        canonical name → column of the file; ``time`` and ``instrument`` are keys, everything else is a field.

    Raises
    ------
    DataError
        When the file is damaged or empty, lacks a column, or a column has the wrong type or an empty key; with the
        first offending rows.
    """
    table = _read(path, columns)
    if table.num_rows == 0:
        raise DataError("The file has no rows.", where=str(path), expected="one row per time and instrument")
    codes, instruments = _instruments(table.column(columns["instrument"]), path)
    return LongTable(
        times=_times(table.column(columns["time"]), columns["time"], path),
        codes=codes,
        instruments=instruments,
        fields={
            name: _numbers(table.column(column), column, path)
            for name, column in columns.items()
            if name not in ("time", "instrument")
        },
    )


def _read(path: Path, columns: Mapping[str, str]) -> pa.Table:
    wanted, keys = list(dict.fromkeys(columns.values())), [columns["instrument"]]
    try:
        match path.suffix.lower():
            case ".parquet":
                file = pq.ParquetFile(path, read_dictionary=keys)
                _require(wanted, file.schema_arrow.names, path)
                return file.read(columns=wanted)
            case ".csv":
                # The whole file is read, so that a missing column gets our message, with a suggestion.
                table = pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types={keys[0]: pa.string()}))
                _require(wanted, table.column_names, path)
                return table.select(wanted)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "The file cannot be read; it may be truncated.", where=str(path), got=str(error), expected=_FORMATS
        ) from error
    raise DataError("This kind of file is not known.", where=str(path), got=path.suffix or path.name, expected=_FORMATS)


def _require(wanted: Sequence[str], present: Sequence[str], path: Path) -> None:
    for name in wanted:
        if name not in present:
            raise DataError(
                "The file lacks a column.",
                where=str(path),
                got=f"no column `{name}`",
                expected=f"columns of the file: {', '.join(present)}",
                hint=closest(name, present) or "map it under `columns` in the data configuration",
            )


def _times(column: pa.ChunkedArray, name: str, path: Path) -> npt.NDArray[np.int64]:
    kind = column.type
    is_time = pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
    if not is_time:
        bad = _unmatched(column, _DAY) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else []
        raise _wrong_type(name, column, bad, path, "dates, or timestamps without a time zone")
    _refuse_empty(column, name, path)
    try:
        moments = column.cast(pa.timestamp("ns")).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(
            f"Column `{name}` holds a time that does not fit.", where=str(path), got=str(error), expected="1678 … 2262"
        ) from error
    times: npt.NDArray[np.int64] = moments.astype("datetime64[ns]").astype(np.int64)
    return times


def _instruments(column: pa.ChunkedArray, path: Path) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_integer(plain)):
        raise _wrong_type("instrument", column, [], path, "text, or whole numbers")
    _refuse_empty(column, "instrument", path)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries()
    indices = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    names = np.array([str(value) for value in encoded.chunk(0).dictionary.to_pylist()], dtype=np.str_)
    used = np.flatnonzero(np.bincount(indices, minlength=names.size))
    instruments, inverse = np.unique(names[used], return_inverse=True)
    code = np.zeros(names.size, dtype=np.int64)
    code[used] = inverse
    return code[indices], tuple(instruments.tolist())


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> npt.NDArray[np.float32]:
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan, dtype=np.float32)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        raise _wrong_type(name, column, _unmatched(column, _NUMBER) if is_text else [], path, "numbers")
    values: npt.NDArray[np.float32] = column.cast(pa.float32(), safe=False).to_numpy()
    return values


def _unmatched(column: pa.ChunkedArray, pattern: str) -> list[int]:
    fits = pc.fill_null(pc.match_substring_regex(column, pattern), True)
    return np.flatnonzero(~fits.to_numpy()).tolist()


def _refuse_empty(column: pa.ChunkedArray, name: str, path: Path) -> None:
    if column.null_count:
        empty = np.flatnonzero(column.is_null().to_numpy())
        raise DataError(
            f"{column.null_count} row(s) have no key in column `{name}`.",
            where=str(path),
            got=f"the first: row {', row '.join(map(str, empty[:_SHOWN]))}",
            expected="a time and an instrument in every row",
        )


def _wrong_type(name: str, column: pa.ChunkedArray, rows: list[int], path: Path, expected: str) -> DataError:
    bad = rows or range(len(column))
    shown = "\n".join(f"    row {row}: {column[row].as_py()!r}" for row in bad[:_SHOWN])
    return DataError(
        f"{len(bad)} value(s) of column `{name}` have the wrong type.",
        where=str(path),
        got=f"{column.type}, the first:\n{shown}",
        expected=expected,
    )
