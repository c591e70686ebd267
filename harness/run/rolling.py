"""Walk-forward: process, weight, fit and predict every window in time order, each on what is known at its decision."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.config.instantiate import check_object
from harness.errors import RefusedError
from harness.errors.limits import traits_of
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Countdown, Observer, Silent
from harness.execution.threads import thread_limit
from harness.run import chain
from harness.run.chain import MODEL, Fit, Past, Scored, WindowReads, check_plan, no_weights
from harness.run.forecasts import collect, forecasts, quantile_forecasts
from harness.run.schedule import learning_segments
from harness.run.shared_sums import SharedSums
from harness.run.stages import Cache, Stage, files_of
from harness.samples import interfaces
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import (
    AdaptationTraits,
    ContinuingModel,
    FittedAdaptation,
    FittedModel,
    LearnSet,
    Model,
    ModelTraits,
    Preprocess,
    SampleWeights,
    TimeWeights,
    WindowPlanner,
)
from harness.samples.per_instrument import PerInstrument
from harness.samples.plan import Known, WindowPlan
from harness.samples.preprocess import Pipeline, apply, is_large
from harness.samples.table import AsOfView, Reads, SampleTable
from harness.samples.transform import transformed
from harness.samples.windows import Segment, Window
from harness.store.artifacts import Key, key_of
from harness.store.code_digest import code_digest
from harness.store.codec import load, save
from harness.store.fingerprint import fingerprint_arrays
from harness.store.records import describe, modules_of

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Recipe:
    """What is done in every window; `step`: times per test segment, also the length of the shared Gram blocks."""

    preprocess: Preprocess
    adaptation: FittedAdaptation | WindowPlanner
    model: Model
    step: int


@dataclass(frozen=True, eq=False)
class RollingResult:
    """Predictions of all windows, what was read to make them, how many were `fitted`, and each in how many seconds."""

    predictions: Predictions
    reads: tuple[WindowReads, ...]
    fitted: int
    seconds: tuple[float, ...] = field(default=(), compare=False)


Processed = tuple[SampleTable, Reads]
"""A table, and what its processors read."""


@dataclass(frozen=True, eq=False)
class _Columns:
    features: Floats | None
    names: tuple[str, ...]
    label: Floats


@dataclass(eq=False)
class WalkForward:
    """Fits and predicts every window in time order; what windows share is made once.

    Attributes:
        table: Raw features and label; fitting code sees it through as-of views only.
        cache: Where finished windows are kept; None keeps nothing.
        table_key: Digest that identifies `table` in the cache.
        planner_key: Digest that identifies an adaptation that does more than weight.
        shown: Returns what identifies the table before a position, so that a window does not hang on what comes after
            it; by default `table_key` identifies all of it.
        predict: Forecasts a window's test segment by a fitted model.
        fitted: Windows that were fitted here so far.

    Raises:
        ConfigError: When the model needs a validation segment and the windows have none.
        UnsupportedWeightsError: When the adaptation weights samples and the model cannot use weights.
    """

    table: SampleTable
    windows: tuple[Window, ...]
    recipe: Recipe
    cache: Cache | None = None
    table_key: str = ""
    observer: Observer = field(default_factory=Silent)
    planner_key: str = ""
    shown: Callable[[int], str] | None = None
    predict: Callable[[FittedModel, WindowPlan, SampleTable, Window], Floats] = forecasts
    fitted: int = field(default=0, init=False)
    _newest: tuple[int, interfaces.FittedPreprocess, Reads] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        model, adaptation = self.recipe.model, self.recipe.adaptation
        if isinstance(adaptation, WindowPlanner):
            self._weights: tuple[TimeWeights | None, ...] = (None,) * len(self.windows)
            self.chained = traits_of(adaptation, AdaptationTraits, "adaptation").chained
        else:
            self._weights = tuple(adaptation.time_weights(window) for window in self.windows)
            self.chained = False
        if traits_of(model, ModelTraits).per_instrument:
            self.recipe = replace(self.recipe, model=PerInstrument(model))
        self._past = Past(self.table, self.windows)
        self._keys: list[Key] = []
        self._learning = tuple(learning_segments(window, model) for window in self.windows)
        if model.needs_valid and any(window.valid is None for window in self.windows):
            what = f"The model {type(model).__name__} stops early and needs a validation segment."
            expected = "a first and a last date between train and test, or a positive middle share in windows.split"
            raise RefusedError(what, where="windows.valid", expected=expected)
        if not model.supports_weights and any(weights is not None for weights in self._weights):
            raise no_weights(model)

    def run(self) -> RollingResult:
        scored, countdown = [], Countdown(self.observer, "windows", len(self.windows))
        before, seconds = self.fitted, list[float]()
        for at in range(len(self.windows)):
            began, fitted = time.perf_counter(), self.fitted
            scored.append(self.score(at))
            took = time.perf_counter() - began
            countdown.ended(took if self.fitted > fitted else None)
            seconds += [took] * (self.fitted > fitted)
        fitted = self.fitted - before
        countdown.finish(f"{fitted} fitted, {len(self.windows) - fitted} reused")
        predictions = collect(self.table, self.windows, scored, self._levels)
        return RollingResult(predictions, tuple(one.reads for one in scored), fitted, tuple(seconds))

    def score(self, at: int) -> Scored:
        scored = self._get(self.window(at))
        if self.chained:
            self._past.append(at, scored)
        return replace(scored, fitted=None)

    def window(self, at: int) -> Stage[Scored]:
        key, make = partial(self._window_key, at), partial(self._fit_and_predict, at)
        files = partial(chain.save_scored, at), files_of(Scored, mapped=False)[1]
        return Stage("window", key, make, *files, at=at)

    @cached_property
    def processed(self) -> Stage[Processed]:
        """The table which all windows share when processors are fitted once."""
        make, files = partial(self._process, self.table, 0), (self._save_processed, self._load_processed)
        if self._streams:
            return Stage("processed", self._processed_key, make, remembered=True, local=True)
        stage = Stage("processed", self._processed_key, make, *files, remembered=True, only_shared=True)
        return replace(stage, local=self._refits)

    def _get(self, stage: Stage[Value]) -> Value:
        return stage.make() if self.cache is None else self.cache.get(stage)

    @property
    def _refits(self) -> bool:
        return self.recipe.preprocess.refit == "per_window"

    @property
    def _streams(self) -> bool:
        """Whether rows are processed when they are read, by processors that are kept: every process does so itself.

        So it is with many rows, and where they are read once, for sums, and some again to be forecast: holding them
        would cost more, mostly for memory that is new to the process.
        """
        planned = self._refits or isinstance(self.recipe.adaptation, WindowPlanner)
        once = self.cache is not None and self.cache.lone and not planned
        once = once and traits_of(self.recipe.model, ModelTraits).by_sums
        return type(self.recipe.preprocess) is Pipeline and (once or is_large(self.table.features))

    @property
    def _levels(self) -> tuple[float, ...]:
        return traits_of(self.recipe.model, ModelTraits).quantile_levels

    @property
    def _restores(self) -> bool:
        return traits_of(self.recipe.preprocess, interfaces.PreprocessTraits).restores_label

    @cached_property
    def _code(self) -> str:
        return code_digest("harness.run.rolling", *modules_of(self.recipe.model, self.recipe.preprocess))

    def _window_key(self, at: int) -> Key:
        while len(self._keys) <= at:  # a window of a chain is identified by all before it, one after the other
            self._keys.append(self._key_of(len(self._keys)))
        return self._keys[at]

    def _key_of(self, at: int) -> Key:
        test = self.windows[at].test
        seen = {"table": self._shown(test.stop), **self._columns(test.stop)}
        return key_of("window", **seen, test=_positions(test), **self._parts_of_fit(at))

    def _shown(self, stop: int) -> str:
        return self.table_key if self.shown is None else self.shown(stop)

    def _columns(self, stop: int) -> dict[str, object]:
        """Return the column of each instrument that has rows before a position, where something is kept by columns.

        A listing moves columns: models and scales of each instrument would be found for another one.
        """
        if not isinstance(self.recipe.model, PerInstrument) and not self._by_series:
            return {}
        columns = np.unique(self.table.index.codes[: int(self.table.index.offsets[stop])]).tolist()
        return {"columns": [(column, self.table.instruments[column]) for column in columns]}

    @property
    def _by_series(self) -> bool:
        preprocess = self.recipe.preprocess
        chain = (*preprocess.features, *preprocess.label) if isinstance(preprocess, Pipeline) else ()
        return any(processor.by_series for processor in chain)

    @cached_property
    def _recipe_parts(self) -> dict[str, object]:
        described = {"preprocess": describe(self.recipe.preprocess), "model": describe(self.recipe.model)}
        return {"code": self._code, "step": self.recipe.step, **described}

    def _parts_of_fit(self, at: int) -> dict[str, object]:
        weights, (train, valid) = self._weights[at], self._learning[at]
        arrays = None if weights is None else {"starts": weights.starts, "values": weights.values}
        before = {"before": self._keys[at - 1].digest} if self.chained and at > 0 else {}
        return {
            **self._recipe_parts,
            "processors_fitted_on": None if self._refits else _positions(self._learning[0][0]),
            "train": _positions(train),
            "valid": _positions(valid),
            "weights": arrays and fingerprint_arrays(arrays),
            **({"planner": self.planner_key, **before} if self.planner_key else {}),
        }

    def _fit_key(self, at: int) -> Key:
        self._window_key(at)  # of a chain: those before
        decision = self.windows[at].decision
        seen = {"table": self._shown(decision + 1), **self._columns(decision + 1)}
        return key_of("fit", **seen, decision=decision, **self._parts_of_fit(at))

    def _fit_and_predict(self, at: int) -> Scored:
        window = self.windows[at]
        if at > self._newest_window:
            return chain.nothing_scored(at, window, self._learning[at][0], self._levels)
        if not isinstance(self.recipe.adaptation, WindowPlanner) and (kept := self._kept_fit(at)) is not None:
            return self._predict_more(at, kept)
        if self.chained:
            for earlier in range(self._past.finished, at):
                self.score(earlier)
        if self._refits:
            start = min(window.train.start, self.windows[0].test.start if self.chained else window.train.start)
            (table, processors_read), blocks = self._process(self.table.restricted(start, window.test.stop), at), None
        else:
            (table, processors_read), blocks = self._shared
        try:
            plan, plan_read = self._planned(at, table)
            with thread_limit(traits_of(self.recipe.model, ModelTraits).threads):
                fitted, learned, reads = self._fit_once(at, plan, table, blocks)
                score, quantiles = self._forecast(at, fitted, plan, table)
        except Exception as error:  # somebody's own model may raise anything; it goes on as it is
            error.add_note(f"in window {window.index}, while the model was fitted or predicted")
            raise
        reads = replace(reads, preprocess=processors_read, plan=plan_read)
        if plan.fitted is not None:  # what it was made from goes with it, as long as it is kept
            reads = replace(reads, model=plan_read)
        return Scored(score, reads, learned, plan.state, fitted, quantiles)

    def _planned(self, at: int, table: SampleTable) -> tuple[WindowPlan, Reads]:
        """Return the window's plan, and what was read to make it."""
        planner, window, (train, valid) = self.recipe.adaptation, self.windows[at], self._learning[at]
        if not isinstance(planner, WindowPlanner):
            return WindowPlan(self._weights[at]), Reads()
        raw, view = self.table.as_of(window.decision), table.as_of(window.decision)
        before = self._model_before(at) if self.chained else None
        processors = self._processors(at if self._refits else 0)[0] if self._restores else None
        feedback = self._past.feedback(at if self.chained else 0, view, before, processors)
        known = Known(raw, view, self.recipe.model, feedback)
        with thread_limit(1):
            plan = planner.plan(replace(window, train=train, valid=valid), known)
        check_plan(plan, self.recipe.model, train, first=at == 0, chained=self.chained)
        return plan, raw.reads | view.reads

    def _fit_once(self, at: int, plan: WindowPlan, table: SampleTable, blocks: GramBlocks | None) -> Fit:
        """Return what `_fit` does; a window whose test segment may still grow keeps it, and fits no second time."""
        keeps = self.cache is not None and plan.refit and plan.fitted is None
        found = self._kept_fit(at) if keeps else None
        if found is None:
            found = made = self._fit(at, plan, table, blocks)
            if keeps and self._is_open(at):
                # What was just fitted predicts, not what is read back of it: the other windows are made so, too.
                self._get(Stage("fit", partial(self._fit_key, at), lambda: made, chain.save_fit, lambda _: made))
        return found

    def _kept_fit(self, at: int) -> Fit | None:
        """Return what was fitted when the window had fewer test times, if it was kept."""
        found = None if self.cache is None else self.cache.store.find(self._fit_key(at))
        return None if found is None else self._load_fit(found)

    def _predict_more(self, at: int, kept: Fit) -> Scored:
        """Predict a window that has grown by what was fitted before; no row but those of its test segment is read."""
        test, (fitted, learned, reads) = self.windows[at].test, kept
        (table, processors_read) = self._process(
            self.table.restricted(test.start, test.stop), at if self._refits else 0
        )
        with thread_limit(traits_of(self.recipe.model, ModelTraits).threads):
            score, quantiles = self._forecast(at, fitted, WindowPlan(self._weights[at]), table)
        return Scored(score, replace(reads, preprocess=processors_read), learned, {}, fitted, quantiles)

    def _forecast(
        self, at: int, fitted: FittedModel, plan: WindowPlan, table: SampleTable
    ) -> tuple[Floats, Floats | None]:
        """Return the forecasts and quantiles of a window, in the raw label's unit where processors bring them back."""
        window = self.windows[at]
        score = self.predict(fitted, plan, table, window)
        quantiles = quantile_forecasts(fitted, plan, table, window, self._levels) if self._levels else None
        if self._restores:
            codes = table.index.codes[table.index.rows(window.test.start, window.test.stop)]
            restore = self._processors(at if self._refits else 0)[0].restore  # type: ignore[attr-defined]
            score = restore(score, codes)
            if quantiles is not None:
                quantiles = np.stack([restore(column, codes) for column in quantiles.T], axis=1)
        return score, quantiles

    @cached_property
    def _newest_window(self) -> int:
        """The last window with a row to predict: the calendar may go on where the data end."""
        offsets, last = self.table.index.offsets, len(self.windows) - 1
        tests = [(at, window.test) for at, window in enumerate(self.windows)]
        return max((at for at, test in tests if offsets[test.stop] > offsets[test.start]), default=last)

    def _is_open(self, at: int) -> bool:
        """Whether a window's test segment may still grow, or get rows at its end."""
        test, offsets = self.windows[at].test, self.table.index.offsets
        grows = at == len(self.windows) - 1 and len(test) < self.recipe.step
        return at == self._newest_window and (grows or offsets[test.stop] == offsets[test.stop - 1])

    @property
    def kept_keys(self) -> list[Key]:
        """The keys of what is kept for windows and days that come later: processors, and the fit of an open window."""
        at = self._newest_window
        return [self._processors_key(at if self._refits else 0), *([self._fit_key(at)] if self._is_open(at) else [])]

    def _load_fit(self, folder: Path) -> Fit:
        learned, reads = load(folder, tuple[Segment, WindowReads])
        return self.recipe.model.load(folder / MODEL), learned, reads

    def _fit(self, at: int, plan: WindowPlan, table: SampleTable, blocks: GramBlocks | None) -> Fit:
        """Return the fitted model, what it was fitted on last, and what was read in all."""
        self.fitted += 1
        model, window, (train, valid) = self.recipe.model, self.windows[at], self._learning[at]
        nothing = WindowReads(window.index, window.decision, Reads(), Reads(), Reads(), fitted_in=at)
        before = self._past.last.reads if at > 0 and self.chained else nothing
        if not plan.refit:
            kept = self._model_before(at)
            assert kept is not None
            reads = replace(nothing, model=before.model, early_stopping=before.early_stopping)
            return kept, self._past.last.learned, replace(reads, fitted_in=before.fitted_in)
        if plan.fitted is not None:
            check_object(plan.fitted, FittedModel, "adaptation.plan")
            return plan.fitted, train, nothing
        train = plan.learn or train
        view, valid_view = table.as_of(window.decision), table.as_of(window.decision)
        stop_on = None if valid is None else self._learn_set(valid_view, valid, plan, None)
        sets = self._learn_set(view, train, plan, blocks), stop_on
        if plan.start_from is None:
            fitted, before = model.fit(*sets), nothing
        else:
            assert isinstance(model, ContinuingModel)
            fitted = model.fit_from(self._model_before(at), *sets)
        check_object(fitted, FittedModel, "model.fit")
        read = view.reads | before.model, valid_view.reads | before.early_stopping
        return fitted, train, replace(nothing, model=read[0], early_stopping=read[1])

    def _learn_set(self, view: AsOfView, segment: Segment, plan: WindowPlan, blocks: GramBlocks | None) -> LearnSet:
        per_time, per_row = None, None
        if isinstance(plan.weights, SampleWeights):
            per_row = plan.weights.of_segment(self.table.index.offsets, segment)
        else:
            per_time = plan.weights
        if plan.transform is not None:
            view, blocks = transformed(view, segment, plan.transform), None
        return LearnSet(view, segment, per_time, blocks, per_row)

    def _model_before(self, at: int) -> FittedModel | None:
        """Return the model of the window before, from the store where there is one: it is saved as it goes on."""
        if at == 0:
            return None
        made_in = self._past.last.reads.fitted_in
        if self.cache is not None and self._past.model_of != made_in:
            stage: Stage[Any] = self.window(made_in)
            stage = replace(stage, load=lambda folder: self.recipe.model.load(folder / MODEL))
            self._past.model, self._past.model_of = self._get(stage), made_in
        return self._past.model

    def learning_of(self, at: int) -> tuple[Segment, Segment | None]:
        """Return the segments that a window's model trains on and stops early on."""
        return self._learning[at]

    def table_of(self, at: int) -> SampleTable:
        """Return the processed table from which a window's model learns and predicts."""
        window = self.windows[at]
        seen = self.table.restricted(window.train.start, window.test.stop)
        return (self._process(seen, at) if self._refits else self._get(self.processed))[0]

    def _process(self, table: SampleTable, at: int) -> Processed:
        fitted, reads = self._processors(at)
        return apply(table, fitted, when_read=self._streams), reads

    def _processors(self, at: int) -> tuple[interfaces.FittedPreprocess, Reads]:
        """Return the processors as of a window, fitted once while no other window asks."""
        if self._newest is None or self._newest[0] != at:
            keeps = self.cache is not None and type(self.recipe.preprocess) is Pipeline
            keeps = keeps and (not self._refits or self._is_open(at) or self._holds(self._processors_key(at)))
            stage = self._processors_stage(at)
            self._newest = (at, *(self._get(stage) if keeps else stage.make()))
        return self._newest[1:]

    def _holds(self, key: Key) -> bool:
        return self.cache is not None and self.cache.store.holds(key)

    def _processors_stage(self, at: int) -> Stage[tuple[interfaces.FittedPreprocess, Reads]]:
        """Return the stage of the processors as of a window: kept where they serve later windows or days, too."""

        def make() -> tuple[interfaces.FittedPreprocess, Reads]:
            view = self.table.as_of(self.windows[at].decision)
            return self.recipe.preprocess.fit(view, self._learning[at][0]), view.reads

        def save_both(made: tuple[Any, Reads], folder: Path) -> None:
            made[0].save(folder)
            save(folder, made[1], "reads")

        def load_both(folder: Path) -> tuple[interfaces.FittedPreprocess, Reads]:
            preprocess: Any = self.recipe.preprocess
            return preprocess.load(folder), load(folder, Reads, "reads")

        return Stage("processors", partial(self._processors_key, at), make, save_both, load_both)

    def _processors_key(self, at: int) -> Key:
        stop = self.windows[at].decision + 1
        return key_of("processors", table=self._shown(stop), **self._columns(stop), **self._parts_of_processors(at))

    def _parts_of_processors(self, at: int) -> dict[str, object]:
        preprocess, fitted_on = self.recipe.preprocess, _positions(self._learning[at][0])
        code = code_digest("harness.samples.preprocess", *modules_of(preprocess))
        about = {"code": code, "preprocess": describe(preprocess)}
        return {**about, "fitted_on": fitted_on, "decision": self.windows[at].decision}

    @cached_property
    def _shared(self) -> tuple[Processed, GramBlocks]:
        processed = self._get(self.processed)
        return processed, self._get(self._sums.blocks(processed[0]))

    def _processed_key(self) -> Key:
        return key_of("processed", table=self.table_key, **self._parts_of_processors(0))

    def _save_processed(self, made: Processed, folder: Path) -> None:
        """Write it; features that no processor touches stay those of the raw table."""
        table, reads = made
        features = None if table.features is self.table.features else np.asarray(table.features)
        save(folder, _Columns(features, table.feature_names, table.label))
        save(folder, reads, "reads")

    def _load_processed(self, folder: Path) -> Processed:
        found = load(folder, _Columns)
        features = self.table.features if found.features is None else found.features
        return self.table.with_columns(features, found.names, found.label), load(folder, Reads, "reads")

    @cached_property
    def _sums(self) -> SharedSums:
        learned = [(train, weights) for (train, _), weights in zip(self._learning, self._weights, strict=True)]
        about = self.recipe.step, self.processed, self.cache, self._code, self.observer
        return SharedSums(self.table, learned, *about)

    @property
    def sums(self) -> list[Stage[Doubles]]:
        """The sums that all windows share, by times; none where each window sums its own rows, or asks for no sums."""
        asked = traits_of(self.recipe.model, ModelTraits).by_sums and not self._refits
        return self._sums.stages if asked else []


def _positions(segment: Segment | None) -> list[int] | None:
    return None if segment is None else [segment.start, segment.stop]
