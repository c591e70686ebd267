"""Results of several models and windows, collected, merged in time and averaged: plain functions on predictions.

What qlib does with ``RecorderCollector`` (`collect`), ``RollingGroup`` (`by_model`), ``RollingEnsemble``
(`merge_windows`) and ``AverageEnsemble`` (`average`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import DataError, closest
from harness.evaluation.predictions import Predictions, offsets_of

Key = tuple[str, int]


@dataclass(frozen=True, eq=False)
class WindowPredictions:
    """What one model predicted for one window."""

    model: str  # the name to group by
    window: int
    predictions: Predictions
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # to filter by, as {"seed": "43"}


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
    asked: dict[str, Collection[Any] | None] = {"model": models, "window": windows}
    wanted = {what: names for what, names in asked.items() if names is not None}
    for what, names in wanted.items():
        known = {getattr(part, what) for part in parts}
        for name in names:
            if name not in known:
                expected = ", ".join(map(str, sorted(known))) or "nothing was collected"
                hint = closest(str(name), map(str, known))
                raise DataError(f"There is no such {what}.", where="collect", got=name, expected=expected, hint=hint)
    chosen = [
        ((part.model, part.window), part.predictions)
        for part in parts
        if all(getattr(part, what) in names for what, names in wanted.items()) and (where is None or where(part))
    ]
    for (model, window), count in Counter(key for key, _ in chosen).items():
        if count > 1:
            got, hint = f"{model}, window {window}", "narrow the choice with where=, for instance by a tag"
            raise DataError("Two parts have the same model and window.", where="collect", got=got, hint=hint)
    return dict(sorted(chosen, key=lambda item: item[0]))


def by_model(collected: Mapping[Key, Predictions]) -> dict[str, dict[int, Predictions]]:
    """Return model → window → predictions, both in sorted order."""
    grouped = groupby(sorted(collected.items()), key=lambda item: item[0][0])
    return {model: {window: predictions for (_, window), predictions in items} for model, items in grouped}


def merge_windows(parts: Iterable[Predictions]) -> Predictions:
    """Return the predictions of several windows as one, in time order.

    Where windows overlap, the one that starts later wins, row by row; of two that start together, the one given later.
    Times between the windows are there, without rows; `window_starts` are those of all windows.

    Raises:
        DataError: When there are none, or their calendars or instruments differ.
    """
    ordered = sorted(_same_panel(list(parts), "merge_windows"), key=lambda p: p.start)
    rows = pd.concat([_rows(p) for p in ordered])
    return _arranged(ordered, rows[~rows.index.duplicated(keep="last")].sort_index())


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
    score, label = (
        pd.concat([_rows(p)[column].astype(np.float64) for p in models], axis=1).sort_index()
        for column in ("score", "label")
    )
    least, most = label.min(axis=1), label.max(axis=1)
    other = label.index[least < most]
    if other.size:
        what = f"The models carry different labels for {other.size} row(s), so they were not asked the same question."
        (time, code), got = other[0], f"{least[other[0]]:.9g} and {most[other[0]]:.9g}"
        where = f"{models[0].instruments[code]} at {models[0].calendar.format(int(time))}"
        raise DataError(what, where=where, got=got, expected="models of the same label")
    if standardise:
        by_time = score.groupby(level=0)
        varies = by_time.transform("max") > by_time.transform("min")
        score = ((score - by_time.transform("mean")) / by_time.transform("std")).where(varies)
    return _arranged(models, pd.DataFrame({"score": score.mean(axis=1), "label": most}))


def ensemble(collected: Mapping[Key, Predictions], *, standardise: bool = True) -> Predictions:
    """Return the average over models of each model's merged windows."""
    merged = [merge_windows(windows.values()) for windows in by_model(collected).values()]
    return average(merged, standardise=standardise)


def _rows(predictions: Predictions) -> pd.DataFrame:
    """Return scores and labels by calendar position and instrument column."""
    columns = {"score": predictions.score, "label": predictions.label}
    return pd.DataFrame(columns, index=[predictions.row_times, predictions.codes])


def _arranged(parts: list[Predictions], rows: pd.DataFrame) -> Predictions:
    start, stop = min(p.start for p in parts), max(p.stop for p in parts)
    times, codes = (rows.index.get_level_values(level).to_numpy() for level in (0, 1))
    return replace(
        parts[0],
        start=start,
        offsets=offsets_of(times - start, stop - start),
        codes=codes.astype(np.int32),
        score=rows["score"].to_numpy(np.float32),
        label=rows["label"].to_numpy(np.float32),
        window_starts=np.unique(np.concatenate([p.window_starts for p in parts])),
    )


def _same_panel(parts: list[Predictions], where: str) -> list[Predictions]:
    if not parts:
        raise DataError("There are no predictions to put together.", where=where, expected="at least one")
    if any((p.calendar, p.instruments) != (parts[0].calendar, parts[0].instruments) for p in parts):
        raise DataError("The predictions stem from different panels.", where=where)
    return parts
