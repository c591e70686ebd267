"""Chains of processors for features and label: fitted on an as-of view, applied anywhere."""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numba
import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError
from harness.samples.interfaces import FittedPreprocess
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]
State = Mapping[str, Doubles]


class Processor(ABC):
    """One step that turns columns into columns; m rows of consecutive times, F columns.

    Each row may depend on the rows of its own time and on the fitted state only, so that a step fitted on the past can
    be applied anywhere. The label is processed as one column.

    Attributes:
        learns: `fit` looks at the data. If not, nothing is read to fit it.
        for_features, for_label: Where it may stand.
        keeps_unit: Values stay in their unit, so that a forecast of a processed label can be subtracted from the raw
            one.
    """

    learns: ClassVar[bool] = False
    for_features: ClassVar[bool] = True
    for_label: ClassVar[bool] = True
    keeps_unit: ClassVar[bool] = False

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return what is learned from (m, F) values, as small arrays by name; only called when it `learns`."""
        return {}

    def columns(self, names: tuple[str, ...]) -> Offsets | None:
        """Return the positions of the columns to keep, in order, or None for all."""
        return None

    @abstractmethod
    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Change (m, F) values in place; rows ``offsets[t] … offsets[t + 1]`` share a time."""


_CHUNK = 1024  # rows that pass through the whole chain at a time, so that they stay in the cache
_LABEL = ("label",)


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
        """Refuse a processor where it has no meaning."""
        for key, chain in (("features", self.features), ("label", self.label)):
            for at, processor in enumerate(chain):
                name, where = type(processor).__name__, f"{key}[{at}]"
                if not isinstance(processor, Processor):
                    raise ConfigError("This is not a processor.", where=where, got=name)
                if not (processor.for_label if key == "label" else processor.for_features):
                    raise ConfigError(f"{name} cannot process the {key}.", where=where)

    @property
    def keeps_label_unit(self) -> bool:
        """Whether the processed label is in the unit of the raw one, so that errors of a forecast mean something."""
        return all(processor.keeps_unit for processor in self.label)

    def fit(self, view: AsOfView, segment: Segment) -> FittedPipeline:
        """Fit every processor on what those before it make of the rows of `segment`.

        Features are read only when a processor learns from them, labels likewise.

        Raises:
            LookAheadError: When the segment is not known at the view's decision time.
            DataError: When a processor cannot be fitted on these rows.
        """
        start, stop = segment.start, segment.stop
        features: tuple[State, ...] = tuple({} for _ in self.features)
        if any(p.learns for p in self.features):
            rows = view.features(start, stop)
            features = _fit(self.features, rows, view.offsets(start, stop), view.feature_names)
        label: tuple[State, ...] = tuple({} for _ in self.label)
        if any(p.learns for p in self.label):
            label = _fit(self.label, view.label(start, stop)[:, None], view.offsets(start, stop), _LABEL)
        return FittedPipeline(self, view.feature_names, features, label)

    def restore(self, names: tuple[str, ...], state: Mapping[str, npt.NDArray[Any]]) -> FittedPipeline:
        """Return the fitted pipeline for features `names` from what `FittedPipeline.state` gave."""

        def states(key: str, chain: tuple[Processor, ...]) -> tuple[State, ...]:
            prefixes = [f"{key}.{at}." for at in range(len(chain))]
            return tuple({k.removeprefix(p): v for k, v in state.items() if k.startswith(p)} for p in prefixes)

        return FittedPipeline(self, names, states("features", self.features), states("label", self.label))


@dataclass(frozen=True, eq=False)
class FittedPipeline:
    """A pipeline with what it has learned.

    Attributes:
        pipeline: The processors.
        input_names: Names of the raw features, F of them.
        feature_states, label_state: What each processor has learned.
    """

    pipeline: Pipeline
    input_names: tuple[str, ...]
    feature_states: tuple[State, ...]
    label_states: tuple[State, ...]

    @functools.cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the F' processed features."""
        names = self.input_names
        for processor in self.pipeline.features:
            names = _kept(processor, names)[1]
        return names

    def features(self, features: Floats, offsets: Offsets) -> Floats:
        """Return (m, F') float32, the processed features of (m, F) rows; the input itself when there is no processor.

        Raises:
            DataError: When the number of features is another than at fitting.
        """
        if features.shape[1] != len(self.input_names):
            raise DataError(
                "The processors were fitted on other features.", got=features.shape[1], expected=len(self.input_names)
            )
        if not self.pipeline.features:
            return features
        return _run(self.pipeline.features, self.feature_states, features, offsets, self.input_names)

    def label(self, label: Floats, offsets: Offsets) -> Floats:
        """Return (m,) float32, the processed label; what is missing stays missing."""
        if not self.pipeline.label:
            return label
        processed = _run(self.pipeline.label, self.label_states, label[:, None], offsets, _LABEL)[:, 0]
        processed[np.isnan(label)] = np.nan
        return processed

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the fitted arrays by name, such as ``features.0.centre``."""
        return {
            f"{key}.{at}.{name}": values
            for key, states in (("features", self.feature_states), ("label", self.label_states))
            for at, state in enumerate(states)
            for name, values in sorted(state.items())
        }


def apply(table: SampleTable, fitted: FittedPreprocess) -> SampleTable:
    """Return the table with processed features and label.

    Leak-free although it covers every time: a row depends on the rows of its own time and on the fitted state only.
    """
    offsets = table.index.offsets
    features = fitted.features(table.features, offsets)
    return table.with_columns(features, fitted.feature_names, fitted.label(table.label, offsets))


def _fit(chain: tuple[Processor, ...], rows: Floats, offsets: Offsets, names: tuple[str, ...]) -> tuple[State, ...]:
    states: list[State] = []
    current = rows
    last = max(at for at, processor in enumerate(chain) if processor.learns)
    for at, processor in enumerate(chain):
        inputs = names
        names = _kept(processor, names)[1]
        states.append(processor.fit(current, inputs) if processor.learns else {})
        if at < last:
            current = _run((processor,), (states[-1],), current, offsets, inputs)
    return tuple(states)


def _run(
    chain: tuple[Processor, ...], states: tuple[State, ...], rows: Floats, offsets: Offsets, names: tuple[str, ...]
) -> Floats:
    """Pass chunks of whole times through the chain; threads share the chunks, which do not know of each other."""
    kept = []
    for processor in chain:
        columns, names = _kept(processor, names)
        kept.append(columns)
    out = np.empty((rows.shape[0], len(names)), dtype=np.float32)

    def task(times: tuple[int, int]) -> None:
        chunk_offsets = offsets[times[0] : times[1] + 1]
        period = slice(int(chunk_offsets[0]), int(chunk_offsets[-1]))
        values = np.array(rows[period], order="C")
        for processor, state, columns in zip(chain, states, kept, strict=True):
            if columns is not None:
                values = np.take(values, columns, axis=1)
            processor.transform(values, chunk_offsets - chunk_offsets[0], state)
        out[period] = values

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for _ in pool.map(task, _chunks(offsets)):
            pass
    return out


def _chunks(offsets: Offsets) -> list[tuple[int, int]]:
    """Cut the times into runs of about `_CHUNK` rows, each at least one time."""
    targets = np.arange(offsets[0], offsets[-1], _CHUNK)
    borders = np.unique(np.append(np.searchsorted(offsets, targets, side="right") - 1, offsets.size - 1))
    return [(int(a), int(b)) for a, b in itertools.pairwise(borders)]


def _kept(processor: Processor, names: tuple[str, ...]) -> tuple[Offsets | None, tuple[str, ...]]:
    columns = processor.columns(names)
    return columns, names if columns is None else tuple(names[at] for at in columns)
