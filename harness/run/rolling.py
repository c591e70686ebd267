"""Walk-forward: process, weight, fit and predict every window in time order, each on what is known at its decision."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache as once
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness.config.contracts import check_object, traits_of
from harness.errors import DataError, RefusedError, UnsupportedWeightsError
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Countdown, Observer, Silent
from harness.execution.threads import thread_limit
from harness.run.stages import Cache, Stage, files_of
from harness.samples.gram import GramBlocks, Period
from harness.samples.interfaces import FittedAdaptation, FittedModel, LearnSet, Model, ModelTraits, Preprocess
from harness.samples.preprocess import apply
from harness.samples.table import Reads, SampleTable
from harness.samples.windows import Segment, Window
from harness.store.artifacts import Key, key_of
from harness.store.code_digest import code_digest
from harness.store.codec import load, save
from harness.store.fingerprint import fingerprint_arrays
from harness.store.records import describe, modules_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Value = TypeVar("Value")
_COPIES = 2  # of the feature matrix that a fit may need: the rows with a label, and what the model makes of them


@dataclass(frozen=True)
class Recipe:
    """What is done in every window; `step`: times per test segment, also the length of the shared Gram blocks."""

    preprocess: Preprocess
    adaptation: FittedAdaptation
    model: Model
    step: int


@dataclass(frozen=True)
class WindowReads:
    """The newest data that one window's fitting read, against its decision: the static audit's raw material."""

    window: int
    decision: int
    preprocess: Reads
    model: Reads
    early_stopping: Reads


@dataclass(frozen=True, eq=False)
class Scored:
    """The predictions of one window, (m,) float32 for the rows of its test segment; `fitted` until it is stored."""

    score: Floats
    reads: WindowReads
    fitted: FittedModel | None = None


@dataclass(frozen=True, eq=False)
class RollingResult:
    """Predictions of all windows, what was read to make them, and how many were `fitted`."""

    predictions: Predictions
    reads: tuple[WindowReads, ...]
    fitted: int


@dataclass(frozen=True, eq=False)
class _Processed:
    table: SampleTable
    reads: Reads


@dataclass(frozen=True, eq=False)
class _Columns:
    features: Floats | None
    names: tuple[str, ...]
    label: Floats


def learning_segments(window: Window, model: Model) -> tuple[Segment, Segment | None]:
    """Return the segments that a model trains on and stops early on.

    A model that needs no validation takes the valid segment into training, so as not to waste the newest past, unless
    its `include_valid` or, where it does not say, the window's is false.
    """
    if model.needs_valid:
        return window.train, window.valid
    said = traits_of(model, ModelTraits).include_valid
    return (window.whole_past if (window.include_valid if said is None else said) else window.train), None


def memory_of_fit(table: SampleTable) -> int:
    """Return the bytes that whatever learns from a table is thought to need."""
    return _COPIES * table.features.nbytes


class WalkForward:
    """The stages of all windows; what they share is made once.

    Args:
        table: Raw features and label; fitting code sees it through as-of views only.
        cache: Where finished windows are kept; None keeps nothing.
        table_key: Digest that identifies `table` in the cache.

    Raises:
        ConfigError: When the model needs a validation segment and the windows have none.
        UnsupportedWeightsError: When the adaptation weights samples and the model cannot use weights.
    """

    def __init__(
        self,
        table: SampleTable,
        windows: tuple[Window, ...],
        recipe: Recipe,
        *,
        cache: Cache | None = None,
        table_key: str = "",
        observer: Observer | None = None,
    ) -> None:
        self.table, self.windows, self.recipe, self.cache = table, windows, recipe, cache
        self.observer = observer or Silent()
        self.fitted = 0
        self._table_key = table_key
        self._weights = tuple(recipe.adaptation.time_weights(window) for window in windows)
        self._learning = tuple(learning_segments(window, recipe.model) for window in windows)
        model, name = recipe.model, type(recipe.model).__name__
        if model.needs_valid and any(window.valid is None for window in windows):
            raise RefusedError(
                f"The model {name} stops early and needs a validation segment.",
                where="windows.valid",
                expected="a first and a last date between train and test, or a positive middle share in windows.split",
            )
        if not model.supports_weights and any(weights is not None for weights in self._weights):
            raise UnsupportedWeightsError(
                f"The model {name} cannot use sample weights, so this adaptation would have no effect on it.",
                where="adaptation",
                expected="adaptation=rolling_retrain, or a model that can use weights",
            )

    def run(self) -> RollingResult:
        scored, countdown = [], Countdown(self.observer, "windows", len(self.windows))
        before = self.fitted
        for at in range(len(self.windows)):
            began, fitted = time.perf_counter(), self.fitted
            scored.append(self.score(at))
            countdown.ended(time.perf_counter() - began if self.fitted > fitted else None)
        fitted = self.fitted - before
        countdown.finish(f"{fitted} fitted, {len(self.windows) - fitted} reused")
        predictions = collect(self.table, self.windows, np.concatenate([one.score for one in scored]))
        return RollingResult(predictions, tuple(one.reads for one in scored), fitted)

    def score(self, at: int) -> Scored:
        return replace(self._get(self.window(at)), fitted=None)

    def window(self, at: int) -> Stage[Scored]:
        key, make = partial(self._window_key, at), partial(self._fit_and_predict, at)
        files = _save_scored, files_of(Scored, mapped=False)[1]
        threads, memory = traits_of(self.recipe.model, ModelTraits).threads, partial(memory_of_fit, self.table)
        return Stage(
            "window", key, make, *files, at=at, priority=10, threads=threads, memory=memory, counts_as="windows"
        )

    @cached_property
    def processed(self) -> Stage[_Processed]:
        """The table which all windows share when processors are fitted once."""
        make, files = partial(self._process, self.table, 0), (self._save_processed, self._load_processed)
        stage = Stage("processed", self._processed_key, make, *files, remembered=True, only_shared=True, priority=30)
        return replace(stage, local=self._refits, memory=lambda: memory_of_fit(self.table), counts_as="windows")

    def _get(self, stage: Stage[Value]) -> Value:
        return stage.make() if self.cache is None else self.cache.get(stage)

    @property
    def _refits(self) -> bool:
        return self.recipe.preprocess.refit == "per_window"

    @cached_property
    def _code(self) -> str:
        return code_digest("harness.run.rolling", *modules_of(self.recipe.model, self.recipe.preprocess))

    def _window_key(self, at: int) -> Key:
        weights, (train, valid) = self._weights[at], self._learning[at]
        arrays = None if weights is None else {"starts": weights.starts, "values": weights.values}
        return key_of(
            "window",
            table=self._table_key,
            code=self._code,
            preprocess=describe(self.recipe.preprocess),
            processors_fitted_on=None if self._refits else _positions(self._learning[0][0]),
            model=describe(self.recipe.model),
            train=_positions(train),
            valid=_positions(valid),
            test=_positions(self.windows[at].test),
            step=self.recipe.step,
            weights=arrays and fingerprint_arrays(arrays),
        )

    def _fit_and_predict(self, at: int) -> Scored:
        window, weights, (train, valid) = self.windows[at], self._weights[at], self._learning[at]
        if self._refits:
            processed = self._process(self.table.restricted(window.train.start, window.test.stop), at)
            blocks = None
        else:
            processed, blocks = self._shared
        table = processed.table
        view, valid_view = table.as_of(window.decision), table.as_of(window.decision)
        tested = table.features[table.index.rows(window.test.start, window.test.stop)]
        stop_on = None if valid is None else LearnSet(valid_view, valid, weights)
        try:
            with thread_limit(traits_of(self.recipe.model, ModelTraits).threads):
                fitted = self.recipe.model.fit(LearnSet(view, train, weights, blocks), stop_on)
                check_object(fitted, FittedModel, "model.fit")
                where = f"{type(fitted).__module__}.{type(fitted).__qualname__}.predict, window {window.index}"
                score = _scores(fitted.predict(tested), len(tested), where)
        except Exception as error:  # somebody's own model may raise anything; it goes on as it is
            error.add_note(f"in window {window.index}, while the model was fitted or predicted")
            raise
        self.fitted += 1
        reads = WindowReads(window.index, window.decision, processed.reads, view.reads, valid_view.reads)
        return Scored(score, reads, fitted)

    def _process(self, table: SampleTable, at: int) -> _Processed:
        view = self.table.as_of(self.windows[at].decision)
        fitted = self.recipe.preprocess.fit(view, self._learning[at][0])
        return _Processed(apply(table, fitted), view.reads)

    @cached_property
    def _shared(self) -> tuple[_Processed, GramBlocks]:
        processed = self._get(self.processed)
        return processed, self._get(self._gram(processed.table))

    def _processed_key(self) -> Key:
        return key_of(
            "processed",
            table=self._table_key,
            code=code_digest("harness.samples.preprocess", *modules_of(self.recipe.preprocess)),
            preprocess=describe(self.recipe.preprocess),
            fitted_on=_positions(self._learning[0][0]),
            decision=self.windows[0].decision,
        )

    def _save_processed(self, made: _Processed, folder: Path) -> None:
        """Write it; features that no processor touches stay those of the raw table."""
        table, raw = made.table, self.table.features
        save(folder, _Columns(None if table.features is raw else table.features, table.feature_names, table.label))
        save(folder, made.reads, "reads")

    def _load_processed(self, folder: Path) -> _Processed:
        found = load(folder, _Columns)
        features = self.table.features if found.features is None else found.features
        table = self.table.with_columns(features, found.names, found.label)
        return _Processed(table, load(folder, Reads, "reads"))

    def _gram(self, table: SampleTable) -> Stage[GramBlocks]:
        """Return the stage of the shared sums, cut where the windows' learning periods end: none has a ragged end.

        Where processes share, the sums that any window needs are taken once, when the first asks for one.
        """
        origin, step = self._learning[-1][0].stop, self.recipe.step
        parts = (table.features, table.label, table.index.offsets)

        is_shared = self.cache is not None and self.cache.shared

        def kept() -> Mapping[Period, Doubles]:
            taken: Doubles = self._get(sums)
            return dict(zip(periods(), taken, strict=True))

        @once
        def periods() -> list[Period]:
            found: set[Period] = set()
            for (train, _), weights in zip(self._learning, self._weights, strict=True):
                per_time = None if weights is None else weights.at(train.start, train.stop)
                found |= set(plain.periods(train.start, train.stop, per_time))
            return sorted(found)

        def key() -> Key:
            processed = self.processed.key.digest
            if not is_shared:  # in memory alone, experiments of other weights share them
                return Key("gram", f"{processed} {step} {origin}", "")
            return key_of("gram", processed=processed, code=self._code, periods=[list(p) for p in periods()])

        blocks = partial(GramBlocks, *parts, step=step, origin=origin, observer=self.observer)
        plain = blocks()
        sums: Stage[Doubles] = Stage("gram", key, lambda: plain.sums(periods()), *files_of(np.ndarray))
        return Stage("gram", lambda: sums.key, lambda: blocks(kept=kept if is_shared else None), remembered=True)


def roll(
    table: SampleTable,
    windows: tuple[Window, ...],
    recipe: Recipe,
    *,
    cache: Cache | None = None,
    table_key: str = "",
    observer: Observer | None = None,
) -> RollingResult:
    """Fit and predict every window in time order; parameters and errors of `WalkForward`."""
    return WalkForward(table, windows, recipe, cache=cache, table_key=table_key, observer=observer).run()


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


def _save_scored(scored: Scored, folder: Path) -> None:
    save(folder, replace(scored, fitted=None))
    assert scored.fitted is not None
    (folder / "model").mkdir()
    scored.fitted.save(folder / "model")


def _positions(segment: Segment | None) -> list[int] | None:
    return None if segment is None else [segment.start, segment.stop]


def _scores(predicted: object, rows: int, where: str) -> Floats:
    """Return (n,) float32 what a model predicts; refuse another shape, no number, infinite in float32; NaN may be."""
    expected = f"({rows},) finite numbers, NaN for no forecast"
    given = np.asarray(predicted)
    try:
        real = np.asarray(given, dtype=np.float64) if given.dtype.kind in "biufO" else None
    except (TypeError, ValueError):
        real = None
    if real is None or real.shape != (rows,):
        what = "None" if predicted is None else f"{given.dtype} {given.shape}"
        raise DataError(
            "The model predicts something else than a number per row.", where=where, got=what, expected=expected
        )
    with np.errstate(over="ignore"):
        scores = np.ascontiguousarray(real, dtype=np.float32)
    infinite = np.isinf(scores)
    if infinite.any():
        what = f"{int(infinite.sum())} of {rows}, the first at row {int(infinite.argmax())}"
        raise DataError("The model predicts infinite values.", where=where, got=what, expected=expected)
    return scores
