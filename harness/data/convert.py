"""Write a panel in the formats that the sources read: `bench data convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.codes import check_codes
from harness.data.membership import spans_of, write_spans
from harness.data.panel import Panel
from harness.data.sources.qlib_bin import ALL, write_qlib_bin
from harness.data.text_files import write_lines
from harness.errors import DataError
from harness.store.arrow import named
from harness.store.files import file_name, new_folder

Format = Literal["long", "qlib_bin"]


def convert(panel: Panel, folder: Path, form: Format, *, universe: str, freq: str = "day") -> None:
    """Write `panel`, but for a simulator's truth, as a new folder that appears only when complete.

    Args:
        form: ``long`` for `TabularSource`, ``qlib_bin`` for `QlibBinSource`.
        universe: Name of the membership file.
        freq: Name of the frequency in qlib's format.

    Raises:
        DataError: When the folder exists, or a name cannot be written; before anything is.
    """
    taken = "calendar" if form == "long" else ALL
    if not universe or universe != file_name(universe) or universe.lower() == taken:
        what = "The universe cannot be called that: it is the name of a text file."
        expected = f"a plain name such as csi300, and not {taken}, which is another file"
        raise DataError(what, where="--universe", got=repr(universe), expected=expected)
    if form == "long":
        write_long(panel, folder, universe=universe)
    else:
        write_qlib_bin(panel, folder, universe=universe, freq=freq)


def write_long(panel: Panel, folder: Path, *, universe: str) -> None:
    """Write the files that `TabularSource` reads; raises as `convert` does.

    ``panel.parquet`` (datetime, instrument, fields; a row for each pair that has any value, in that order),
    ``<universe>.txt``, ``calendar.txt`` and, if there is one, ``benchmark.parquet``.
    """
    times, columns = np.nonzero(panel.present)
    codes = named(columns.astype(np.int32), panel.instruments)
    keys = {"datetime": pa.array(panel.calendar.times[times]), "instrument": codes.cast(pa.string())}
    tables = {"panel": keys | {name: pa.array(values[times, columns]) for name, values in panel.fields.items()}}
    if panel.benchmark is not None:
        check_codes([panel.benchmark.name], where="benchmark")
        known = np.flatnonzero(~np.isnan(panel.benchmark.close))
        tables["benchmark"] = {
            "datetime": pa.array(panel.calendar.times[known]),
            "instrument": pa.array([panel.benchmark.name] * known.size, pa.string()),
            panel.price_field: pa.array(panel.benchmark.close[known]),
        }
    with new_folder(folder) as staging:
        for name, table in tables.items():
            pq.write_table(pa.table(table), staging / f"{name}.parquet")
        write_lines(staging / "calendar.txt", panel.calendar.texts)
        write_spans(spans_of(panel.membership, panel.calendar, panel.instruments), staging / f"{universe}.txt")
