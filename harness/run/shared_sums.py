"""The sums that the windows of a walk share, as stages: taken once, by whoever asks first, or by workers in parts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.execution.progress import Observer
from harness.run.stages import Cache, Stage, files_of
from harness.samples.gram import GramBlocks, Period
from harness.samples.interfaces import TimeWeights
from harness.samples.table import SampleTable
from harness.samples.windows import Segment
from harness.store.artifacts import Key, key_of

Doubles = npt.NDArray[np.float64]
_ROWS_SUMMED = 1 << 18  # of a task


@dataclass(frozen=True, eq=False)
class SharedSums:
    """Blocks of sums, cut where the windows' learning periods end, so that none has a ragged end.

    They are cut from the first window's end on, so that a window more changes none of them.

    Attributes:
        table: Its rows are those of the processed table; its features are not looked at.
        learned: What each window learns from, and with which weights.
        step: Times per block.
        processed: The stage of the processed table, and what was read for it.
        code: Digest of the code that takes the sums.
    """

    table: SampleTable
    learned: Sequence[tuple[Segment, TimeWeights | None]]
    step: int
    processed: Stage[tuple[SampleTable, Any]]
    cache: Cache | None
    code: str
    observer: Observer

    @property
    def stages(self) -> list[Stage[Doubles]]:
        """The sums of all periods, in parts of consecutive times."""
        return [self._part(at) for at in range(len(self._summed))]

    def blocks(self, table: SampleTable) -> Stage[GramBlocks]:
        """Return the stage of the blocks of the processed table.

        Where processes share, the sums that any window needs are taken once, when the first asks for one.
        """
        blocks = partial(self._of, table, observer=self.observer)
        cache = self.cache
        if cache is None or not cache.shared:  # in memory alone, experiments of other weights share them
            key = Key("gram", f"{self.processed.key.digest} {self.step} {self._origin}", "")
            return Stage("gram", lambda: key, blocks, remembered=True)

        def kept() -> dict[Period, Doubles]:
            found: dict[Period, Doubles] = {}
            for periods, stage in zip(self._summed, self.stages, strict=True):
                taken: Doubles = cache.get(stage)
                found.update(zip(periods, taken, strict=True))
            return found

        asked = partial(key_of, "gram", sums=[stage.key.digest for stage in self.stages])
        return Stage("gram", asked, lambda: blocks(kept=kept), remembered=True)

    @property
    def _origin(self) -> int:
        return self.learned[0][0].stop

    def _of(self, table: SampleTable, **more: Any) -> GramBlocks:
        parts = table.features, table.label, table.index.offsets
        return GramBlocks(*parts, step=self.step, origin=self._origin, **more)

    def _part(self, at: int) -> Stage[Doubles]:
        """Return the stage of the sums of some periods, the same bits as among all."""
        periods = self._summed[at]

        def make() -> Doubles:
            made = self.processed.make() if self.cache is None else self.cache.get(self.processed)
            return self._of(made[0]).sums(periods)

        key = partial(key_of, "sums", processed=self.processed.key.digest, code=self.code, periods=periods)
        return Stage("sums", key, make, *files_of(np.ndarray), at=at)

    @cached_property
    def _summed(self) -> list[list[Period]]:
        """The periods whose sums the windows need, in groups of consecutive times and about as many rows."""
        plain, found, offsets = self._of(self.table), set[Period](), self.table.index.offsets
        for train, weights in self.learned:
            per_time = None if weights is None else weights.at(train.start, train.stop)
            found.update(plain.periods(train.start, train.stop, per_time))
        of_group = itertools.groupby(sorted(found), lambda period: int(offsets[period[0]]) // _ROWS_SUMMED)
        return [list(periods) for _, periods in of_group]
