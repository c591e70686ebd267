"""The data of one window as its model gets them: processed, through the window's as-of view, as Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import ConfigError
from harness.run.pipeline import Pipeline
from harness.run.rolling import Recipe, WalkForward
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment, Window
from harness.store.arrow import named
from harness.store.files import new_folder

Floats = npt.NDArray[np.float32]


class _Unweighted:
    """An adaptation that needs no fit: what a window's data are does not depend on their weights."""

    def time_weights(self, window: Window) -> None: ...

    def save(self, folder: Path) -> None: ...


def write_window(pipeline: Pipeline, at: int, folder: Path) -> dict[str, int]:
    """Write the data of window `at` into a new folder; return file → its rows.

    ``train.parquet`` and, where the model stops early, ``valid.parquet``: features and label of every row that has a
    label, as the processors leave them that were fitted on the train segment, read as of the window's decision.
    ``test.parquet``: the processed features that are predicted from, and the raw label that predictions are judged by,
    which the model never sees. Columns: ``datetime``, ``instrument``, the features, ``label``.

    Raises:
        ConfigError: When there is no such window.
        DataError: When the folder is there already.
    """
    pipeline.check()
    windows, config = pipeline.windows, pipeline.config
    if not 0 <= at < len(windows):
        what, hint = "There is no such window.", "`bench explain` lists them"
        raise ConfigError(what, where="N", got=at, expected=f"0 … {len(windows) - 1}", hint=hint)
    recipe = Recipe(config.preprocess, _Unweighted(), config.model, config.windows.step)
    walk = WalkForward(pipeline.table, windows, recipe, pipeline.cache, pipeline.table_stage.key.digest)
    table, (train, valid) = walk.table_of(at), walk.learning_of(at)
    window, view = windows[at], table.as_of(windows[at].decision)
    written = {}
    with new_folder(folder) as target:
        for name, segment in (("train", train), ("valid", valid)):
            if segment is not None:
                rows = _known(view.labelled(segment.start, segment.stop), segment, table)
                written[f"{name}.parquet"] = _write(target / f"{name}.parquet", rows)
        written["test.parquet"] = _write(target / "test.parquet", _tested(table, window.test, pipeline.table))
    return written


def _known(view: AsOfView, segment: Segment, table: SampleTable) -> pa.Table:
    period = segment.start, segment.stop
    times = np.repeat(np.arange(*period), np.diff(view.offsets(*period)))
    return _table(table, times, view.codes(*period), view.features(*period), view.label(*period))


def _tested(table: SampleTable, segment: Segment, raw: SampleTable) -> pa.Table:
    period = segment.start, segment.stop
    rows, label = table.index.rows(*period), raw.label[raw.index.rows(*period)]
    return _table(table, table.index.times(*period), table.index.codes[rows], table.features[rows], label)


def _table(
    table: SampleTable, times: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], features: Floats, label: Floats
) -> pa.Table:
    columns = {
        "datetime": table.calendar.times[times],
        "instrument": named(codes, table.instruments),
        **{name: features[:, column] for column, name in enumerate(table.feature_names)},
        "label": label,
    }
    return pa.table(columns)


def _write(path: Path, rows: pa.Table) -> int:
    pq.write_table(rows, path, compression="zstd")
    return int(rows.num_rows)
