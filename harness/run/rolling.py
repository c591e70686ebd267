"""The only loop over windows: weight, fit and predict each in time order."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.errors import RefusedError, UnsupportedWeightsError
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Countdown, Observer, Silent
from harness.run.window_stage import Cache, Recipe, WindowReads, WindowStage
from harness.samples.interfaces import TimeWeights
from harness.samples.table import SampleTable
from harness.samples.windows import Window

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RollingResult:
    """Predictions of all windows, and what was read and computed to make them."""

    predictions: Predictions
    reads: tuple[WindowReads, ...]
    fitted: int


def roll(
    table: SampleTable,
    windows: tuple[Window, ...],
    recipe: Recipe,
    *,
    cache: Cache | None = None,
    observer: Observer | None = None,
) -> RollingResult:
    """Fit and predict every window in time order.

    Args:
        table: Raw features and label; fitting code sees it through as-of views only.
        windows: The walk-forward schedule.
        recipe: Preprocess, adaptation and model.
        cache: Reuse finished windows.
        observer: Told about progress.

    Raises:
        ConfigError: When the model needs a validation segment and the windows have none.
        UnsupportedWeightsError: When the adaptation weights samples and the model cannot use weights.
    """
    observer = observer or Silent()
    stage = window_stage(table, windows, recipe, cache=cache, observer=observer)
    scored, countdown = [], Countdown(observer, "windows", len(windows))
    for at in range(len(windows)):
        began = time.perf_counter()
        scored.append(stage.score(at))
        countdown.ended(time.perf_counter() - began if scored[-1].made else None)
    fitted = sum(one.made for one in scored)
    countdown.finish(f"{fitted} fitted, {len(windows) - fitted} reused")
    predictions = collect(table, windows, np.concatenate([one.score for one in scored]))
    return RollingResult(predictions, tuple(one.reads for one in scored), fitted)


def window_stage(
    table: SampleTable,
    windows: tuple[Window, ...],
    recipe: Recipe,
    *,
    cache: Cache | None = None,
    observer: Observer | None = None,
) -> WindowStage:
    """Return what fits and predicts single windows, with the weights of all of them; parameters and errors of `roll`.

    A recipe whose parts do not fit together is refused here, before anything is fitted.
    """
    weights = tuple(recipe.adaptation.time_weights(window) for window in windows)
    _refuse_unusable(recipe, windows, weights)
    return WindowStage(table, windows, weights, recipe, cache, observer or Silent())


def _refuse_unusable(recipe: Recipe, windows: tuple[Window, ...], weights: tuple[TimeWeights | None, ...]) -> None:
    name = type(recipe.model).__name__
    if recipe.model.needs_valid and any(window.valid is None for window in windows):
        raise RefusedError(
            f"The model {name} stops early and needs a validation segment.",
            where="windows.valid",
            got=None,
            expected="a first and a last date between train and test, or a positive middle share in windows.split",
        )
    if not recipe.model.supports_weights and any(w is not None for w in weights):
        raise UnsupportedWeightsError(
            f"The model {name} cannot use sample weights, so this adaptation would have no effect on it.",
            where="adaptation",
            expected="adaptation=rolling_retrain, or a model that can use weights",
        )


def collect(table: SampleTable, windows: tuple[Window, ...], score: Floats) -> Predictions:
    """Return predictions of consecutive windows with the table's rows and labels; `score` has one value per row."""
    start, stop = windows[0].test.start, windows[-1].test.stop
    rows = table.index.rows(start, stop)
    return Predictions(
        calendar=table.calendar,
        instruments=table.instruments,
        start=start,
        offsets=table.index.local_offsets(start, stop),
        codes=np.array(table.index.codes[rows]),
        score=score,
        label=np.array(table.label[rows]),
        window_starts=np.array([w.test.start for w in windows], dtype=np.int64),
    )
