"""What a model, an adaptation and a preprocessor must offer, and the records they receive.

A user's own class stands on the same footing as ours: it needs these methods, no base class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.errors.limits import Threads
from harness.execution.progress import Observer
from harness.samples.gram import GramBlocks, NormalEquations
from harness.samples.table import AsOfView, FitRecord, Positions
from harness.samples.table import Doubles as Doubles
from harness.samples.table import Floats as Floats
from harness.samples.weights import SampleWeights as SampleWeights
from harness.samples.weights import TimeWeights as TimeWeights
from harness.samples.windows import Segment, Window
from harness.store.codec import load, save

Value = TypeVar("Value")
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class LearnSet:
    """One period that a model may learn from: everything in it is known at the decision time.

    Attributes:
        view: The as-of view it is read through; processed features and label.
        segment: Its calendar positions.
        time_weights: None when every sample counts alike, or `row_weights` says how much each row counts.
        gram_blocks: Sufficient statistics shared by all windows, when the features are the same in all of them. Kept
            here in a form that refuses what the view does not know.
        row_weights: (rows of the segment,) float64, those without a label too.
    """

    view: AsOfView
    segment: Segment
    time_weights: TimeWeights | None = None
    gram_blocks: GramBlocks | None = field(default=None, repr=False)
    row_weights: Doubles | None = field(default=None, repr=False)

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
        if self.row_weights is not None:
            return self.row_weights[~np.isnan(self.view.label(self.segment.start, self.segment.stop))]
        if self.time_weights is None:
            return None
        per_time = self.time_weights.at(self.segment.start, self.segment.stop)
        return np.repeat(per_time, np.diff(self.offsets))

    def of_instrument(self, code: int) -> LearnSet:
        """Return the rows of one instrument column, whose sums no window shares."""
        period = self.segment.start, self.segment.stop
        own = None if self.row_weights is None else self.row_weights[self.view.codes(*period) == code]
        return LearnSet(self.view.of_instrument(code, *period), self.segment, self.time_weights, row_weights=own)

    def normal_equations(self) -> NormalEquations:
        """Return XᵀWX, XᵀWy and their companions over these rows, in float64.

        From the shared blocks when there are any, from the rows themselves otherwise; equal to rounding error.
        """
        if self.gram_blocks is None or self.row_weights is not None:
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

    It may also have the fields or class attributes of `ModelTraits`, and be a `ContinuingModel`.
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


@runtime_checkable
class ContinuingModel(Model, Protocol):
    """A model that can go on from what it has learned, for adaptations whose plan has ``start_from="previous"``."""

    def fit_from(self, start: FittedModel | None, train: LearnSet, valid: LearnSet | None) -> FittedModel:
        """Continue `start` on `train`, which may be new rows only; None begins a model that can be continued.

        `start` may come from `load`: whatever the next continuation needs is saved with the model, bit for bit.
        """


@dataclass(frozen=True)
class ModelTraits:
    """What a model may say of itself beyond `Model`, in a field, a class attribute or a property of the same name.

    Attributes:
        include_valid: Learn from the validation segment too, for a model that stops nothing early: everything known at
            the decision. None, or nothing said: as `windows.include_valid` says, by default true.
        threads: How many threads `fit` and `predict` may use; OpenMP and BLAS are held to them. None: all that the
            process has, for a model whose bits do not depend on them.
        per_instrument: Fit one model for each instrument, on its own rows.
        quantile_levels: Of the quantiles, in (0, 1) and rising, that a fitted model forecasts too: its method
            ``predict_quantiles(features)`` returns (m, Q) of them, beside `predict`.
    """

    include_valid: bool | None = None
    threads: Threads | None = 1
    per_instrument: bool = False
    quantile_levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class PriorTraits:
    """What any configured object may say of knowledge that it has before it is shown a label: read by audits.

    Attributes:
        prior: ``rule``: a rule that somebody thought of, such as momentum; ``random``: numbers drawn without looking;
            ``pretrained``: learned elsewhere. None: it has none.
        prior_ends: The date of the newest data that something ``pretrained`` has seen, such as ``2016-12-31``.
    """

    prior: Literal["rule", "random", "pretrained"] | None = None
    prior_ends: str | None = None


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


@dataclass(frozen=True, eq=False)
class Batch:
    """The rows of one time: all that a transform may look at.

    Attributes:
        time: The calendar position.
        features: (m, F) float32 processed features, read-only.
        codes: (m,) int32 instrument columns.
    """

    time: int
    features: Floats
    codes: npt.NDArray[np.int32]


class Transform(Protocol):
    """Changes what a model learns from and what it predicts, one time after the other, in time order.

    Before fitting, `features` and `label` make what the model learns from; at prediction `features` makes what it
    predicts from, and `score` turns its forecast back into the unit of the label. It never sees two times at once.
    """

    def features(self, batch: Batch) -> Floats:
        """Return (m, F) float32, the features that the model sees instead of the batch's."""

    def label(self, batch: Batch, label: Floats) -> Floats:
        """Return (m,) float32, the label that the model learns instead; NaN stays NaN."""

    def score(self, batch: Batch, score: Floats) -> Floats:
        """Return (m,) float32, the forecast of the label, from the model's score."""


@dataclass(frozen=True, eq=False)
class Feedback:
    """What the run itself has done before a decision, as far as it is known then; M rows whose label has matured.

    Attributes:
        start: The position of the first predicted time; the M rows are those of all times from it on whose label has
            matured.
        offsets: (times + 1,) int64 row offsets of each of these times.
        codes: (M,) int32 instrument columns.
        score: (M,) float32 forecasts, as they were made.
        label: (M,) float32 processed labels, NaN where there is none; the unit that a model learns, and of `score`.
        learned: What the model of the window before was fitted on last; None in the first window.
        fitted: That model; None in the first window.
        state: What the plan of the window before left behind; empty in the first window.
    """

    start: int
    offsets: Positions
    codes: npt.NDArray[np.int32]
    score: Floats
    label: Floats
    learned: Segment | None = None
    fitted: FittedModel | None = None
    state: Arrays = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Known:
    """History and feedback: all that is known when a window is planned.

    Attributes:
        raw: View as of the decision of the raw features and label.
        view: View as of the decision of the processed ones, which the model sees.
        model: The configured model, which an adaptation may fit on parts of the past.
        feedback: The run's own past. Without rows, model and state where windows are planned alone.
    """

    raw: AsOfView
    view: AsOfView
    model: Model
    feedback: Feedback


@dataclass(frozen=True, eq=False)
class WindowPlan:
    """How the model of one window comes about.

    Attributes:
        weights: Per block of times or per row; None when all count alike.
        learn: The part of the train segment to learn from; None is all of it.
        start_from: ``previous`` continues the model of the window before, and begins one that can be continued in the
            first window; None fits anew.
        refit: False keeps the model of the window before as it is.
        transform: Changes features and label before fitting, features and score at prediction.
        state: Arrays for the plan of the next window, such as parameters that go on learning.

    Raises:
        DataError: When a plan keeps the model and says how to fit one, too.
    """

    weights: TimeWeights | SampleWeights | None = None
    learn: Segment | None = None
    start_from: Literal["previous"] | None = None
    refit: bool = True
    transform: Transform | None = None
    state: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.refit and (self.weights, self.learn, self.start_from) != (None, None, None):
            given = [name for name in ("weights", "learn", "start_from") if getattr(self, name) is not None]
            what = "A plan that keeps the model fits nothing, so it cannot say how."
            raise DataError(what, where="WindowPlan.refit", got=f"false, with {', '.join(given)}", expected="none")
        if self.start_from not in (None, "previous"):
            what, where = "A model can be continued from the window before only.", "WindowPlan.start_from"
            raise DataError(what, where=where, got=self.start_from, expected="'previous' or None")

    @property
    def needs_before(self) -> bool:
        """Whether it takes something from the window before, or leaves something to the next."""
        return self.start_from is not None or not self.refit or bool(self.state)


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
