"""Where two runs of one configuration part: predictions by time and instrument, series, metrics of finished windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.audit.poison import Floats, differ
from harness.audit.verdict import Finding
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.metrics import METRICS
from harness.evaluation.predictions import Predictions

Doubles = npt.NDArray[np.float64]

# Of the spread of a time's scores: where a batch has other rows beside these, a matrix product rounds otherwise.
_ROUNDING = 1e-5
# Series that are known at their own time; every other one may be made of labels.
_KNOWN_AT_ONCE = ("portfolio_", "benchmark_", "excess_", "turnover", "autocorrelation")

# By definition divided by what was observed in the whole test range, see `harness.evaluation.errors`.
_RELATIVE = frozenset(name for one in METRICS.values() if one.is_relative for name in (one.name, one.series))


def first_difference(
    left: Predictions, right: Predictions, start: int, stop: int, rounded_from: int | None = None
) -> str | None:
    """Return where two runs part within calendar positions [start, stop), in words, or None when every bit agrees.

    Rows are matched by time and instrument. From position `rounded_from` on, rounding is no difference.
    """
    if left.quantiles is not None and right.quantiles is not None:  # each by itself, as if it were the score
        columns = zip((left.score, *left.quantiles.T), (right.score, *right.quantiles.T), strict=True)
        pairs = ((left.with_score(one), right.with_score(other)) for one, other in columns)
        found = (first_difference(one, other, start, stop, rounded_from) for one, other in pairs)
        return next((text for text in found if text is not None), None)
    names = sorted({*left.instruments, *right.instruments})
    scores = [dense(run, run.score, (start, stop), names) for run in (left, right)]
    known = [~np.isnan(dense(run, np.zeros_like(run.score), (start, stop), names)) for run in (left, right)]
    missing = known[0] != known[1]
    different = missing | differ(scores[0], scores[1])
    if rounded_from is not None and rounded_from < stop:
        at = slice(max(rounded_from - start, 0), None)
        different[at] &= missing[at] | ~_is_rounding(scores[0][at], scores[1][at])
    if not different.any():
        return None
    both = different & ~missing
    largest = np.nanmax(np.abs(scores[0][both].astype(np.float64) - scores[1][both]), initial=0.0)
    time = left.calendar.format(start + int(np.argmax(different.any(axis=1))))
    gone = f", {missing.sum()} of them in one run only" if missing.any() else ""
    count = (known[0] | known[1]).sum()
    return f"{different.sum()} of {count} predictions differ from {time} on{gone}; by up to {largest:.3g}"


def _is_rounding(left: Floats, right: Floats) -> npt.NDArray[np.bool_]:
    known = np.isfinite(left)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    values = np.where(known, left, 0.0).astype(np.float64)
    mean = values.sum(axis=1, keepdims=True) / count
    spread = np.sqrt(np.where(known, values - mean, 0.0) ** 2 @ np.ones((left.shape[1], 1)) / count)
    with np.errstate(invalid="ignore"):
        apart = np.abs(left.astype(np.float64) - right)
        return np.asarray(apart <= _ROUNDING * np.maximum(spread, 1e-3 * np.abs(mean)))


def dense(predictions: Predictions, values: Floats, period: tuple[int, int], names: list[str]) -> Floats:
    """Return (stop − start, N) values of one per predicted row, by time and name; NaN where there is none."""
    start, stop = period
    columns = np.searchsorted(np.array(names, np.str_), np.array(predictions.instruments, np.str_))
    times = predictions.row_times
    inside = (times >= start) & (times < stop)
    found = np.full((stop - start, len(names)), np.float32(np.nan))
    found[times[inside] - start, columns[predictions.codes[inside]]] = values[inside]
    return found


def within(predictions: Predictions, start: int, stop: int) -> Predictions:
    """Return the predictions of calendar positions [start, stop), which are one window."""
    offsets = predictions.offsets[start - predictions.start : stop - predictions.start + 1]
    rows = slice(int(offsets[0]), int(offsets[-1]))
    return replace(
        predictions,
        start=start,
        offsets=offsets - offsets[0],
        codes=predictions.codes[rows],
        score=predictions.score[rows],
        label=predictions.label[rows],
        quantiles=None if predictions.quantiles is None else predictions.quantiles[rows],
        window_starts=np.array([start], dtype=np.int64),
    )


def series_that_differ(
    real: DailySeries, other: Mapping[str, Doubles], stop: int, look_ahead: int
) -> Iterator[Finding]:
    """Yield one finding per series that parts from that of another run before test time number `stop`.

    A series that may be made of labels is held to it where these are known by then, `look_ahead` times earlier.
    """
    for name, values in real.values.items():
        end = stop if name.startswith(_KNOWN_AT_ONCE) else stop - look_ahead
        if end <= 0 or name in _RELATIVE:
            continue
        again = other.get(name, np.full_like(values, np.nan))[:end]
        moved = np.flatnonzero(~np.isclose(values[:end], again, rtol=1e-9, atol=1e-12, equal_nan=True))
        if moved.size:
            at = int(moved[0])
            what = f"Another future moves the series `{name}` before it begins."
            yield Finding(what, str(real.times[at])[:16], f"{again[at]:.6g}", f"{values[at]:.6g}")


def metrics_that_differ(
    real: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], last: str
) -> Iterator[Finding]:
    """Yield a finding per metric of a window that ends by the time `last` and whose value is another one."""
    for left, right in zip(real, other, strict=False):
        if left["stop"] > last:
            return
        for name, value in left.items():
            again = right.get(name)
            if isinstance(value, float) and isinstance(again, float):
                is_same = bool(np.isclose(value, again, rtol=1e-9, atol=1e-12))
            else:
                is_same = value == again
            if not is_same and name not in _RELATIVE:
                what = f"Another future moves the metric `{name}` of a window that ended before it."
                yield Finding(what, f"window {left['window']}", str(again), str(value))
