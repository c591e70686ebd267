"""The only loop over windows: process, weight, fit, predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.artifacts import ArtifactStore, Key, canonical_json, key_of
from harness.data.fingerprint import fingerprint_arrays
from harness.errors import ConfigError, UnsupportedWeightsError
from harness.instantiate import describe
from harness.interfaces import (
    FittedAdaptation,
    FittedPreprocess,
    LearnSet,
    Model,
    Observer,
    Preprocess,
    Silent,
    TimeWeights,
)
from harness.normal_equations import GramBlocks
from harness.predictions import Predictions
from harness.preprocess import apply
from harness.samples import Reads, SampleTable
from harness.windows import Segment, Window

__all__ = ["Cache", "Recipe", "RollingResult", "WindowReads", "learning_segments", "roll"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """What is done in every window.

    Attributes
    ----------
    preprocess, model
        The configured objects.
    adaptation
        What the adaptation has learned.
    step
        Times per test segment, also the length of the shared Gram blocks.
    """

    preprocess: Preprocess
    adaptation: FittedAdaptation
    model: Model
    step: int


@dataclass(frozen=True)
class Cache:
    """Where finished windows are kept, so that a killed run resumes at the unfinished one.

    Attributes
    ----------
    store
        The artifact store.
    table
        Digest that identifies the raw sample table.
    code
        Digest of the code that fits and predicts.
    """

    store: ArtifactStore
    table: str
    code: str


@dataclass(frozen=True)
class WindowReads:
    """The newest data that one window's fitting read, against its decision: the static audit's raw material."""

    window: int
    decision: int
    preprocess: Reads
    model: Reads
    early_stopping: Reads


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

    Parameters
    ----------
    table
        Raw features and label; fitting code sees it through as-of views only.
    windows
        The walk-forward schedule.
    recipe
        Preprocess, adaptation and model.
    cache
        Reuse finished windows.
    observer
        Told about progress.

    Raises
    ------
    ConfigError
        When the model needs a validation segment and the windows have none.
    UnsupportedWeightsError
        When the adaptation weights samples and the model cannot use weights.
    """
    observer = observer or Silent()
    weights = tuple(recipe.adaptation.time_weights(window) for window in windows)
    _refuse_unusable(recipe, windows, weights)
    stage = _Stage(table, windows, recipe, observer)
    scores, reads, fitted = [], [], 0
    observer.start("windows", len(windows))
    for window, window_weights in zip(windows, weights, strict=True):
        score, window_reads, was_fitted = _score(stage, window, window_weights, cache)
        scores.append(score)
        reads.append(window_reads)
        fitted += was_fitted
        observer.advance("windows")
    observer.finish("windows", f"{fitted} fitted, {len(windows) - fitted} reused")
    return RollingResult(_collect(table, windows, np.concatenate(scores)), tuple(reads), fitted)


def learning_segments(window: Window, model: Model) -> tuple[Segment, Segment | None]:
    """Return the segments that a model trains on and stops early on.

    A model that needs no validation may take the valid segment into training (its `include_valid`), so as not to waste
    the newest past.
    """
    if model.needs_valid:
        return window.train, window.valid
    return (window.whole_past if getattr(model, "include_valid", False) else window.train), None


class _Stage:
    """The processed table of the current window; made once when the processors are fitted once."""

    def __init__(self, table: SampleTable, windows: tuple[Window, ...], recipe: Recipe, observer: Observer) -> None:
        self.table = table
        self.recipe = recipe
        self.first, self.last = windows[0], windows[-1]
        self.observer = observer
        self._once: tuple[SampleTable, GramBlocks, Reads] | None = None

    @property
    def refits(self) -> bool:
        return self.recipe.preprocess.refit == "per_window"

    def processed(self, window: Window) -> tuple[SampleTable, GramBlocks | None, Reads]:
        """Return the processed rows of a window's learning and test periods, and what fitting the processors read."""
        if self.refits:
            fitted, reads = self._fit(window)
            period = self.table.restricted(window.train.start, window.test.stop)
            return apply(period, fitted), None, reads
        if self._once is None:
            fitted, reads = self._fit(self.first)
            processed = apply(self.table, fitted)
            self._once = processed, self._blocks(processed), reads
        return self._once

    def _blocks(self, processed: SampleTable) -> GramBlocks:
        """Return the shared sums, cut where the windows' learning periods end, so that no window has a ragged end."""
        train, _ = learning_segments(self.last, self.recipe.model)
        offsets = processed.index.offsets
        return GramBlocks(
            processed.features,
            processed.label,
            offsets,
            step=self.recipe.step,
            origin=train.stop,
            observer=self.observer,
        )

    def _fit(self, window: Window) -> tuple[FittedPreprocess, Reads]:
        train, _ = learning_segments(window, self.recipe.model)
        view = self.table.as_of(window.decision)
        return self.recipe.preprocess.fit(view, train), view.reads

    def fit_and_predict(
        self, window: Window, weights: TimeWeights | None, keep: Callable[[str], Path] | None
    ) -> tuple[Floats, WindowReads]:
        """Fit on what is known at the window's decision and predict its test segment."""
        table, blocks, preprocess_reads = self.processed(window)
        view, valid_view = table.as_of(window.decision), table.as_of(window.decision)
        train, valid = learning_segments(window, self.recipe.model)
        fitted = self.recipe.model.fit(
            LearnSet(view, train, weights, blocks),
            None if valid is None else LearnSet(valid_view, valid, weights),
        )
        score = np.ascontiguousarray(
            fitted.predict(table.features[table.index.rows(window.test.start, window.test.stop)]), dtype=np.float32
        )
        if keep is not None:
            fitted.save(keep("model"))
        reads = WindowReads(window.index, window.decision, preprocess_reads, view.reads, valid_view.reads)
        return score, reads


def _score(
    stage: _Stage, window: Window, weights: TimeWeights | None, cache: Cache | None
) -> tuple[Floats, WindowReads, bool]:
    if cache is None:
        score, reads = stage.fit_and_predict(window, weights, None)
        return score, reads, True
    made: list[WindowReads] = []

    def make(folder: Path) -> None:
        def keep(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        score, reads = stage.fit_and_predict(window, weights, keep)
        np.save(folder / "score.npy", score, allow_pickle=False)
        (folder / "reads.json").write_text(canonical_json(asdict(reads)), encoding="utf-8")
        made.append(reads)

    found = cache.store.get_or_make(_key(stage, window, weights, cache), make)
    score = np.load(found / "score.npy", allow_pickle=False)
    return score, _read_reads(found / "reads.json"), bool(made)


def _read_reads(path: Path) -> WindowReads:
    record = json.loads(path.read_text(encoding="utf-8"))
    parts = {part: Reads(**record[part]) for part in ("preprocess", "model", "early_stopping")}
    return WindowReads(**{**record, **parts})


def _key(stage: _Stage, window: Window, weights: TimeWeights | None, cache: Cache) -> Key:
    train, valid = learning_segments(window, stage.recipe.model)
    return key_of(
        "window",
        table=cache.table,
        code=cache.code,
        preprocess=describe(stage.recipe.preprocess),
        processors_fitted_on=None
        if stage.refits
        else _positions(learning_segments(stage.first, stage.recipe.model)[0]),
        model=describe(stage.recipe.model),
        train=_positions(train),
        valid=_positions(valid),
        test=_positions(window.test),
        step=stage.recipe.step,
        weights=None if weights is None else fingerprint_arrays({"starts": weights.starts, "values": weights.values}),
    )


def _positions(segment: Segment | None) -> list[int] | None:
    return None if segment is None else [segment.start, segment.stop]


def _refuse_unusable(recipe: Recipe, windows: tuple[Window, ...], weights: tuple[TimeWeights | None, ...]) -> None:
    name = type(recipe.model).__name__
    if recipe.model.needs_valid and any(window.valid is None for window in windows):
        raise ConfigError(
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


def _collect(table: SampleTable, windows: tuple[Window, ...], score: Floats) -> Predictions:
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
