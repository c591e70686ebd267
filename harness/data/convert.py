"""Write a panel in the formats that the sources read: `bench data convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.calendar import time_texts
from harness.data.codes import check_codes
from harness.data.membership import spans_of, write_spans
from harness.data.panel import Panel
from harness.data.sources.qlib_bin import ALL, write_qlib_bin
from harness.data.text_files import write_lines
from harness.errors import DataError
from harness.store.files import file_name, new_folder

Format = Literal["long", "qlib_bin"]

_TAKEN: dict[Format, tuple[str, ...]] = {"long": ("calendar",), "qlib_bin": (ALL,)}


def convert(panel: Panel, folder: Path, form: Format, *, universe: str, freq: str = "day") -> None:
    """Write `panel` as the new folder `folder`.

    Args:
        panel: What to write. The simulator's truth is not written.
        folder: Must not exist; it appears only when complete.
        form: ``long`` for `TabularSource`, ``qlib_bin`` for `QlibBinSource`.
        universe: Name of the membership file.
        freq: Name of the frequency in qlib's format.

    Raises:
        DataError: When the folder exists, or a name cannot be written; before anything is.
    """
    if not universe or universe != file_name(universe) or universe.lower() in _TAKEN[form]:
        raise DataError(
            "The universe cannot be called that: it is the name of a text file.",
            where="--universe",
            got=repr(universe),
            expected=f"a plain name such as csi300, and not {', '.join(_TAKEN[form])}, which is another file",
        )
    match form:
        case "long":
            write_long(panel, folder, universe=universe)
        case "qlib_bin":
            write_qlib_bin(panel, folder, universe=universe, freq=freq)


def write_long(panel: Panel, folder: Path, *, universe: str) -> None:
    """Write the files that `TabularSource` reads.

    ``panel.parquet`` (datetime, instrument, fields; a row for each pair that has any value, in that order),
    ``<universe>.txt``, ``calendar.txt`` and, if there is one, ``benchmark.parquet``.

    Raises:
        DataError: When the folder exists, or a code cannot be kept as it is.
    """
    if panel.benchmark is not None:
        check_codes([panel.benchmark.name], where="benchmark")
    with new_folder(folder) as staging:
        present = np.logical_or.reduce([~np.isnan(values) for values in panel.fields.values()])
        times, columns = np.nonzero(present)
        fields = {name: values[times, columns] for name, values in panel.fields.items()}
        codes = pa.DictionaryArray.from_arrays(columns.astype(np.int32), pa.array(panel.instruments, pa.string()))
        _write(staging / "panel.parquet", panel.calendar.times[times], codes.cast(pa.string()), fields)
        write_lines(staging / "calendar.txt", time_texts(panel.calendar))
        write_spans(spans_of(panel.membership, panel.calendar, panel.instruments), staging / f"{universe}.txt")
        if panel.benchmark is not None:
            known = np.flatnonzero(~np.isnan(panel.benchmark.close))
            level = {panel.price_field: panel.benchmark.close[known]}
            name = pa.array([panel.benchmark.name] * known.size, pa.string())
            _write(staging / "benchmark.parquet", panel.calendar.times[known], name, level)


def _write(
    path: Path, times: npt.NDArray[np.datetime64], codes: pa.Array, fields: dict[str, npt.NDArray[np.float32]]
) -> None:
    keys = {"datetime": pa.array(times), "instrument": codes}
    pq.write_table(pa.table(keys | {name: pa.array(values) for name, values in fields.items()}), path)
