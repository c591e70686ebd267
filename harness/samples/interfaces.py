"""What a model, an adaptation and a preprocessor must offer, and the records they receive.

A user's own class stands on the same footing as ours: it needs these methods, no base class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.errors.limits import Threads
from harness.execution.progress import Observer
from harness.samples.gram import GramBlocks, NormalEquations
from harness.samples.table import AsOfView, FitRecord, Positions
from harness.samples.table import Doubles as Doubles
from harness.samples.table import Floats as Floats
from harness.samples.windows import Segment, Window
from harness.store.codec import load, save

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class TimeWeights:
    """Weights that depend on time only, constant within blocks of consecutive times.

    Attributes:
        starts: (K,) int64 increasing; block k covers positions ``starts[k] … starts[k + 1]``, the last is open-ended.
        values: (K,) float64, ≥ 0 and finite. Times before the first block take the first weight.
    """

    starts: Positions
    values: Doubles

    def __post_init__(self) -> None:
        has_shape = self.starts.ndim == 1 and self.starts.shape == self.values.shape and self.starts.size > 0
        if not has_shape or (np.diff(self.starts) <= 0).any():
            raise DataError("Time weights need one value per block, blocks in time order.", where="TimeWeights")
        if not (np.isfinite(self.values).all() and (self.values >= 0).all()):
            got = self.values.min()
            raise DataError("A time weight must be finite and not negative.", where="TimeWeights", got=got)
        self.starts.setflags(write=False)
        self.values.setflags(write=False)

    def at(self, start: int, stop: int) -> Doubles:
        """Return (stop − start,) float64, the weight of every position in [start, stop)."""
        block = np.searchsorted(self.starts, np.arange(start, stop), side="right") - 1
        return self.values[np.maximum(block, 0)]


@dataclass(frozen=True, eq=False)
class LearnSet:
    """One period that a model may learn from: everything in it is known at the decision time.

    Attributes:
        view: The as-of view it is read through; processed features and label.
        segment: Its calendar positions.
        time_weights: None when every sample counts alike.
        gram_blocks: Sufficient statistics shared by all windows, when the features are the same in all of them. Kept
            here in a form that refuses what the view does not know.
    """

    view: AsOfView
    segment: Segment
    time_weights: TimeWeights | None = None
    gram_blocks: GramBlocks | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.gram_blocks is not None:
            object.__setattr__(self, "gram_blocks", self.gram_blocks.until(self.view.label_stop))

    @property
    def features(self) -> Floats:
        """(m, F) float32 features of the rows that have a label: a contiguous, read-only slice."""
        return self._labelled.features(self.segment.start, self.segment.stop)

    @property
    def label(self) -> Floats:
        """(m,) float32 labels, none missing."""
        return self._labelled.label(self.segment.start, self.segment.stop)

    @property
    def offsets(self) -> Positions:
        """(times + 1,) int64 offsets of each calendar time among these rows."""
        return self._labelled.offsets(self.segment.start, self.segment.stop)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The F feature names."""
        return self.view.feature_names

    @property
    def weights(self) -> Doubles | None:
        """(m,) float64 weight of every row, or None when all count alike."""
        if self.time_weights is None:
            return None
        per_time = self.time_weights.at(self.segment.start, self.segment.stop)
        return np.repeat(per_time, np.diff(self.offsets))

    def normal_equations(self) -> NormalEquations:
        """Return XᵀWX, XᵀWy and their companions over these rows, in float64.

        From the shared blocks when there are any, from the rows themselves otherwise; equal to rounding error.
        """
        if self.gram_blocks is None:
            return NormalEquations.from_rows(self.features, self.label, self.weights)
        start, stop = self.segment.start, self.segment.stop
        per_time = None if self.time_weights is None else self.time_weights.at(start, stop)
        self.view.release(start, stop)
        return self.gram_blocks.weighted(start, stop, per_time)

    @property
    def _labelled(self) -> AsOfView:
        return self.view.labelled(self.segment.start, self.segment.stop)


@runtime_checkable
class FittedModel(Protocol):
    """A model after fitting: a value that predicts and can be saved without pickle."""

    def predict(self, features: Floats) -> npt.NDArray[np.floating]:
        """Return (m,) predictions for (m, F) float32 features."""

    def save(self, folder: Path) -> None:
        """Write everything that `Model.load` needs into an existing, empty folder."""


@runtime_checkable
class Model(Protocol):
    """How to fit; holds parameters only, so that one instance serves every window.

    It may also have the fields or class attributes of `ModelTraits`.
    """

    @property
    def needs_valid(self) -> bool:
        """Whether it stops early on a validation segment. A class attribute or a field will do."""

    @property
    def supports_weights(self) -> bool:
        """Whether it can use sample weights; if not, an adaptation that weights is refused."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedModel:
        """Fit on `train`, stop early on `valid` when needed."""

    def load(self, folder: Path) -> FittedModel:
        """Read what `FittedModel.save` wrote."""


@dataclass(frozen=True)
class ModelTraits:
    """What a model may say of itself beyond `Model`, in a field, a class attribute or a property of the same name.

    Attributes:
        include_valid: Learn from the validation segment too, for a model that stops nothing early: everything known at
            the decision. None, or nothing said: as `windows.include_valid` says, by default true.
        threads: How many threads `fit` and `predict` may use; OpenMP and BLAS are held to them. None: all that the
            process has, for a model whose bits do not depend on them.
    """

    include_valid: bool | None = None
    threads: Threads | None = 1


class FittedPreprocess(Protocol):
    """Processors with their fitted state."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features that `features` returns."""

    def features(self, features: Floats, offsets: Positions) -> Floats:
        """Return (m, F') float32, the processed features; each time uses its own rows and the fitted state only."""

    def label(self, label: Floats, offsets: Positions) -> Floats:
        """Return (m,) float32, the processed label; NaN stays NaN."""


class Preprocess(Protocol):
    """How to process features and label."""

    @property
    def refit(self) -> Literal["once", "per_window"]:
        """Fit ``once``, before the first test, or ``per_window``. A field will do."""

    def fit(self, view: AsOfView, segment: Segment) -> FittedPreprocess:
        """Fit every processor on the raw rows of `segment`, through a view."""


@dataclass(frozen=True)
class PreprocessTraits:
    """What a preprocessor may say of itself beyond `Preprocess`.

    Attributes:
        keeps_label_unit: The processed label has the unit of the raw one, so that errors of a forecast mean something.
    """

    keeps_label_unit: bool = False


@dataclass(frozen=True, eq=False)
class Stored(Generic[Value]):
    """An intermediate result that several experiments may share: how it is made, and how it becomes files.

    Attributes:
        make: Computes it.
        save: Writes it into an existing, empty folder.
        load: Reads what `save` wrote; every number the same bits.
    """

    make: Callable[[], Value]
    save: Callable[[Value, Path], None]
    load: Callable[[Path], Value]

    @classmethod
    def record(cls, make: Callable[[], Value], kind: type[Value], *, mapped: bool = False) -> Stored[Value]:
        """Return how a value of type `kind` becomes files by `harness.store.codec`."""
        return cls(make, lambda value, folder: save(folder, value), lambda folder: load(folder, kind, mapped=mapped))


class StageCache(Protocol):
    """Where an adaptation keeps intermediate results for experiments that differ in other settings only."""

    def __call__(self, stage: str, parts: Mapping[str, object], stored: Stored[Value]) -> Value:
        """Return the result of `stage` that JSON-able `parts` determine, besides the data and the adaptation's code."""


def not_cached(stage: str, parts: Mapping[str, object], stored: Stored[Value]) -> Value:
    """Compute it and keep nothing."""
    return stored.make()


@dataclass(frozen=True)
class History:
    """What an adaptation may learn from before the first prediction: views, never tables.

    Attributes:
        as_of: decision position → view of the raw features and label at that time.
        windows: The windows to be predicted.
        segment: The learning periods all lie in it: from the first train position to the last learnable one.
        step: Times per test segment.
        seed: For whatever is random.
        observer: Receives progress events.
        cached: Keeps intermediate results; by default nothing is kept.
        shared: Several processes work on this history: what one has stashed the others find.
    """

    as_of: Callable[[int], AsOfView]
    windows: tuple[Window, ...]
    segment: Segment
    step: int
    seed: int
    observer: Observer
    cached: StageCache = not_cached
    shared: bool = False


@dataclass(frozen=True)
class AdaptationTraits:
    """What a fitted adaptation may say of itself beyond `FittedAdaptation`.

    Attributes:
        fit_records: Everything that was fitted, with the newest data it read: checked by the static audit.
        leaks: Sentences on the leaks that it has by design: named by the audit.
    """

    fit_records: tuple[FitRecord, ...] = ()
    leaks: tuple[str, ...] = ()


class FittedAdaptation(Protocol):
    """What an adaptation has learned: weights for any window. It may also have the fields of `AdaptationTraits`."""

    def time_weights(self, window: Window) -> TimeWeights | None:
        """Return the weights of the window's learning samples; None when all count alike."""

    def save(self, folder: Path) -> None:
        """Write what was learned, for reports; may write nothing."""


class Adaptation(Protocol):
    """How past samples are weighted. May also be a `StoredAdaptation`, `DividedAdaptation`, or have `LeakyVariants`."""

    def fit(self, history: History) -> FittedAdaptation:
        """Learn from history, before any window is predicted."""


@runtime_checkable
class StoredAdaptation(Adaptation, Protocol):
    """An adaptation whose fitted state can be read back, so that it is fitted once; others are fitted in every run."""

    def load(self, folder: Path) -> FittedAdaptation:
        """Read what `FittedAdaptation.save` wrote; the same weights, bit for bit."""


@runtime_checkable
class LeakyVariants(Protocol):
    """An adaptation that knows which leaks of its own an implementation may have, for `bench audit --price`."""

    def leaky_variants(self) -> Mapping[str, Adaptation]:
        """Return name of the leak → the same adaptation with that leak; never for results."""


@dataclass(frozen=True, eq=False)
class Subtask:
    """A part of an adaptation's work that can be done anywhere: its result goes to the history's cache.

    Attributes:
        parts: JSON-able: what determines it, besides the data and the adaptation's code.
        make: Does the work, or finds it done.
    """

    parts: Mapping[str, object]
    make: Callable[[], object]


@runtime_checkable
class DividedAdaptation(StoredAdaptation, Protocol):
    """An adaptation whose fitting begins with subtasks that many workers can do; `fit` then finds them."""

    def batches(self, history: History) -> tuple[tuple[Subtask, ...], ...]:
        """Return the subtasks; those of a batch need all earlier batches, not each other. Computes nothing itself."""


# Protocol → what an object of it may say beyond it, with the defaults; and the protocols that extend it.
TRAITS: Mapping[type, type] = MappingProxyType(
    {Model: ModelTraits, FittedAdaptation: AdaptationTraits, Preprocess: PreprocessTraits}
)
EXTENSIONS: Mapping[type, tuple[type, ...]] = MappingProxyType(
    {Adaptation: (StoredAdaptation, DividedAdaptation, LeakyVariants)}
)
