"""What a reader must know beside the metrics of a signal: what is missing, undefined or constant, with counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.evaluation.formulas import offsets_among, times_that_vary
from harness.evaluation.predictions import Predictions


def signal_notes(predictions: Predictions, look_ahead: int) -> tuple[str, ...]:
    """Return notes with counts, in a fixed order; none when every test time and window can be judged.

    Times whose labels are not known yet, within `look_ahead` of the end of the calendar, need no note.
    """
    notes, counts, shown = list[str](), np.diff(predictions.offsets), predictions.calendar.format
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        busy = np.flatnonzero(counts)
        last = f"; the last row is of {shown(predictions.start + int(busy[-1]))}" if busy.size else ""
        notes.append(
            f"{empty.size} of {counts.size} test periods have no row, first {shown(predictions.start + int(empty[0]))}"
            f"{last}: nobody in the universe has a price there, and no metric counts them"
        )
    lacking = int(np.isnan(predictions.score).sum())
    if lacking:
        notes.append(
            f"{lacking:,} of {predictions.score.size:,} predictions are missing (NaN): metrics leave them out, and a "
            "portfolio sells what has no score first; see what the model returns"
        )
    return (*notes, *_undefined(predictions, look_ahead), *_constant(predictions))


def _undefined(predictions: Predictions, look_ahead: int) -> list[str]:
    score, label, offsets = predictions.score, predictions.label, predictions.offsets
    pairs = ~(np.isnan(score) | np.isnan(label))

    def count(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.diff(offsets_among(offsets, rows))

    labelled, at = count(~np.isnan(label)) > 0, np.arange(predictions.start, predictions.stop)
    asked = (np.diff(offsets) > 0) & (labelled | (at + look_ahead < len(predictions.calendar)))
    enough, paired = asked & (count(pairs) >= 2), offsets_among(offsets, pairs)
    reasons = {
        "no label is known": asked & ~labelled,
        "fewer than two instruments have a score and a label": asked & labelled & ~enough,
        "all instruments have the same score": enough & ~times_that_vary(score[pairs], paired),
        "all instruments have the same label": enough & ~times_that_vary(label[pairs], paired),
        "a score is infinite": enough & (count(np.isinf(score)) > 0),
    }
    found = {reason: int(times.sum()) for reason, times in reasons.items() if times.any()}
    if not found:
        return []
    total = int(np.logical_or.reduce(list(reasons.values())).sum())
    why = ", ".join(f"{reason} at {count}" for reason, count in found.items())
    return [
        f"IC and rank IC are undefined at {total} of {int(asked.sum())} test periods ({why}), and those do not "
        "count in them; metrics across instruments need at least two with different scores and labels"
    ]


def _constant(predictions: Predictions) -> list[str]:
    starts = np.append(predictions.window_starts, predictions.stop) - predictions.start
    spans = [predictions.score[predictions.offsets[a] : predictions.offsets[b]] for a, b in pairwise(starts.tolist())]
    constant = [at for at, score in enumerate(spans) if score.size > 1 and bool((score == score[0]).all())]
    if not constant:
        return []
    where = predictions.calendar.format(int(predictions.window_starts[constant[0]]))
    return [
        f"the model forecasts one number in {len(constant)} of {len(spans)} windows (first: window {constant[0]}, from "
        f"{where}): it learned nothing, or its features are missing there; loosen its "
        "regularisation (for lightgbm smaller model.lambda_l1, "
        "model.lambda_l2 and model.extra.min_data_in_leaf) or give it more rows or other features"
    ]
