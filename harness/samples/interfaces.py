"""What a model, an adaptation and a preprocessor must offer, and the records they receive.

A user's own class stands on the same footing as ours: it needs these methods, no base class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

from harness.execution.progress import Observer
from harness.samples.model import ContinuingModel as ContinuingModel
from harness.samples.model import FittedModel as FittedModel
from harness.samples.model import LearnSet as LearnSet
from harness.samples.model import Model as Model
from harness.samples.model import ModelTraits as ModelTraits
from harness.samples.model import PriorTraits as PriorTraits
from harness.samples.plan import Known, WindowPlan
from harness.samples.table import AsOfView, FitRecord, Positions
from harness.samples.table import Doubles as Doubles
from harness.samples.table import Floats as Floats
from harness.samples.weights import SampleWeights as SampleWeights
from harness.samples.weights import TimeWeights as TimeWeights
from harness.samples.windows import Segment, Window
from harness.store.codec import load, save

Value = TypeVar("Value")


class FittedPreprocess(Protocol):
    """Processors with their fitted state."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features that `features` returns."""

    def features(self, features: Floats, offsets: Positions) -> Floats:
        """Return (m, F') float32, the processed features; each time uses its own rows and the fitted state only."""

    def label(self, label: Floats, offsets: Positions) -> Floats:
        """Return (m,) float32, the processed label; NaN stays NaN."""


@dataclass(frozen=True)
class SeriesTraits:
    """What fitted processors may say of themselves beyond `FittedPreprocess`.

    Attributes:
        by_series: They must be told the instrument of each row: a method ``for_series(codes)`` returns them for rows of
            these (m,) instrument columns.
    """

    by_series: bool = False


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
        keeps_label_unit: The processed label has the unit of the raw one, or forecasts of it are brought back to that
            unit, so that their errors mean something.
        restores_label: Forecasts are brought back, by a method ``restore(score, codes)`` of what `fit` returns: of (m,)
            forecasts and instrument columns.
    """

    keeps_label_unit: bool = False
    restores_label: bool = False


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
        chained: A `WindowPlanner` only: each plan may depend on the windows before. False: windows are planned alone,
            in any order.
    """

    fit_records: tuple[FitRecord, ...] = ()
    leaks: tuple[str, ...] = ()
    chained: bool = True


class FittedAdaptation(Protocol):
    """What an adaptation has learned: weights for any window. It may also have the fields of `AdaptationTraits`."""

    def time_weights(self, window: Window) -> TimeWeights | None:
        """Return the weights of the window's learning samples; None when all count alike."""

    def save(self, folder: Path) -> None:
        """Write what was learned, for reports; may write nothing."""


@runtime_checkable
class WindowPlanner(Protocol):
    """What an adaptation has learned that does more than weight; may also have the fields of `AdaptationTraits`.

    Its windows are a chain, each planned after all before it, unless it says `chained = False`.
    """

    def plan(self, window: Window, known: Known) -> WindowPlan:
        """Return how the window's model comes about; `window.train` is what the configured model learns from."""

    def save(self, folder: Path) -> None:
        """Write what was learned, for reports; may write nothing."""


class Adaptation(Protocol):
    """How models follow the drift. May also be a `StoredAdaptation`, `DividedAdaptation`, or have `LeakyVariants`."""

    def fit(self, history: History) -> FittedAdaptation | WindowPlanner:
        """Learn from history, before any window is predicted; a `WindowPlanner` does more than weight."""


@runtime_checkable
class StoredAdaptation(Adaptation, Protocol):
    """An adaptation whose fitted state can be read back, so that it is fitted once; others are fitted in every run."""

    def load(self, folder: Path) -> FittedAdaptation | WindowPlanner:
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
    {
        Model: ModelTraits,
        FittedAdaptation: AdaptationTraits,
        WindowPlanner: AdaptationTraits,
        Preprocess: PreprocessTraits,
    }
)
EXTENSIONS: Mapping[type, tuple[type, ...]] = MappingProxyType(
    {Adaptation: (StoredAdaptation, DividedAdaptation, LeakyVariants), Model: (ContinuingModel,)}
)
