"""The point-in-time sample table: rows in (time, instrument) order, seen through views that end at a decision time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import DataError, LookAheadError
from harness.samples.chunks import Rows, part_of, rows_where

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RowIndex:
    """Which (time, instrument) pairs are rows; n rows, T times.

    Attributes:
        offsets: (T + 1,) int64; rows ``offsets[t] … offsets[t + 1]`` belong to calendar position t.
        codes: (n,) int32, the instrument's column in the panel, increasing within a time.
    """

    offsets: Positions
    codes: npt.NDArray[np.int32]

    def rows(self, start: int, stop: int) -> slice:
        """Return the rows of calendar positions [start, stop): always a slice."""
        return slice(int(self.offsets[start]), int(self.offsets[stop]))

    def times(self, start: int, stop: int) -> Positions:
        """Return the calendar position of every row of [start, stop)."""
        return np.repeat(np.arange(start, stop), np.diff(self.offsets[start : stop + 1]))

    def local_offsets(self, start: int, stop: int) -> Positions:
        """Return (stop − start + 1,) offsets of [start, stop) counted from its own first row."""
        offsets: Positions = self.offsets[start : stop + 1] - self.offsets[start]
        return offsets


def index_rows(panel: Panel, *, listed: bool = False) -> RowIndex:
    """Return the rows of a panel: in the universe at that time and with a price.

    `listed` counts a suspended instrument as a row too, from its first to its last price, as qlib does. Only for
    parity: it knows at a suspension that trading will resume.
    """
    present = panel.traded
    if listed:
        seen = np.logical_or.accumulate(present, axis=0)
        present = seen & np.logical_or.accumulate(present[::-1], axis=0)[::-1]
    times, codes = np.nonzero(present & panel.membership)
    counts = np.bincount(times, minlength=len(panel.calendar))
    return RowIndex(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), codes.astype(np.int32))


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Features and label of every sample; n rows, F features, T times.

    Attributes:
        calendar, instruments: What positions and codes stand for.
        features: (n, F) float32, C-contiguous; may be memory-mapped, or `LazyRows`, of which slices are arrays.
        label: (n,) float32, NaN where it cannot be computed.
        look_ahead: A label at position s is known at s + look_ahead.

    Raises:
        DataError: When shapes or dtypes disagree, or the offsets do not cover the calendar in order.
    """

    calendar: Calendar
    instruments: tuple[str, ...]
    index: RowIndex
    features: Floats
    feature_names: tuple[str, ...]
    label: Floats
    look_ahead: int

    def __post_init__(self) -> None:
        offsets = self.index.offsets
        if offsets.shape != (len(self.calendar) + 1,) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            what = "The row offsets must start at 0, never step back, and number one more than the periods."
            got = f"{offsets.size} offsets for {len(self.calendar)} periods"
            raise DataError(what, where="SampleTable.index.offsets", got=got)
        n = int(offsets[-1])
        shapes = (self.index.codes.shape, self.features.shape, self.label.shape)
        if shapes != ((n,), (n, len(self.feature_names)), (n,)):
            raise DataError("A sample table's arrays disagree.", got=f"codes, features, label of shape {shapes}")
        if self.features.dtype != np.float32 or self.label.dtype != np.float32:
            raise DataError("Features and label must be float32.", got=f"{self.features.dtype} and {self.label.dtype}")
        if self.look_ahead < 0:
            raise DataError("A label cannot be known before its own time.", got=f"look_ahead = {self.look_ahead}")
        for values in (self.features, self.label, self.index.codes, self.index.offsets):
            if isinstance(values, np.ndarray):
                values.setflags(write=False)

    def __len__(self) -> int:
        return int(self.index.offsets[-1])

    def as_of(self, decision: int) -> AsOfView:
        """Return what is known at the close of calendar position `decision`."""
        return AsOfView(self, decision)

    def with_columns(self, features: Floats, feature_names: tuple[str, ...], label: Floats) -> SampleTable:
        """Return a table of the same rows with other columns, such as processed ones."""
        return replace(self, features=features, feature_names=feature_names, label=label)

    def restricted(self, start: int, stop: int) -> SampleTable:
        """Return only the rows of positions [start, stop), without a copy; positions keep their meaning."""
        rows = self.index.rows(start, stop)
        index = RowIndex(np.clip(self.index.offsets, rows.start, rows.stop) - rows.start, self.index.codes[rows])
        return replace(self, index=index, features=part_of(self.features, rows), label=self.label[rows])

    @cached_property
    def labelled(self) -> SampleTable:
        """Only the rows that have a label, in the same order, so that a learning period is one contiguous slice.

        Whether row s is in it depends on label s alone, which a view releases only once it has matured.
        """
        keep = ~np.isnan(self.label)
        return self if keep.all() else self._kept(keep)

    def of_instrument(self, code: int) -> SampleTable:
        """Return only the rows of one instrument column."""
        return self._kept(self.index.codes == code)

    def _kept(self, keep: Booleans) -> SampleTable:
        kept_before = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)  # (n + 1,)
        index = RowIndex(kept_before[self.index.offsets], self.index.codes[keep])
        return replace(self, index=index, features=rows_where(self.features, keep), label=self.label[keep])


@dataclass(frozen=True)
class Reads:
    """The newest calendar positions whose data were read: the raw material of the static audit.

    Attributes:
        feature: Newest time whose features were read; −1 when none.
        label_known: Newest time at which a label that was read became known; −1 when none.
    """

    feature: int = -1
    label_known: int = -1

    def __or__(self, other: Reads) -> Reads:
        return Reads(max(self.feature, other.feature), max(self.label_known, other.label_known))


@dataclass(frozen=True, eq=False)
class AsOfView:
    """What is known at one decision time; the only thing that fitting code receives.

    Features of times ≤ decision; labels of times s with s + look_ahead ≤ decision. Every array is a read-only slice.
    The view records the newest time it released.

    Attributes:
        decision: The calendar position at whose close the decision is made.

    Raises:
        LookAheadError: When the decision is not on the calendar, or something is asked for that is not known then.
    """

    _table: SampleTable = field(repr=False)
    decision: int
    _period: tuple[int, int] = (0, sys.maxsize)  # [start, stop) outside which nothing is shown
    reads: Reads = field(default=Reads(), init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.decision < len(self.calendar):
            expected = f"a position in 0 … {len(self.calendar) - 1}"
            raise LookAheadError("The decision time is not on the calendar.", got=self.decision, expected=expected)

    @property
    def calendar(self) -> Calendar:
        """The whole calendar: dates are public knowledge, data are not."""
        return self._table.calendar

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The F feature names."""
        return self._table.feature_names

    @property
    def look_ahead(self) -> int:
        """How many positions after its own time a label becomes known."""
        return self._table.look_ahead

    @property
    def feature_stop(self) -> int:
        """One past the newest position whose features may be read."""
        return min(self.decision + 1, self._period[1])

    @property
    def label_stop(self) -> int:
        """One past the newest position whose label has matured."""
        return min(max(self.decision - self.look_ahead + 1, 0), self.feature_stop)

    def features(self, start: int, stop: int) -> Floats:
        """Return (m, F) float32, the features of positions [start, stop)."""
        self._release("features", start, stop)
        return self._table.features[self._table.index.rows(start, stop)]

    def rows(self, start: int, stop: int) -> Rows:
        """Return the features of positions [start, stop), to be read by slices: they need not fit into memory."""
        self._release("features", start, stop)
        found: Rows = part_of(self._table.features, self._table.index.rows(start, stop))
        return found

    def label(self, start: int, stop: int) -> Floats:
        """Return (m,) float32, the labels of positions [start, stop), NaN where there is none."""
        self._release("labels", start, stop)
        return self._table.label[self._table.index.rows(start, stop)]

    def offsets(self, start: int, stop: int) -> Positions:
        """Return (stop − start + 1,) row offsets of [start, stop), from 0; same rows as `features` returns."""
        self._release("features", start, stop)
        return self._table.index.local_offsets(start, stop)

    def codes(self, start: int, stop: int) -> npt.NDArray[np.int32]:
        """Return (m,) int32 instrument columns of the rows of [start, stop)."""
        self._release("features", start, stop)
        return self._table.index.codes[self._table.index.rows(start, stop)]

    def labelled(self, start: int, stop: int) -> AsOfView:
        """Return a view of the rows of [start, stop) that have a label, and of nothing else.

        Reads through it are recorded here too, at once: which rows have a label is itself known only once the labels
        have matured, so the view ends where they do.
        """
        self.release(start, stop)
        return AsOfView(self._table.labelled, self.decision, (start, stop))

    def replaced(self, start: int, stop: int, features: Floats, label: Floats) -> AsOfView:
        """Return a view of [start, stop), and of nothing else, with other columns; what they are made of is read."""
        self.release(start, stop)
        table = self._table.restricted(start, stop).with_columns(features, self.feature_names, label)
        return AsOfView(table, self.decision, (start, stop))

    def of_instrument(self, code: int, start: int, stop: int) -> AsOfView:
        """Return a view of the rows of one instrument column in [start, stop); what may be read there is recorded here.

        Positions keep their meaning.
        """
        self.release(start, stop)
        return AsOfView(self._table.restricted(start, stop).of_instrument(code), self.decision, (start, stop))

    def release(self, start: int, stop: int) -> None:
        """Record that features and labels of [start, stop) are used, for statistics that were summed beforehand."""
        self._release("features", start, stop)
        self._release("labels", start, stop)

    def _release(self, what: Literal["features", "labels"], start: int, stop: int) -> None:
        limit = self.label_stop if what == "labels" else self.feature_stop
        if not 0 <= start <= stop:
            raise LookAheadError(f"Not a period of {what}.", got=f"[{start}, {stop})", expected="0 ≤ start ≤ stop")
        if not self._period[0] <= start <= stop <= self._period[1]:
            got, expected = f"{what} of positions [{start}, {stop})", "positions within [{}, {})".format(*self._period)
            raise LookAheadError("This view was opened for one period only.", got=got, expected=expected)
        if stop > limit:
            asked = self.calendar.format(min(stop - 1, len(self.calendar) - 1))
            allowed = self.calendar.format(limit - 1) if limit > 0 else "none yet"
            raise LookAheadError(
                f"These {what} are not known at the decision time {self.calendar.format(self.decision)}.",
                got=f"{what} up to {asked} (position {stop - 1})",
                expected=f"{what} up to {allowed} (position {limit - 1})",
                hint=f"a label matures {self.look_ahead} positions after its time" if what == "labels" else None,
            )
        if stop > start:
            newest = stop - 1
            released = Reads(-1, newest + self.look_ahead) if what == "labels" else Reads(newest)
            object.__setattr__(self, "reads", self.reads | released)


@dataclass(frozen=True)
class FitRecord:
    """Something that was learned from data before a decision.

    Attributes:
        decision: The earliest calendar position at which it is used: it must have read nothing newer.
    """

    name: str
    decision: int
    reads: Reads


@dataclass(eq=False)
class ViewLog:
    """Opens views of a table and remembers them, so that it is known afterwards what they released."""

    table: SampleTable
    _seen: list[AsOfView | FitRecord] = field(default_factory=list)

    def as_of(self, decision: int) -> AsOfView:
        """Return what is known at the close of calendar position `decision`."""
        view = self.table.as_of(decision)
        self._seen.append(view)
        return view

    @property
    def mark(self) -> int:
        """Where the log stands now."""
        return len(self._seen)

    def tell(self, records: Iterable[FitRecord]) -> None:
        """Count what was read earlier, to make a result that is now taken from the store."""
        self._seen.extend(records)

    def fit_records(self, name: str, since: int = 0) -> tuple[FitRecord, ...]:
        """Return what every view has released since an earlier `mark`, against its decision; one for each decision."""
        newest: dict[int, Reads] = {}
        for seen in self._seen[since:]:
            newest[seen.decision] = newest.get(seen.decision, Reads()) | seen.reads
        return tuple(FitRecord(name, decision, reads) for decision, reads in sorted(newest.items()))
