"""Predictions of several windows merged in time, and of several models averaged: plain functions.

What qlib does with ``RollingEnsemble`` (`merge_windows`) and ``AverageEnsemble`` (`average`); `harness.run.collection`
does it with finished runs, as qlib's collectors and ``RollingGroup`` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from harness.errors import DataError
from harness.evaluation.predictions import Predictions, offsets_of

Scale = Literal["score", "zscore", "rank"]


def merge_windows(parts: Iterable[Predictions]) -> Predictions:
    """Return the predictions of several windows as one, in time order.

    Where windows overlap, the one that starts later wins, row by row; of two that start together, the one given later.
    Times between the windows are there, without rows; `window_starts` are those of all windows. Quantiles are kept
    where all have the same levels.

    Raises:
        DataError: When there are none, or their calendars or instruments differ.
    """
    ordered = sorted(_same_panel(list(parts), "merge_windows"), key=lambda p: p.start)
    rows = pd.concat([_rows(p) for p in ordered])
    return _arranged(ordered, rows[~rows.index.duplicated(keep="last")].sort_index())


def average(models: Sequence[Predictions], *, scale: Scale = "zscore") -> Predictions:
    """Return the mean score of several models, over every row that at least one of them has, without quantiles.

    Args:
        models: Predictions of the same panel; a row that a model lacks, or scores NaN, counts for the others only.
        scale: What is averaged. ``zscore``: each model's scores with mean 0 and standard deviation 1 (ddof 1) at each
            time, so that models of different scale count alike, as in qlib; a model whose scores do not vary at a time
            has no say there. ``rank``: their ranks r = 1 … m at each time as (r − 0.5) / m, equal scores sharing the
            mean of theirs. ``score``: the scores as they are.

    Raises:
        DataError: When there are none, their panels differ, or they carry different labels for the same row.
    """
    models = _same_panel(list(models), "average")
    score, label = (
        pd.concat([_rows(p)[column].astype(np.float64) for p in models], axis=1).sort_index()
        for column in ("score", "label")
    )
    _refuse_other_labels(models[0], label)
    by_time = score.groupby(level=0)
    if scale == "zscore":
        varies = by_time.transform("max") > by_time.transform("min")
        score = ((score - by_time.transform("mean")) / by_time.transform("std")).where(varies)
    elif scale == "rank":
        score = (by_time.rank() - 0.5) / by_time.transform("count")
    return _arranged(models, pd.DataFrame({"score": score.mean(axis=1), "label": label.max(axis=1)}))


def _rows(predictions: Predictions) -> pd.DataFrame:
    """Return scores, labels and quantiles by calendar position and instrument column."""
    columns = {"score": predictions.score, "label": predictions.label}
    if predictions.quantiles is not None:
        columns |= {
            str(level): values for level, values in zip(predictions.levels, predictions.quantiles.T, strict=True)
        }
    return pd.DataFrame(columns, index=[predictions.row_times, predictions.codes])


def _refuse_other_labels(of: Predictions, label: pd.DataFrame) -> None:
    least, most = label.min(axis=1), label.max(axis=1)
    other = label.index[least < most]
    if other.size:
        what = f"The models carry different labels for {other.size} row(s), so they were not asked the same question."
        (time, code), got = other[0], f"{least[other[0]]:.9g} and {most[other[0]]:.9g}"
        where = f"{of.instruments[code]} at {of.calendar.format(int(time))}"
        raise DataError(what, where=where, got=got, expected="models of the same label")


def _arranged(parts: list[Predictions], rows: pd.DataFrame) -> Predictions:
    start, stop = min(p.start for p in parts), max(p.stop for p in parts)
    times, codes = (rows.index.get_level_values(level).to_numpy() for level in (0, 1))
    levels = parts[0].levels if all(p.levels == parts[0].levels for p in parts) else ()
    levels = levels if set(map(str, levels)) <= set(rows) else ()
    return replace(
        parts[0],
        start=start,
        offsets=offsets_of(times - start, stop - start),
        codes=codes.astype(np.int32),
        score=rows["score"].to_numpy(np.float32),
        label=rows["label"].to_numpy(np.float32),
        levels=levels,
        quantiles=rows[[str(level) for level in levels]].to_numpy(np.float32) if levels else None,
        window_starts=np.unique(np.concatenate([p.window_starts for p in parts])),
    )


def _same_panel(parts: list[Predictions], where: str) -> list[Predictions]:
    if not parts:
        raise DataError("There are no predictions to put together.", where=where, expected="at least one")
    if any((p.calendar, p.instruments) != (parts[0].calendar, parts[0].instruments) for p in parts):
        raise DataError("The predictions stem from different panels.", where=where)
    return parts
