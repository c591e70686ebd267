"""Chains of processors for features and label: fitted on an as-of view, once or in every window, applied anywhere."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError
from harness.errors.limits import traits_of
from harness.samples.chunks import LazyRows, Rows
from harness.samples.column_statistics import shared
from harness.samples.interfaces import FittedPreprocess, SeriesTraits
from harness.samples.table import AsOfView, Floats, Positions, SampleTable
from harness.samples.windows import Segment
from harness.store import codec

Codes = npt.NDArray[np.int32]
State = Mapping[str, npt.NDArray[Any]]

IN_MEMORY = 1 << 30  # bytes up to which processed rows are held; of more each slice is processed when it is read
_CHUNK = 1024  # rows that pass through the whole chain at a time, so that they stay in the cache
_FEW = 1 << 17  # rows up to which one thread processes them: several such slices are read side by side
_LABEL = ("label",)


class Processor(ABC):
    """One step that turns columns into columns; m rows of consecutive times, F columns.

    Each row may depend on the rows of its own time and on the fitted state only, so that a step fitted on the past can
    be applied anywhere. The label is processed as one column.

    Attributes:
        learns: `fit` looks at the data. If not, nothing is read to fit it.
        for_features, for_label: Where it may stand.
        keeps_unit: Values stay in their unit, so that a forecast of a processed label can be subtracted from the raw
            one.
        by_slices: `fit` reads its rows by slices, so that they may be `LazyRows`, which no memory need hold.
        by_series: It learns by `fit_series`, is told the instrument column of each row as ``codes`` in the state, and
            brings forecasts of the label back to the unit before it by `restore`.
    """

    learns: ClassVar[bool] = False
    for_features: ClassVar[bool] = True
    for_label: ClassVar[bool] = True
    keeps_unit: ClassVar[bool] = False
    by_slices: ClassVar[bool] = False
    by_series: ClassVar[bool] = False

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return what is learned from (m, F) values, as small arrays by name; only called when it `learns`."""
        return {}

    def fit_series(self, values: Floats, codes: Codes) -> State:
        """Return what is learned from (m, F) values and (m,) instrument columns; in place of `fit`, by series."""
        return {}

    def restore(self, values: Floats, state: State) -> Floats:
        """Return (m,) values of a processed label in the unit before it; only called when it is `by_series`."""
        return values

    def columns(self, names: tuple[str, ...]) -> Positions | None:
        """Return the positions of the columns to keep, in order, or None for all."""
        return None

    @abstractmethod
    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        """Change (m, F) values in place; rows ``offsets[t] … offsets[t + 1]`` share a time."""


_Step = tuple[Processor, State, Positions | None]  # what it has learned, and the columns that it keeps


@dataclass(frozen=True)
class Pipeline:
    """A chain of processors for the features and one for the label.

    Attributes:
        features, label: The processors, first to last.
        refit: ``once``: fitted before the first test only, as in qlib, so that every window shares one processed table.
            ``per_window``: fitted again in every window, on its own learning period.
    """

    features: tuple[Processor, ...]
    label: tuple[Processor, ...]
    refit: Literal["once", "per_window"]

    def __post_init__(self) -> None:
        for key, chain in (("features", self.features), ("label", self.label)):
            for at, processor in enumerate(chain):
                name, where = type(processor).__name__, f"{key}[{at}]"
                if not isinstance(processor, Processor):
                    raise ConfigError("This is not a processor.", where=where, got=name)
                if not (processor.for_label if key == "label" else processor.for_features):
                    raise ConfigError(f"{name} cannot process the {key}.", where=where)

    @property
    def keeps_label_unit(self) -> bool:
        """Whether forecasts end in the unit of the raw label, so that their errors mean something."""
        return all(processor.keeps_unit or processor.by_series for processor in self.label)

    @property
    def restores_label(self) -> bool:
        """Whether forecasts are brought back to the unit of the raw label."""
        return self.keeps_label_unit and any(processor.by_series for processor in self.label)

    def fit(self, view: AsOfView, segment: Segment) -> FittedPipeline:
        """Fit every processor on what those before it make of the rows of `segment`.

        Features are read only when a processor learns from them, labels likewise.

        Raises:
            LookAheadError: When the segment is not known at the view's decision time.
            DataError: When a processor cannot be fitted on these rows.
        """
        period = segment.start, segment.stop

        def rows(values: Rows) -> tuple[Rows, Positions, Codes]:
            return values, view.offsets(*period), view.codes(*period)

        features, names = _fit(self.features, view.feature_names, lambda: rows(view.rows(*period)))
        label, _ = _fit(self.label, _LABEL, lambda: rows(view.label(*period)[:, None]))
        return FittedPipeline(view.feature_names, names, features, label)

    def load(self, folder: Path) -> FittedPipeline:
        """Read what `FittedPipeline.save` wrote of these processors."""
        found = codec.load(folder, _Learned, mapped=False)
        features, label = (
            tuple((processor, *learned) for processor, learned in zip(chain, steps, strict=True))
            for chain, steps in ((self.features, found.features), (self.label, found.label))
        )
        return FittedPipeline(found.input_names, found.feature_names, features, label)


@dataclass(frozen=True, eq=False)
class _Learned:
    input_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    features: tuple[tuple[State, Positions | None], ...]
    label: tuple[tuple[State, Positions | None], ...]


@dataclass(frozen=True, eq=False)
class FittedPipeline:
    """Processors with what they have learned; the names of the F raw and of the F' processed features."""

    input_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    feature_steps: tuple[_Step, ...]
    label_steps: tuple[_Step, ...]
    codes: Codes | None = None  # (m,) of the rows that are processed, for steps by series

    @property
    def by_series(self) -> bool:
        return any(processor.by_series for processor, *_ in (*self.feature_steps, *self.label_steps))

    def save(self, folder: Path) -> None:
        """Write what was learned, without the rows of `for_series`."""
        steps = ([step[1:] for step in chain] for chain in (self.feature_steps, self.label_steps))
        codec.save(folder, _Learned(self.input_names, self.feature_names, *map(tuple, steps)))

    def for_series(self, codes: Codes) -> FittedPipeline:
        """Return the processors for the rows of these (m,) instrument columns."""
        return replace(self, codes=codes)

    def restore(self, score: Floats, codes: Codes) -> Floats:
        """Return (m,) forecasts of the processed label in the unit of the raw one."""
        for processor, state, _ in reversed(self.label_steps):
            score = processor.restore(score, {**state, "codes": codes}) if processor.by_series else score
        return score

    def features(self, features: Rows, offsets: Positions, *, when_read: bool = False) -> Any:
        """Return (n, F') processed features; `when_read`: of `LazyRows` each slice only when it is read."""
        if features.shape[1] != len(self.input_names):
            what, expected = "The processors were fitted on other features.", len(self.input_names)
            raise DataError(what, got=features.shape[1], expected=expected)
        return _processed(self.feature_steps, features, offsets, self.codes, when_read=when_read)

    def label(self, label: Floats, offsets: Positions) -> Floats:
        if not self.label_steps:
            return label
        processed = _run(self.label_steps, label[:, None], offsets, self.codes)[:, 0]
        return np.where(np.isnan(label), np.float32(np.nan), processed)


def is_large(rows: object) -> bool:
    """Whether rows are processed when they are read, instead of all at once."""
    return isinstance(rows, LazyRows) and rows.nbytes > IN_MEMORY


def of_series(fitted: FittedPreprocess, codes: Codes) -> FittedPreprocess:
    """Return processors for the rows of these (m,) instrument columns: others, where they go by series."""
    if not traits_of(fitted, SeriesTraits).by_series:
        return fitted
    own: FittedPreprocess = fitted.for_series(codes)  # type: ignore[attr-defined]
    return own


def apply(table: SampleTable, fitted: FittedPreprocess, *, when_read: bool = False) -> SampleTable:
    """Return the table with processed features and label; `when_read`: features only when they are read.

    Leak-free although it covers every time: a row depends on the rows of its own time and on the fitted state only.
    """
    offsets = table.index.offsets
    fitted = of_series(fitted, table.index.codes)
    # A preprocessor of somebody else's may do with an array what rows in chunks cannot.
    if isinstance(fitted, FittedPipeline):
        features = fitted.features(table.features, offsets, when_read=when_read)
    else:
        features = fitted.features(np.asarray(table.features), offsets)
    return table.with_columns(features, fitted.feature_names, fitted.label(table.label, offsets))


def _fit(
    chain: tuple[Processor, ...], names: tuple[str, ...], read: Callable[[], tuple[Rows, Positions, Codes]]
) -> tuple[tuple[_Step, ...], tuple[str, ...]]:
    """Return the steps of a chain, fitted on the rows that `read` gives, and the names of the columns they leave."""
    steps: list[_Step] = []
    learning = [at for at, processor in enumerate(chain) if processor.learns]
    nothing = np.empty((0, len(names)), np.float32), np.zeros(1, np.int64), np.empty(0, np.int32)
    rows: Rows
    rows, offsets, codes = read() if learning else nothing
    for at, processor in enumerate(chain):
        columns = processor.columns(names)
        state: State = {}
        if processor.learns:
            given: Any = rows if processor.by_slices else np.asarray(rows)
            state = processor.fit_series(given, codes) if processor.by_series else processor.fit(given, names)
        steps.append((processor, state, columns))
        if learning and at < learning[-1]:
            rows = _processed(steps[-1:], rows, offsets, codes)
        names = names if columns is None else tuple(names[at] for at in columns)
    return tuple(steps), names


def _processed(
    steps: Sequence[_Step], rows: Rows, offsets: Positions, codes: Codes | None = None, *, when_read: bool = False
) -> Rows:
    """Return rows that have passed through the chain: all of them, or, of many and `when_read`, each slice when read.

    Times do not know of each other, so that the bits do not depend on where slices are cut.
    """
    if not steps:
        return rows
    if not (is_large(rows) or (when_read and isinstance(rows, LazyRows))):
        return _run(steps, rows, offsets, codes)
    source = rows

    def read(start: int, stop: int) -> Floats:
        # Whole times, as a row may depend on all of its own.
        first, last = np.searchsorted(offsets, start, side="right") - 1, np.searchsorted(offsets, stop)
        times = offsets[first : last + 1]
        period = slice(int(times[0]), int(times[-1]))
        found = _run(steps, source[period], times - times[0], None if codes is None else codes[period])
        return found[start - period.start : stop - period.start]

    kept = [rows.shape[1], *(len(columns) for *_, columns in steps if columns is not None)]
    return LazyRows(read, kept[-1], 0, len(rows))


def _run(steps: Sequence[_Step], rows: Rows, offsets: Positions, codes: Codes | None = None) -> Floats:
    """Pass chunks of whole times through the chain; threads share the chunks, which do not know of each other."""
    widths = [rows.shape[1], *(len(columns) for *_, columns in steps if columns is not None)]
    out = np.empty((rows.shape[0], widths[-1]), dtype=np.float32)

    def task(times: tuple[int, int]) -> None:
        chunk_offsets = offsets[times[0] : times[1] + 1]
        period = slice(int(chunk_offsets[0]), int(chunk_offsets[-1]))
        values = np.array(rows[period], order="C")
        for processor, state, columns in steps:
            if columns is not None:
                values = np.take(values, columns, axis=1)
            own = {**state, "codes": codes[period]} if processor.by_series and codes is not None else state
            processor.transform(values, chunk_offsets - chunk_offsets[0], own)
        out[period] = values

    starts = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1], _CHUNK), side="right") - 1
    borders = np.unique(np.append(starts, offsets.size - 1)).tolist()  # runs of about `_CHUNK` rows, at least one time
    if len(rows) <= _FEW:
        for times in itertools.pairwise(borders):
            task(times)
    else:
        shared(task, itertools.pairwise(borders))
    return out
