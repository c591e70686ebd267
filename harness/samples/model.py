"""What a model must offer, what it may say beyond that, and what it learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.errors.limits import Threads
from harness.samples.chunks import Rows
from harness.samples.gram import GramBlocks, NormalEquations
from harness.samples.table import AsOfView, Doubles, Floats, Positions
from harness.samples.weights import TimeWeights
from harness.samples.windows import Segment


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
    def rows(self) -> Rows:
        """The same, to be read by slices: they need not fit into memory."""
        return self._labelled.rows(self.segment.start, self.segment.stop)

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
            return NormalEquations.from_rows(self.rows, self.label, self.weights)
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
        by_sums: It sees rows by `LearnSet.normal_equations` alone: workers take the sums of all windows beforehand,
            each those of some times.
    """

    include_valid: bool | None = None
    threads: Threads | None = 1
    per_instrument: bool = False
    quantile_levels: tuple[float, ...] = ()
    by_sums: bool = False


@dataclass(frozen=True)
class PriorTraits:
    """What any configured object may say of knowledge that it has before it is shown a label: read by audits.

    Attributes:
        prior: ``rule``: a rule that somebody thought of, such as momentum; ``random``: numbers drawn without looking;
            ``pretrained``: learned elsewhere. None: it has none.
        prior_ends: The date of the newest data that something ``pretrained`` has seen, such as ``2016-12-31``; a month
            or a year is seen to its end.
    """

    prior: Literal["rule", "random", "pretrained"] | None = None
    prior_ends: str | None = None
