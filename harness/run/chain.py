"""What the windows of a run leave behind, and what of it the next one may build on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import DataError, LookAheadError, RefusedError, UnsupportedWeightsError
from harness.samples.interfaces import ContinuingModel, FittedModel, FittedPreprocess, Model
from harness.samples.plan import Arrays, Feedback, WindowPlan
from harness.samples.preprocess import of_series
from harness.samples.table import AsOfView, Reads, SampleTable
from harness.samples.windows import Segment, Window
from harness.store.codec import save

Floats = npt.NDArray[np.float32]
MODEL = "model"
"""The folder of a fitted model."""


@dataclass(frozen=True)
class WindowReads:
    """The newest data that one window's fitting read, against its decision: the static audit's raw material.

    What a model that is kept or continued was fitted on before counts too.
    """

    window: int
    decision: int
    preprocess: Reads
    model: Reads
    early_stopping: Reads
    plan: Reads = field(default_factory=Reads)
    fitted_in: int = 0  # the window in which the model was fitted last


Fit = tuple[FittedModel, Segment, WindowReads]
"""A fitted model, what it was fitted on last, and what was read in all."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The predictions of one window, (m,) float32 for the rows of its test segment; `fitted` until it is stored.

    `learned` is what its model was fitted on last, `state` what its plan left behind, `quantiles` (m, Q) float32 of a
    model that forecasts them.
    """

    score: Floats
    reads: WindowReads
    learned: Segment
    state: Arrays = field(default_factory=dict)
    fitted: FittedModel | None = None
    quantiles: Floats | None = None


@dataclass(eq=False)
class Past:
    """What a chain of windows has done so far."""

    table: SampleTable
    windows: tuple[Window, ...]
    finished: int = 0
    model: FittedModel | None = None
    model_of: int = -1

    @cached_property
    def _score(self) -> Floats:
        rows = self.table.index.rows(self.windows[0].test.start, self.windows[-1].test.stop)
        return np.full(rows.stop - rows.start, np.nan, dtype=np.float32)

    def append(self, at: int, scored: Scored) -> None:
        """Take the next window's result; one that is there already changes nothing."""
        if at != self.finished:
            return
        test, offsets = self.windows[at].test, self.table.index.offsets
        first = int(offsets[self.windows[0].test.start])
        self._score[int(offsets[test.start]) - first : int(offsets[test.stop]) - first] = scored.score
        self.last, self.finished = replace(scored, fitted=None), at + 1
        if scored.fitted is not None:  # nothing is stored
            self.model, self.model_of = scored.fitted, scored.reads.fitted_in

    def feedback(
        self, at: int, view: AsOfView, fitted: FittedModel | None, processors: FittedPreprocess | None = None
    ) -> Feedback:
        """Return what the first `at` windows have forecast, as far as its label has matured as of a view.

        `processors` bring forecasts that were brought back to the raw label's unit into that of the view's labels.
        """
        start = self.windows[0].test.start
        stop = start if at == 0 else max(start, min(view.label_stop, self.windows[at].test.start))
        period = (start, stop) if stop > start else (0, 0)
        label, score = view.label(*period), self._score[: view.label(*period).size]
        if processors is not None:
            score = of_series(processors, view.codes(*period)).label(score, view.offsets(*period))
        score.setflags(write=False)
        rows = Feedback(start, view.offsets(*period), view.codes(*period), score, label)
        if at == 0:
            return rows
        return replace(rows, learned=self.last.learned, fitted=fitted, state=self.last.state)


def check_plan(plan: object, model: Model, train: Segment, *, first: bool, chained: bool) -> None:
    """Refuse a plan that cannot be carried out.

    Raises:
        DataError: When it is no plan, learns from outside the train segment, or needs a window before that is not.
        LookAheadError: When it learns from what comes after the train segment.
        RefusedError: When the model cannot be continued.
        UnsupportedWeightsError: When the model cannot use weights.
    """
    where, name = "adaptation.plan", type(model).__name__
    if not isinstance(plan, WindowPlan):
        raise DataError("The adaptation plans no window.", where=where, got=type(plan).__name__, expected="WindowPlan")
    if plan.needs_before and not chained:
        what, got = "Windows that are planned alone have none before or after.", "start_from, refit=False or state"
        raise DataError(what, where=where, got=got, expected="a plan without them, or `chained = True`")
    if first and not plan.refit:
        raise DataError("The first window has no model to keep.", where=where, got="refit=False", expected="True")
    if plan.start_from is not None and not isinstance(model, ContinuingModel):
        what = f"The model {name} cannot go on from what it has learned: it has no method `fit_from`."
        raise RefusedError(what, where="adaptation", expected="a model that can, such as linear, lightgbm or mlp")
    if plan.weights is not None and not model.supports_weights:
        raise no_weights(model)
    if plan.learn is not None and not (train.start <= plan.learn.start and plan.learn.stop <= train.stop):
        kind = LookAheadError if plan.learn.stop > train.stop else DataError
        got, expected = (f"positions [{one.start}, {one.stop})" for one in (plan.learn, train))
        raise kind("A plan learns from outside the train segment.", where=where, got=got, expected=f"within {expected}")


def no_weights(model: Model) -> UnsupportedWeightsError:
    """Return the refusal of weights for a model that cannot use them."""
    what = f"The model {type(model).__name__} cannot use sample weights, so this adaptation would have no effect on it."
    expected = "adaptation=rolling_retrain, or a model that can use weights"
    return UnsupportedWeightsError(what, where="adaptation", expected=expected)


def save_scored(at: int, scored: Scored, folder: Path) -> None:
    """Write what window `at` has scored; a model that is kept lies with the window that fitted it."""
    save(folder, replace(scored, fitted=None))
    if scored.fitted is not None and scored.reads.fitted_in == at:
        (folder / MODEL).mkdir()
        scored.fitted.save(folder / MODEL)


def nothing_scored(at: int, window: Window, train: Segment, levels: tuple[float, ...]) -> Scored:
    """Return the result of a window without a row in its test segment: nobody is predicted, and nothing is fitted."""
    reads = WindowReads(window.index, window.decision, Reads(), Reads(), Reads(), fitted_in=at)
    quantiles = np.empty((0, len(levels)), dtype=np.float32) if levels else None
    return Scored(np.empty(0, dtype=np.float32), reads, train, quantiles=quantiles)


def save_fit(fit: Fit, folder: Path) -> None:
    """Write a fit; `WalkForward` reads it by its model."""
    fitted, learned, reads = fit
    save(folder, (learned, reads))
    (folder / MODEL).mkdir()
    fitted.save(folder / MODEL)
