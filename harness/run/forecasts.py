"""The forecasts of a window, checked, and those of all windows as predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import DataError, RefusedError
from harness.evaluation.predictions import Predictions
from harness.run.chain import Scored
from harness.samples.interfaces import FittedModel
from harness.samples.per_instrument import FittedEach
from harness.samples.plan import WindowPlan
from harness.samples.table import SampleTable
from harness.samples.transform import batches, predicted
from harness.samples.windows import Window

Floats = npt.NDArray[np.float32]


def collect(
    table: SampleTable, windows: tuple[Window, ...], scored: Sequence[Scored], levels: tuple[float, ...] = ()
) -> Predictions:
    """Return what consecutive windows have predicted, with the table's rows and labels."""
    start, stop = windows[0].test.start, windows[-1].test.stop
    rows = table.index.rows(start, stop)
    return Predictions(
        calendar=table.calendar,
        instruments=table.instruments,
        start=start,
        offsets=table.index.local_offsets(start, stop),
        codes=np.array(table.index.codes[rows]),
        score=np.concatenate([one.score for one in scored]),
        label=np.array(table.label[rows]),
        window_starts=np.array([w.test.start for w in windows], dtype=np.int64),
        levels=levels,
        quantiles=np.concatenate([one.quantiles for one in scored if one.quantiles is not None]) if levels else None,
    )


def forecasts(fitted: FittedModel, plan: WindowPlan, table: SampleTable, window: Window) -> Floats:
    """Return (m,) float32 forecasts of a window's test segment; refuse what no transform or model may give."""
    rows = table.index.rows(window.test.start, window.test.stop)
    tested = table.features[rows]
    where = f"{_name_of(fitted)}.predict, window {window.index}"
    if isinstance(fitted, FittedEach):
        if plan.transform is not None:
            what, expected = "A transform looks at all instruments of a time together.", "false"
            raise RefusedError(what, where="model.per_instrument", got=True, expected=expected)
        fitted = fitted.of(table.index.codes[rows])
    if plan.transform is None:
        return _scores(fitted.predict(tested), len(tested), where)
    offsets = table.index.local_offsets(window.test.start, window.test.stop)
    times = batches(tested, table.index.codes[rows], offsets, window.test.start)
    return _scores(predicted(fitted, plan.transform, times, len(tested)), len(tested), where)


def quantile_forecasts(
    fitted: FittedModel, plan: WindowPlan, table: SampleTable, window: Window, levels: tuple[float, ...]
) -> Floats:
    """Return (m, Q) float32 quantiles; refuse a transform, which brings back one forecast, and quantiles that cross."""
    if plan.transform is not None:
        what, expected = "A transform brings back forecasts, not quantiles.", "a model without quantiles"
        raise RefusedError(what, where="model", got=f"levels {list(levels)}", expected=expected)
    rows = table.index.rows(window.test.start, window.test.stop)
    fitted = fitted.of(table.index.codes[rows]) if isinstance(fitted, FittedEach) else fitted
    where = f"{_name_of(fitted)}.predict_quantiles, window {window.index}"
    given = np.asarray(fitted.predict_quantiles(table.features[rows]))  # type: ignore[attr-defined]
    if given.shape != (rows.stop - rows.start, len(levels)) or (np.diff(given, axis=1) < 0).any():
        what, expected = "A model predicts something else than a rising quantile per level.", f"levels {list(levels)}"
        raise DataError(what, where=where, got=f"{given.dtype} {given.shape}", expected=expected)
    return np.stack([_scores(column, len(given), where) for column in given.T], axis=1)


def _name_of(fitted: FittedModel) -> str:
    return f"{type(fitted).__module__}.{type(fitted).__qualname__}"


def _scores(predicted: object, rows: int, where: str) -> Floats:
    """Return (n,) float32 what a model predicts; refuse another shape, no number, infinite in float32; NaN may be."""
    refused = partial(DataError, where=where, expected=f"({rows},) finite numbers, NaN for no forecast")
    given = np.asarray(predicted)
    try:
        real = np.asarray(given, dtype=np.float64) if given.dtype.kind in "biufO" else None
    except (TypeError, ValueError):
        real = None
    if real is None or real.shape != (rows,):
        what = "None" if predicted is None else f"{given.dtype} {given.shape}"
        raise refused("The model predicts something else than a number per row.", got=what)
    with np.errstate(over="ignore"):
        scores = np.ascontiguousarray(real, dtype=np.float32)
    infinite = np.isinf(scores)
    if infinite.any():
        what = f"{int(infinite.sum())} of {rows}, the first at row {int(infinite.argmax())}"
        raise refused("The model predicts infinite values.", got=what)
    return scores


def truth_of(panel: Panel, predictions: Predictions, horizon: int | None, look_ahead: int) -> Predictions | None:
    """Return the simulator's expectation of the label as a prediction; the label spans the steps 2 … look-ahead."""
    if panel.truth is None or horizon is None:
        return None
    expected = panel.truth.expected_return(2, look_ahead)  # (T, N)
    times = np.repeat(np.arange(predictions.start, predictions.stop), np.diff(predictions.offsets))
    return predictions.with_score(expected[times, predictions.codes])
