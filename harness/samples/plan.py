"""How the model of one window comes about, and what an adaptation knows when it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.samples.model import FittedModel, Model
from harness.samples.table import AsOfView, Floats, Positions
from harness.samples.weights import SampleWeights, TimeWeights
from harness.samples.windows import Segment

Arrays = Mapping[str, npt.NDArray[Any]]


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
        fitted: The window's model itself, which the adaptation has fitted through the views in `Known`; then nothing
            else is fitted. Windows that are a chain read it back by the configured model's `load`.
        state: Arrays for the plan of the next window, such as parameters that go on learning.

    Raises:
        DataError: When a plan keeps the model, or brings one, and says how to fit one, too.
    """

    weights: TimeWeights | SampleWeights | None = None
    learn: Segment | None = None
    start_from: Literal["previous"] | None = None
    refit: bool = True
    transform: Transform | None = None
    fitted: FittedModel | None = None
    state: Arrays = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = [name for name in ("weights", "learn", "start_from") if getattr(self, name) is not None]
        if not self.refit and (given or self.fitted is not None):
            what, got = "A plan that keeps the model fits nothing, so it cannot say how.", given or ["fitted"]
            raise DataError(what, where="WindowPlan.refit", got=f"false, with {', '.join(got)}", expected="none")
        if self.fitted is not None and given:
            what, where = "A plan that brings the model fits nothing, so it cannot say how.", "WindowPlan.fitted"
            raise DataError(what, where=where, got=f"a model, with {', '.join(given)}", expected="none")
        if self.start_from not in (None, "previous"):
            what, where = "A model can be continued from the window before only.", "WindowPlan.start_from"
            raise DataError(what, where=where, got=self.start_from, expected="'previous' or None")

    @property
    def needs_before(self) -> bool:
        """Whether it takes something from the window before, or leaves something to the next."""
        return self.start_from is not None or not self.refit or bool(self.state)
