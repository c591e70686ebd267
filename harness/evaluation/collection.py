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
from harness.evaluation.predictions import Predictions

Doubles = npt.NDArray[np.float64]
Key = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Piece:
    """What one model predicted for one window.

    Attributes:
        model: The name to group by.
        window: The window's index.
        predictions: Its test rows.
        tags: Anything else to filter by, such as ``{"seed": "43"}``.
    """

    model: str
    window: int
    predictions: Predictions
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def collect(
    pieces: Iterable[Piece],
    *,
    models: Collection[str] | None = None,
    windows: Collection[int] | None = None,
    where: Callable[[Piece], bool] | None = None,
) -> dict[Key, Predictions]:
    """Return the pieces that pass every filter, by (model, window) in sorted order.

    Args:
        pieces: What to choose from.
        models, windows: Keep only these; None keeps all.
        where: Keep only what it is true for.

    Raises:
        DataError: When a model or window that was asked for is not there, or two pieces that pass share a key.
    """
    pieces = list(pieces)
    _refuse_absent("model", models, {p.model for p in pieces})
    _refuse_absent("window", windows, {p.window for p in pieces})
    found: dict[Key, Predictions] = {}
    for piece in pieces:
        named = (models is None or piece.model in models) and (windows is None or piece.window in windows)
        if not named or (where is not None and not where(piece)):
            continue
        key = (piece.model, piece.window)
        if key in found:
            raise DataError(
                "Two pieces have the same model and window.",
                where="collect",
                got=f"{piece.model}, window {piece.window}",
                hint="narrow the choice with where=, for instance by a tag",
            )
        found[key] = piece.predictions
    return dict(sorted(found.items()))


def by_model(collected: Mapping[Key, Predictions]) -> dict[str, dict[int, Predictions]]:
    """Return model → window → predictions, both in sorted order."""
    grouped: dict[str, dict[int, Predictions]] = {}
    for (model, window), predictions in sorted(collected.items()):
        grouped.setdefault(model, {})[window] = predictions
    return grouped


def merge_windows(pieces: Iterable[Predictions]) -> Predictions:
    """Return the predictions of several windows as one, in time order.

    Where windows overlap, the one that starts later wins, row by row; of two that start together, the one given later.
    Times between the windows are there, without rows; `window_starts` are those of all windows.

    Raises:
        DataError: When there are none, or their calendars or instruments differ.
    """
    ordered = sorted(_same_panel(list(pieces), "merge_windows"), key=lambda p: p.start)
    rank = np.repeat(np.arange(len(ordered)), [p.codes.size for p in ordered])
    times, codes = np.concatenate([p.row_times for p in ordered]), np.concatenate([p.codes for p in ordered])
    order = np.lexsort((rank, codes, times))
    times, codes = times[order], codes[order]
    # Sorted by rank within a (time, instrument), so that the last of equal rows is the winner.
    wins = np.append((np.diff(times) != 0) | (np.diff(codes) != 0), True)[: order.size]
    rows = order[wins]
    score, label = np.concatenate([p.score for p in ordered]), np.concatenate([p.label for p in ordered])
    return _arranged(ordered, _Rows(times[wins], codes[wins], score[rows], label[rows]))


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
    return _arranged(models, _Rows(times + start, codes, mean, label[times, codes]))


def ensemble(collected: Mapping[Key, Predictions], *, standardise: bool = True) -> Predictions:
    """Return the average over models of each model's merged windows."""
    merged = [merge_windows(windows.values()) for windows in by_model(collected).values()]
    return average(merged, standardise=standardise)


@dataclass(frozen=True, eq=False)
class _Rows:
    times: npt.NDArray[np.int64]
    codes: npt.NDArray[np.integer[Any]]
    score: npt.NDArray[np.floating[Any]]
    label: npt.NDArray[np.float32]


def _standardised(score: Doubles, offsets: npt.NDArray[np.int64]) -> Doubles:
    scaled = np.full_like(score, np.nan)
    for start, stop in itertools.pairwise(offsets):
        known = ~np.isnan(score[start:stop])
        values = score[start:stop][known]
        if values.size > 1 and np.ptp(values) > 0:
            scaled[start:stop][known] = (values - values.mean()) / values.std(ddof=1)
    return scaled


def _refuse_other_labels(known: npt.NDArray[np.float32], predictions: Predictions) -> None:
    both = ~(np.isnan(known) | np.isnan(predictions.label))
    other = np.flatnonzero(both & (known != predictions.label))
    if other.size:
        row = int(other[0])
        raise DataError(
            f"The models carry different labels for {other.size} row(s), so they were not asked the same question.",
            where=f"{predictions.instruments[predictions.codes[row]]} at "
            f"{predictions.calendar.format(int(predictions.row_times[row]))}",
            got=f"{known[row]} and {predictions.label[row]}",
            expected="models of the same label",
        )


def _arranged(pieces: list[Predictions], rows: _Rows) -> Predictions:
    start, stop = min(p.start for p in pieces), max(p.stop for p in pieces)
    counts = np.bincount(rows.times - start, minlength=stop - start)
    return replace(
        pieces[0],
        start=start,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        codes=rows.codes.astype(np.int32),
        score=rows.score.astype(np.float32),
        label=rows.label,
        window_starts=np.unique(np.concatenate([p.window_starts for p in pieces])),
    )


def _same_panel(pieces: list[Predictions], where: str) -> list[Predictions]:
    if not pieces:
        raise DataError("There are no predictions to put together.", where=where, expected="at least one")
    for other in pieces[1:]:
        if other.calendar != pieces[0].calendar or other.instruments != pieces[0].instruments:
            raise DataError("The predictions stem from different panels.", where=where)
    return pieces


def _refuse_absent(what: str, wanted: Collection[str] | Collection[int] | None, known: set[str] | set[int]) -> None:
    for name in wanted or ():
        if name not in known:
            raise DataError(
                f"There is no such {what}.",
                where="collect",
                got=name,
                expected=", ".join(str(k) for k in sorted(known)) or "nothing was collected",
                hint=closest(str(name), map(str, known)),
            )
