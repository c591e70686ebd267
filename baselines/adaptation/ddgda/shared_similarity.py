"""LightGBM similarity by many workers: the processed rows go to the stash once, and every block's column by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.gbdt import BlockProxies, GbdtParameters
from baselines.adaptation.ddgda.similarity import Similarity, whole_blocks
from harness.data.calendar import Calendar
from harness.samples.interfaces import History, Stored
from harness.samples.table import Artefact, RowIndex, SampleTable
from harness.samples.windows import Segment
from harness.store import codec

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rows:
    """What proxies are fitted on.

    Attributes:
        table: Processed features and label.
        learned: The processors, with what their views recorded.
    """

    table: SampleTable
    learned: tuple[Artefact, ...]


@dataclass(frozen=True, eq=False)
class SharedSimilarity:
    """The similarity of one feature choice, in parts that any process can make.

    Attributes:
        history: Its stash holds the parts.
        parts: JSON-able: what determines the rows.
        start, last: First position of block 0; the newest position whose rows are used.
        rows: Makes the rows.
        gbdt, seed: Of the proxies.
    """

    history: History
    parts: Mapping[str, object]
    start: int
    last: int
    rows: Callable[[], Rows]
    gbdt: GbdtParameters
    seed: int

    @property
    def blocks(self) -> tuple[Segment, ...]:
        """The blocks, one column each."""
        return whole_blocks(self.start, self.history.as_of(self.last).label_stop, self.history.step)

    @cached_property
    def processed(self) -> Rows:
        """The rows, memory-mapped where the stash has them."""
        calendar = self.history.as_of(self.last).calendar
        look_ahead = self.history.as_of(self.last).look_ahead
        stored = Stored(self.rows, _save, lambda folder: _load(folder, calendar, look_ahead))
        return self.history.stash("similarity_rows", self.parts, stored)

    def column_parts(self, k: int) -> dict[str, object]:
        """Return what determines the column of block `k`."""
        return {**self.parts, "block": k}

    def column(self, k: int) -> Doubles:
        """Return the rank IC of block `k`'s proxy at every known time, (times,)."""
        # Looked up first, so that what the column is said to have read does not depend on which one was made first.
        _ = self.processed
        stored = Stored.record(lambda: self._proxies.judge(self._proxies.predict(k)), np.ndarray)
        return self.history.stash("similarity_column", self.column_parts(k), stored)

    def whole(self) -> tuple[Similarity, tuple[Artefact, ...]]:
        """Return the similarity from all columns, and what its processors read."""
        columns = [self.column(k) for k in range(len(self.blocks))]
        look_ahead = self.processed.table.look_ahead
        return Similarity(self.start, self.history.step, look_ahead, np.stack(columns, axis=1)), self.processed.learned

    @cached_property
    def _proxies(self) -> BlockProxies:
        view = self.processed.table.as_of(self.last)
        return BlockProxies(view, self.start, self.history.step, self.gbdt, self.seed)


def _save(rows: Rows, folder: Path) -> None:
    table = rows.table
    codec.save(folder, (table.index, table.features, table.feature_names, table.label, rows.learned))


def _load(folder: Path, calendar: Calendar, look_ahead: int) -> Rows:
    index, features, names, label, learned = codec.load(
        folder, tuple[RowIndex, Floats, tuple[str, ...], Floats, tuple[Artefact, ...]]
    )
    return Rows(SampleTable(calendar, (), index, features, names, label, look_ahead), learned)
