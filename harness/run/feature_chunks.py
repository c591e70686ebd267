"""Features in chunks of time, each stored by what it is made of: a panel that grows leaves them as they are."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.execution.progress import Observer
from harness.features.engine import (
    STAGE,
    compute_period,
    known_fields,
    reach_of,
    settle_names,
)
from harness.features.expression import windows_of
from harness.features.feature_set import FeatureSet
from harness.run.stages import Cache, Stage, files_of
from harness.samples.chunks import LazyRows, chunk_borders, columns_of
from harness.samples.table import RowIndex
from harness.store.artifacts import Key, key_of, remove_folder

LENGTH = 128
"""Calendar positions of a chunk: few enough that the newest is soon computed, so many that there are few files."""
_HELD = 1 << 30  # bytes of chunks that are computed together, or open at the same time; at least one
_PART = 1 << 26  # bytes of features that a task computes, of some instruments
_LOOKED_AT = 512  # rows in which every feature is likely to have a value
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows of one chunk, of the features that can have values, and which of them have one."""

    values: Floats
    known: Bools


@dataclass(frozen=True)
class Names:
    """The features that have a value in some row, and those that have none."""

    names: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """The features of some instruments in a batch of chunks, which workers compute apart.

    Attributes:
        chunks: The chunks [begin, end) of the batch.
        group: Which of how many groups of its instruments.
        columns: (N',) their columns in the panel, sorted.
    """

    chunks: tuple[int, int]
    group: tuple[int, int]
    columns: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FeatureChunks:
    """The features of a panel's rows.

    Attributes:
        digests: (T + 1,) of what features are made of before each time, see `harness.samples.growth`.
        code: Digest of the code that computes them.
    """

    panel: Panel
    features: FeatureSet
    rows: RowIndex
    digests: tuple[str, ...]
    code: str
    cache: Cache
    observer: Observer
    _open: dict[int, Floats] = field(default_factory=dict)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """The C features that can have values: the columns of the chunks."""
        return known_fields(self.panel, self.features)

    @cached_property
    def borders(self) -> list[tuple[int, int]]:
        """The calendar positions [start, stop) of each chunk."""
        return chunk_borders(len(self.panel.calendar), LENGTH)

    @cached_property
    def _expressions(self) -> list[str]:
        expressions = dict(zip(self.features.names, self.features.expressions, strict=True))
        return [expressions[name] for name in self.computed]

    @cached_property
    def _reach(self) -> int:
        return reach_of(self.features)

    def matrix(self, names: tuple[str, ...]) -> Any:
        """Return (n, F') `Rows`, the features `names` of every row; chunks are opened when they are read."""
        bounds = self.rows.offsets[[0, *(stop for _, stop in self.borders)]]
        every = LazyRows.of_chunks(bounds, self._opened, len(self.computed))
        columns = np.array([self.computed.index(name) for name in names], dtype=np.int64)
        return every if names == self.computed else columns_of(every, columns)

    def make(self) -> Names:
        """Compute the chunks that are missing, some at a time; return what has a value anywhere.

        What one batch has computed is written while the next one is computed, where both can be held.
        """
        known, first = self._known_before()
        missing = [k for k in range(first, len(self.borders)) if not self.cache.store.holds(self.stage(k).key)]
        batches = self._batches(missing)
        self.observer.start(STAGE, sum(instruments for _, instruments in batches.values()))
        with ThreadPoolExecutor(1, thread_name_prefix="chunks") as writer:
            made, begin, end, batch = None, 0, 0, 0
            written, buffers = _Written(known), self._buffers(batches)
            for k in range(first, len(self.borders)):
                if k >= end:
                    made = None
                if k in batches:
                    begin, (end, _), batch = k, batches[k], batch + 1
                    written.wait(batch + 1 - len(buffers))  # what its buffer held before has been written
                    made = self._compute(self._period(begin, end), buffers[batch % len(buffers)])
                cut = None if made is None else partial(self._cut, made, self.borders[begin][0], k)
                written.add(batch, writer.submit(self._known_of, self.stage(k, cut)))
                del cut
                if k == len(self.borders) - 2:
                    written.wait(batch + 1)
                    self.cache.get(self._summary(k, written.known))
            written.wait(batch + 1)
        names = Names(*settle_names(self.features, self.computed, written.known, self.observer))
        if missing:
            self.observer.finish(STAGE, f"{len(names.names)} features of {int(self.rows.offsets[-1])} rows")
        if self.cache.shared:  # the chunks hold what the parts do
            for part in self.parts:
                with suppress(FileNotFoundError):
                    remove_folder(self.cache.store.path(self.part_stage(part).key))
        return names

    def _known_of(self, stage: Stage[Chunk]) -> Bools:
        return self.cache.get(stage).known

    @property
    def stages(self) -> list[Stage[Any]]:
        """Everything that is stored of these features."""
        nothing = np.zeros(len(self.computed), dtype=np.bool_)
        found: list[Stage[Any]] = [self.stage(k) for k in range(len(self.borders))]
        return [*found, *(self._summary(k, nothing) for k in range(len(self.borders) - 1))]

    @cached_property
    def parts(self) -> list[Part]:
        """Every batch in at least two groups of instruments, whatever the store has: workers count them alike."""
        found: list[Part] = []
        for begin, (end, _) in self._batches(list(range(len(self.borders)))).items():
            rows = self._rows(begin, end)
            columns = np.unique(self.rows.codes[rows])
            size = 4 * len(self.computed) * (rows.stop - rows.start)
            groups = np.array_split(columns, max(1, min(columns.size, max(2, -(-size // _PART)))))
            found += [Part((begin, end), (at, len(groups)), group) for at, group in enumerate(groups)]
        return found

    def part_stage(self, part: Part) -> Stage[Floats]:
        """Return the stage of (m, C) features at the m rows of a part, in the order of the rows."""
        key = partial(self._key, "part", *part.chunks, group=part.group)
        return Stage("part", key, partial(self._of_part, part), *files_of(np.ndarray), at=self.parts.index(part))

    def stage(self, k: int, make: Callable[[], Chunk] | None = None) -> Stage[Chunk]:
        """Return the stage of chunk `k`."""
        return Stage(
            "chunk", partial(self._key, "chunk", k, k + 1), make or partial(self._alone, k), *files_of(Chunk), at=k
        )

    def _period(self, begin: int, end: int) -> tuple[int, int]:
        """Return the calendar positions [start, stop) of the chunks [begin, end)."""
        return self.borders[begin][0], self.borders[end - 1][1]

    def _rows(self, begin: int, end: int) -> slice:
        return self.rows.rows(*self._period(begin, end))

    def _key(self, name: str, begin: int, end: int, **more: object) -> Key:
        period = self._period(begin, end)
        seen = self.digests[min(period[1] + self._reach, len(self.digests) - 1)]
        return key_of(name, seen=seen, period=period, expressions=self._expressions, code=self.code, **more)

    def _summary(self, k: int, known: Bools) -> Stage[Bools]:
        """Return the stage that says which features have a value in any of the chunks up to `k`."""
        files = files_of(np.ndarray, mapped=False)
        return Stage("known", partial(self._key, "known", k, k + 1), lambda: known, *files)

    def _known_before(self) -> tuple[Bools, int]:
        """Return which features are known to have a value without opening chunks, and the first chunk to look at."""
        nothing = np.zeros(len(self.computed), dtype=np.bool_)
        for k in range(len(self.borders) - 2, -1, -1):
            summary = self._summary(k, nothing)
            if self.cache.store.find(summary.key) is not None:
                return self.cache.get(summary), k + 1
        return nothing, 0

    def _batches(self, missing: list[int]) -> dict[int, tuple[int, int]]:
        """Return the first chunk of each batch that holds a missing one → one past its last, and its instruments."""
        found, end = {}, 0
        for k in missing:
            if k >= end:
                end, instruments = self._batch_from(k)
                found[k] = end, instruments
        return found

    def _batch_from(self, k: int) -> tuple[int, int]:
        """Return one past the last chunk that is computed together with chunk `k`, and how many instruments have rows.

        The longer a batch the less is computed twice, before each; the shorter the fewer instruments have no row most
        of the time. As many chunks as cost least by time, of those that fit; at least one. What reads all of the past
        is computed from the first time on, in one pass.
        """
        offsets, start, back = self.rows.offsets, self.borders[k][0], windows_of(self.features.parsed())
        first, most = int(offsets[start]), _HELD // (4 * max(1, len(self.computed)))
        has_row, costs = np.zeros(len(self.panel.instruments), dtype=np.bool_), list[tuple[float, int, int]]()
        for at, (begin, stop) in enumerate(self.borders[k:], k):
            if costs and back is not None and int(offsets[stop]) - first > most:
                break
            has_row[self.rows.codes[int(offsets[begin]) : int(offsets[stop])]] = True
            instruments = int(has_row.sum())
            read = stop - (0 if back is None else max(0, start - back))
            costs.append((instruments * read / (stop - start), at + 1, instruments))
        return (costs[-1] if back is None else min(costs))[1:]

    def _alone(self, k: int) -> Chunk:
        return self._cut(self._compute(self.borders[k]), self.borders[k][0], k)

    def _buffers(self, batches: Mapping[int, tuple[int, int]]) -> list[Floats]:
        """Return the memory that batches are computed in by turns, the first in the last: two where both can be held.

        Pages are taken when they are first written to; then all batches use the same ones.
        """
        rows = [self._rows(k, end) for k, (end, _) in batches.items()]
        sizes = [(one.stop - one.start) * len(self.computed) for one in rows]
        largest = [max(sizes[first::2], default=0) for first in (1, 0)]
        if 4 * sum(largest) > _HELD:
            largest = [max(largest)]
        return [np.empty(size, dtype=np.float32) for size in largest]

    def _compute(self, period: tuple[int, int], buffer: Floats | None = None) -> Floats:
        """Return (m, C) features of a period's m rows, in the beginning of a buffer where there is one."""
        offsets = self.rows.offsets
        shape = int(offsets[period[1]] - offsets[period[0]]), len(self.computed)
        out = np.empty(shape, np.float32) if buffer is None else buffer[: shape[0] * shape[1]].reshape(shape)
        if not self._put_together(period, out):
            compute_period(self.panel, self.features, offsets, self.rows.codes, period, out, self.observer)
        return out

    def _put_together(self, period: tuple[int, int], out: Floats) -> bool:
        """Write what the parts of a period hold into its rows; return whether workers have made them all."""
        parts = [one for one in self.parts if self._within(period, one)] if self.cache.shared else []
        if not parts or not all(self.cache.store.holds(self.part_stage(one).key) for one in parts):
            return False
        rows = self.rows.rows(*period)
        for part in parts:
            offsets, _ = self._rows_of(part)
            mine = np.isin(self.rows.codes[rows], part.columns)
            out[mine] = self.cache.get(self.part_stage(part))[int(offsets[period[0]]) : int(offsets[period[1]])]
        return True

    def _within(self, period: tuple[int, int], part: Part) -> bool:
        start, stop = self._period(*part.chunks)
        return start <= period[0] and period[1] <= stop

    def _rows_of(self, part: Part) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Return (T + 1,) offsets and (m,) codes of the rows of a part, as `RowIndex` has those of all."""
        rows = self._rows(*part.chunks)
        codes = self.rows.codes[rows]
        mine = np.isin(codes, part.columns)
        before = np.concatenate([[0], np.cumsum(mine)])
        return before[np.clip(self.rows.offsets - rows.start, 0, codes.size)], codes[mine]

    def _of_part(self, part: Part) -> Floats:
        (offsets, codes), period = self._rows_of(part), self._period(*part.chunks)
        out = np.empty((codes.size, len(self.computed)), dtype=np.float32)
        compute_period(self.panel, self.features, offsets, codes, period, out, self.observer)
        return out

    def _cut(self, made: Floats, begin: int, k: int) -> Chunk:
        """Return chunk `k` of what was computed from position `begin` on."""
        first, last = (int(self.rows.offsets[at] - self.rows.offsets[begin]) for at in self.borders[k])
        values = made[first:last]
        known = np.zeros(values.shape[1], dtype=np.bool_)
        for at in range(0, len(values), _LOOKED_AT):
            known |= ~np.isnan(values[at : at + _LOOKED_AT]).all(axis=0)
            if known.all():
                break
        return Chunk(values, known)

    def _opened(self, k: int) -> Floats:
        # Threads read the same rows, and CPython 3.11 cannot read the heads of two NumPy files at once.
        with self._opening:
            # The last is the one used last; who still reads one that is closed here keeps it until then.
            found = self._open[k] = self._open.pop(k) if k in self._open else self.cache.get(self.stage(k)).values
            while len(self._open) > 1 and sum(one.nbytes for one in self._open.values()) > _HELD:
                self._open.pop(next(iter(self._open)))
            return found


class _Written:
    """Chunks that a thread writes, by the batches that they were computed in, and which features have a value."""

    def __init__(self, known: Bools) -> None:
        self.known = known
        self._waiting = deque[tuple[int, Future[Bools]]]()

    def add(self, batch: int, known: Future[Bools]) -> None:
        self._waiting.append((batch, known))

    def wait(self, batch: int) -> None:
        """Wait for the chunks of all batches before this one."""
        while self._waiting and self._waiting[0][0] < batch:
            self.known = self.known | self._waiting.popleft()[1].result()
