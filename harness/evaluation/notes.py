"""What a reader must know beside the metrics of a signal: what is missing, undefined or constant, with counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.evaluation.predictions import Predictions

Flags = npt.NDArray[np.bool_]


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
    """Say at how many of the test times that have rows scores and labels cannot be correlated, by the reason."""
    score, label, offsets = predictions.score, predictions.label, predictions.offsets
    pairs = ~(np.isnan(score) | np.isnan(label))
    counted = np.diff(np.concatenate([[0], np.cumsum(pairs)])[offsets])
    has_rows, labelled = np.diff(offsets) > 0, _any(~np.isnan(label), offsets)
    at = np.arange(predictions.start, predictions.stop)
    early = ~labelled & (at + look_ahead >= len(predictions.calendar))
    asked = has_rows & ~early
    enough = counted >= 2
    reasons = {
        "no label is known": asked & ~labelled,
        "fewer than two instruments have a score and a label": asked & labelled & ~enough,
        "all instruments have the same score": asked & enough & _flat(score, pairs, offsets),
        "all instruments have the same label": asked & enough & _flat(label, pairs, offsets),
        "a score is infinite": asked & enough & _any(np.isinf(score), offsets),
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


def _any(flags: Flags, offsets: npt.NDArray[np.int64]) -> Flags:
    """Return (S,) bool: does any row of each time have the flag."""
    found: Flags = np.diff(np.concatenate([[0], np.cumsum(flags)])[offsets]) > 0
    return found


def _flat(values: npt.NDArray[np.float32], keep: Flags, offsets: npt.NDArray[np.int64]) -> Flags:
    """Return (S,) bool: are all kept values of each time equal."""
    kept = values[keep]
    times = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))[keep]
    moves = np.append((kept[1:] != kept[:-1]) & (times[1:] == times[:-1]), np.False_)[: kept.size]
    varied = np.zeros(offsets.size - 1, dtype=np.bool_)
    varied[times[moves]] = True
    return ~varied
