"""Results of several models and windows, collected, merged in time and averaged: plain functions on predictions.

What qlib does with ``RecorderCollector`` (`collect`), ``RollingGroup`` (`by_model`), ``RollingEnsemble``
(`merge_windows`) and ``AverageEnsemble`` (`average`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import DataError, closest
from harness.evaluation.formulas import Doubles
from harness.evaluation.predictions import Predictions, offsets_of

Key = tuple[str, int]


@dataclass(frozen=True, eq=False)
class WindowPredictions:
    """What one model predicted for one window.

    Attributes:
        model: The name to group by.
        tags: Anything else to filter by, such as ``{"seed": "43"}``.
    """

    model: str
    window: int
    predictions: Predictions
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def collect(
    parts: Iterable[WindowPredictions],
    *,
    models: Collection[str] | None = None,
    windows: Collection[int] | None = None,
    where: Callable[[WindowPredictions], bool] | None = None,
) -> dict[Key, Predictions]:
    """Return the parts that pass every filter, by (model, window) in sorted order.

    Raises:
        DataError: When a model or window that was asked for is not there, or two parts that pass share a key.
    """
    parts = list(parts)
    wanted: tuple[tuple[str, Collection[Any] | None], ...] = (("model", models), ("window", windows))
    for what, asked in wanted:
        known = {getattr(part, what) for part in parts}
        for name in asked or ():
            if name not in known:
                expected = ", ".join(map(str, sorted(known))) or "nothing was collected"
                hint = closest(str(name), map(str, known))
                raise DataError(f"There is no such {what}.", where="collect", got=name, expected=expected, hint=hint)
    found: dict[Key, Predictions] = {}
    for part in parts:
        named = (models is None or part.model in models) and (windows is None or part.window in windows)
        if not named or (where is not None and not where(part)):
            continue
        key = (part.model, part.window)
        if key in found:
            got, hint = f"{part.model}, window {part.window}", "narrow the choice with where=, for instance by a tag"
            raise DataError("Two parts have the same model and window.", where="collect", got=got, hint=hint)
        found[key] = part.predictions
    return dict(sorted(found.items()))


def by_model(collected: Mapping[Key, Predictions]) -> dict[str, dict[int, Predictions]]:
    """Return model → window → predictions, both in sorted order."""
    grouped: dict[str, dict[int, Predictions]] = {}
    for (model, window), predictions in sorted(collected.items()):
        grouped.setdefault(model, {})[window] = predictions
    return grouped


def merge_windows(parts: Iterable[Predictions]) -> Predictions:
    """Return the predictions of several windows as one, in time order.

    Where windows overlap, the one that starts later wins, row by row; of two that start together, the one given later.
    Times between the windows are there, without rows; `window_starts` are those of all windows.

    Raises:
        DataError: When there are none, or their calendars or instruments differ.
    """
    ordered = sorted(_same_panel(list(parts), "merge_windows"), key=lambda p: p.start)
    rank = np.repeat(np.arange(len(ordered)), [p.codes.size for p in ordered])
    times, codes = np.concatenate([p.row_times for p in ordered]), np.concatenate([p.codes for p in ordered])
    order = np.lexsort((rank, codes, times))
    times, codes = times[order], codes[order]
    # Sorted by rank within a (time, instrument), so that the last of equal rows is the winner.
    wins = np.append((np.diff(times) != 0) | (np.diff(codes) != 0), True)[: order.size]
    score, label = np.concatenate([p.score for p in ordered]), np.concatenate([p.label for p in ordered])
    return _arranged(ordered, times[wins], codes[wins], score[order[wins]], label[order[wins]])


def average(models: Sequence[Predictions], *, standardise: bool = True) -> Predictions:
    """Return the mean score of several models, over every row that at least one of them has.

    Args:
        models: Predictions of the same panel; a row that a model lacks, or scores NaN, counts for the others only.
        standardise: Take each model's scores to mean 0 and standard deviation 1 (ddof 1) at each time first, so that
            models of different scale count alike, as qlib does. A model whose scores do not vary at a time has no say
            there.

    Raises:
        DataError: When there are none, their panels differ, or they carry different labels for the same row.
    """
    models = _same_panel(list(models), "average")
    start, stop = min(p.start for p in models), max(p.stop for p in models)
    shape = (stop - start, len(models[0].instruments))
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    present, label = np.zeros(shape, dtype=np.bool_), np.full(shape, np.nan, dtype=np.float32)
    for predictions in models:
        at = (predictions.row_times - start, predictions.codes)
        score = predictions.score.astype(np.float64)
        score = _standardised(score, predictions.offsets) if standardise else score
        known = ~np.isnan(score)
        total[at[0][known], at[1][known]] += score[known]
        count[at[0][known], at[1][known]] += 1
        present[at] = True
        _refuse_other_labels(label[at], predictions)
        label[at] = np.where(np.isnan(predictions.label), label[at], predictions.label)
    times, codes = np.nonzero(present)
    mean = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)[times, codes]
    return _arranged(models, times + start, codes, mean, label[times, codes])


def ensemble(collected: Mapping[Key, Predictions], *, standardise: bool = True) -> Predictions:
    """Return the average over models of each model's merged windows."""
    merged = [merge_windows(windows.values()) for windows in by_model(collected).values()]
    return average(merged, standardise=standardise)


def _standardised(score: Doubles, offsets: npt.NDArray[np.int64]) -> Doubles:
    scaled = np.full_like(score, np.nan)
    for start, stop in itertools.pairwise(offsets):
        known = ~np.isnan(score[start:stop])
        values = score[start:stop][known]
        if values.size > 1 and np.ptp(values) > 0:
            scaled[start:stop][known] = (values - values.mean()) / values.std(ddof=1)
    return scaled


def _refuse_other_labels(known: npt.NDArray[np.float32], predictions: Predictions) -> None:
    other = np.flatnonzero(~(np.isnan(known) | np.isnan(predictions.label)) & (known != predictions.label))
    if other.size:
        row = int(other[0])
        name, at = predictions.instruments[predictions.codes[row]], int(predictions.row_times[row])
        what = f"The models carry different labels for {other.size} row(s), so they were not asked the same question."
        where, got = f"{name} at {predictions.calendar.format(at)}", f"{known[row]} and {predictions.label[row]}"
        raise DataError(what, where=where, got=got, expected="models of the same label")


def _arranged(
    parts: list[Predictions],
    times: npt.NDArray[np.int64],
    codes: npt.NDArray[np.integer[Any]],
    score: npt.NDArray[np.floating[Any]],
    label: npt.NDArray[np.float32],
) -> Predictions:
    start, stop = min(p.start for p in parts), max(p.stop for p in parts)
    return replace(
        parts[0],
        start=start,
        offsets=offsets_of(times - start, stop - start),
        codes=codes.astype(np.int32),
        score=score.astype(np.float32),
        label=label,
        window_starts=np.unique(np.concatenate([p.window_starts for p in parts])),
    )


def _same_panel(parts: list[Predictions], where: str) -> list[Predictions]:
    if not parts:
        raise DataError("There are no predictions to put together.", where=where, expected="at least one")
    if any((p.calendar, p.instruments) != (parts[0].calendar, parts[0].instruments) for p in parts):
        raise DataError("The predictions stem from different panels.", where=where)
    return parts
