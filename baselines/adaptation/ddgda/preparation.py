"""From history to proxy data and similarity, as of each feature choice.

Similarity says how well a proxy model of each past block forecasts every other time: how it ranks the instruments, or
how near it comes to their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.closeness import closeness, known_labels, linear_closeness
from baselines.adaptation.ddgda.meta_task import Flags
from baselines.adaptation.ddgda.proxy import (
    Choice,
    GbdtParameters,
    ProxySettings,
    SimilarityMetric,
    choose_features,
    known_rows,
    standardised,
)
from baselines.adaptation.ddgda.rank_correlation import Offsets, linear_rank_ic, rank_ic, rank_labels
from harness.errors import ConfigError, LookAheadError
from harness.execution.progress import Observer
from harness.execution.threads import one_blas_thread
from harness.samples.chunks import Rows
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import Doubles, Floats, History, Stored, Subtask
from harness.samples.preprocess import Pipeline, apply
from harness.samples.table import AsOfView, FitRecord, RowIndex, SampleTable
from harness.samples.windows import Segment
from harness.samples.windows import blocks as split_blocks
from harness.store import codec
from harness.store.compiled import kernel_threads
from harness.store.records import describe

# What similarity is measured on, and the processors that made it.
Compared = tuple[SampleTable, tuple[FitRecord, ...]]
_YEAR = np.timedelta64(365, "D")
_STAGE = "similarity"


@dataclass(frozen=True, eq=False)
class KnownSimilarity:
    """The part of a similarity matrix that is known at one decision; its first row is calendar position `start`.

    Attributes:
        step: Times per block; block k covers [start + k·step, start + (k + 1)·step).
        look_ahead: A label at s is known at s + look_ahead.
        values: (rows, K) float64 rank IC or closeness; NaN where a time has no row, and of the rank IC also where a
            proxy's predictions or the labels are constant.
    """

    start: int
    step: int
    look_ahead: int
    values: Doubles

    def until(self, stop: int) -> KnownSimilarity:
        """Return the rows before `stop` and the columns of blocks that end by then; `LookAheadError` if unknown."""
        rows = stop - self.start
        if rows > self.values.shape[0]:
            text, newest = "This similarity is not known at the decision time.", self.start + self.values.shape[0] - 1
            got, expected = (f"rows up to position {last}" for last in (stop - 1, newest))
            raise LookAheadError(text, got=got, expected=expected)
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values[:rows, : rows // self.step])

    @property
    def block_starts(self) -> npt.NDArray[np.int64]:
        """(K,) int64 first position of every block."""
        return self.start + self.step * np.arange(self.values.shape[1], dtype=np.int64)

    @property
    def overlap(self) -> npt.NDArray[np.bool_]:
        """(rows, K), whether the label at a time shares times with the labels that the block's proxy learned."""
        time = np.arange(self.values.shape[0])[:, None]
        first = (self.block_starts - self.start)[None, :]
        return (time >= first) & (time < first + self.step + self.look_ahead - 1)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The whole similarity matrix, reached through `as_of` alone, like a sample table; fields as in `KnownSimilarity`.

    A cell depends on the rows of its time and of its block only, so that cutting it is the same as not having known.
    """

    start: int
    step: int
    look_ahead: int
    values: Doubles

    def as_of(self, decision: int) -> KnownSimilarity:
        """Return the rows and columns whose labels are all known at the close of `decision`."""
        stop = min(decision - self.look_ahead + 1, self.start + self.values.shape[0])
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values).until(max(stop, self.start))

    @property
    def undefined(self) -> int:
        return int(np.isnan(self.values).sum())


class _Measure(NamedTuple):
    """What is made of the labels, and then of K linear forecasts of them, or of one, at every time."""

    labels: Callable[[Floats, Offsets], Any]
    linear: Callable[[Rows, Doubles, Any], Doubles]
    one: Callable[[Floats, Any], Doubles]


_MEASURES: Mapping[SimilarityMetric, _Measure] = MappingProxyType(
    {
        "rank_ic": _Measure(rank_labels, linear_rank_ic, rank_ic),
        "error": _Measure(known_labels, linear_closeness, closeness),
    }
)


def linear_similarity(
    view: AsOfView, start: int, blocks: GramBlocks, *, step: int, alpha: float, metric: SimilarityMetric = "rank_ic"
) -> Similarity:
    """Return the similarity by one ridge proxy per block of `step` times from `start`, fitted from shared Gram blocks.

    Every row of [start, label_stop) of `view` is scored; `blocks` are of the same rows, with a border at `start`. There
    is no intercept, as features and label are centred, at every time or in every series. A block without a row, as
    where data have gaps, is like nothing: its similarities are NaN.
    """
    stop = view.label_stop
    known = view.labelled(start, stop)
    sums = [blocks.weighted(b.start, b.stop, None) for b in whole_blocks(start, stop, step)]
    filled = np.array([block.weight_sum > 0 for block in sums])
    proxies = np.zeros((len(sums), len(view.feature_names)))
    with one_blas_thread():
        for k in np.flatnonzero(filled):
            proxies[k] = sums[k].ridge(alpha).theta
    measure = _MEASURES[metric]
    labels = measure.labels(known.label(start, stop), known.offsets(start, stop))
    values = measure.linear(known.rows(start, stop), proxies, labels)
    values[:, ~filled] = np.nan
    return Similarity(start, step, view.look_ahead, values)


class BlockProxies:
    """One LightGBM proxy per block of `step` times from `start`, scored at every known time of the processed rows."""

    def __init__(
        self,
        view: AsOfView,
        start: int,
        step: int,
        parameters: GbdtParameters,
        seed: int,
        metric: SimilarityMetric = "rank_ic",
    ) -> None:
        stop = view.label_stop
        known = view.labelled(start, stop)
        self.blocks = whole_blocks(start, stop, step)
        self.times = stop - start
        self._features, self._label = known.features(start, stop), known.label(start, stop)
        self._measure, self._offsets = _MEASURES[metric], known.offsets(start, stop)
        self._labels = self._measure.labels(self._label, self._offsets)
        self._parameters, self._seed = parameters, seed

    def predict(self, k: int) -> Floats:
        """Fit the proxy of block `k` and return its predictions of all rows, NaN if it has no row; one thread."""
        first, block = self.blocks[0].start, self.blocks[k]
        rows = slice(*(int(self._offsets[at - first]) for at in (block.start, block.stop)))
        if rows.start == rows.stop:
            return np.full(len(self._label), np.nan, dtype=np.float32)
        booster = self._parameters.grow(self._features[rows], self._label[rows], seed=self._seed, threads=1)
        return np.asarray(booster.predict(self._features, num_threads=1), dtype=np.float32)

    def column(self, k: int, prediction: Floats | None = None) -> Doubles:
        """Return the similarity of every known time to block `k`, (times,), by the given predictions of its proxy."""
        return self._measure.one(self.predict(k) if prediction is None else prediction, self._labels)


def gbdt_similarity(
    view: AsOfView,
    start: int,
    step: int,
    parameters: GbdtParameters,
    *,
    seed: int,
    observer: Observer,
    metric: SimilarityMetric = "rank_ic",
) -> Similarity:
    """Return the similarity by one LightGBM proxy per block, scored as `linear_similarity` scores ridge proxies.

    Blocks are fitted and scored side by side, one thread each, as many at a time as Numba has threads; the result does
    not depend on how many.
    """
    proxies = BlockProxies(view, start, step, parameters, seed, metric)
    count = len(proxies.blocks)
    values = np.empty((proxies.times, count))
    observer.start(_STAGE, count)
    with ThreadPoolExecutor(kernel_threads()) as pool:
        for k, prediction in enumerate(pool.map(proxies.predict, range(count))):
            values[:, k] = proxies.column(k, prediction)
            observer.advance(_STAGE)
    observer.finish(_STAGE)
    return Similarity(start, step, view.look_ahead, values)


def whole_blocks(start: int, stop: int, step: int) -> tuple[Segment, ...]:
    """Return the blocks of `step` times from `start` that end by `stop`; a `ConfigError` when there is none."""
    whole = start + (stop - start) // step * step
    if whole <= start:
        text, got = "The history is shorter than one block.", f"{max(stop - start, 0)} periods with a known label"
        raise ConfigError(text, where="windows.step", got=got, expected=f"at least {step}")
    return split_blocks(start, whole, step)


@dataclass(frozen=True, eq=False)
class Regime:
    """What one feature choice gives; `learned` are it and the processors, with what their views recorded."""

    choice: Choice
    similarity: Similarity
    learned: tuple[FitRecord, ...] = ()


@dataclass(frozen=True, eq=False)
class ProxyData:
    """A regime, its rows of the chosen features, labels not yet known NaN, and their blocks."""

    regime: Regime
    table: SampleTable
    blocks: GramBlocks


@dataclass(frozen=True, eq=False)
class Preparation:
    """How one refresh of the feature choice becomes proxy data.

    Each row depends on its own time and on what was fitted, so it may be newer than the decision.

    Attributes:
        at: The choice serves decisions from this position on.
        decision, period: Features are chosen and processors fitted on `period`, through views as of `decision`. Block 0
            begins with `period`.
        last: The newest position whose rows are needed.
        history: Its cache holds what experiments that differ in other settings share, and the parts of a LightGBM
            similarity that any process can make.
    """

    at: int
    decision: int
    period: Segment
    last: int
    setting: ProxySettings
    flags: Flags
    history: History

    def stashed(self) -> ProxyData:
        """Return the proxy data; choice and similarity are stashed, the table follows from them in a second."""

        def save(data: ProxyData, folder: Path) -> None:
            codec.save(folder, data.regime)

        def load(folder: Path) -> ProxyData:
            regime = codec.load(folder, Regime, mapped=False)
            table, blocks, _ = self._proxy_table(regime.choice)
            return ProxyData(regime, table, blocks)

        data = self.history.cached("proxy", self._parts, Stored(self.made, save, load))
        learned = tuple(replace(record, decision=self.at) for record in data.regime.learned)
        choice = replace(data.regime.choice, decision=self.at)
        return replace(data, regime=replace(data.regime, choice=choice, learned=learned))

    def made(self) -> ProxyData:
        choice, chosen = self._chosen()
        if choice.used < len(choice.names):
            used = f"DDG-DA: the feature choice used only {choice.used} of {len(choice.names)} features"
            self.history.observer.notice(f"{used}; the others fill up the number in the table's order")
        table, blocks, fitted = self._proxy_table(choice)
        if self.setting.sim_task_model == "gbdt" and self.history.shared:
            columns = [self.column(k) for k in range(len(self.columns))]
            values, compared = np.stack(columns, axis=1), self.rows[1]
            similarity = Similarity(self.period.start, self.history.step, table.look_ahead, values)
        else:
            similarity, compared = self._similarity(table, blocks)
        return ProxyData(Regime(choice, similarity, (chosen, fitted, *compared)), table, blocks)

    @property
    def subtasks(self) -> tuple[Subtask, tuple[Subtask, ...]]:
        """What workers can make before `made`: the rows on which similarity is measured, then every block's column."""
        parts = self._similarity_parts
        columns = (Subtask({**parts, "block": k}, partial(self.column, k)) for k in range(len(self.columns)))
        return Subtask({**parts, "block": None}, lambda: self.rows), tuple(columns)

    @property
    def columns(self) -> tuple[Segment, ...]:
        """The blocks, one column of the similarity each."""
        return whole_blocks(self.period.start, self.history.as_of(self.last).label_stop, self.history.step)

    @cached_property
    def rows(self) -> Compared:
        """The rows on which similarity is measured, memory-mapped where the cache has them."""

        def make() -> Compared:
            if self.setting.sim_preprocess is not None:
                return self._all_features(self.setting.sim_preprocess)
            return self._proxy_table(self._chosen()[0])[0], ()

        view = self.history.as_of(self.last)

        def save(rows: Compared, folder: Path) -> None:
            table, learned = rows
            codec.save(folder, (table.index, np.asarray(table.features), table.feature_names, table.label, learned))

        def load(folder: Path) -> Compared:
            index, features, names, label, learned = codec.load(
                folder, tuple[RowIndex, Floats, tuple[str, ...], Floats, tuple[FitRecord, ...]]
            )
            return SampleTable(view.calendar, (), index, features, names, label, view.look_ahead), learned

        return self.history.cached("similarity_rows", self._similarity_parts, Stored(make, save, load))

    def column(self, k: int) -> Doubles:
        """Return how well block `k`'s proxy forecasts every known time, (times,)."""
        # Looked up first, so that what the column is said to have read does not depend on which one was made first.
        _ = self.rows
        stored = Stored.record(lambda: self._proxies.column(k), np.ndarray)
        return self.history.cached("similarity_column", {**self._similarity_parts, "block": k}, stored)

    @cached_property
    def _proxies(self) -> BlockProxies:
        view = self.rows[0].as_of(self.last)
        parts = (self.setting.gbdt, self.seed, self.setting.sim_metric)
        return BlockProxies(view, self.period.start, self.history.step, *parts)

    @property
    def seed(self) -> int:
        """Of LightGBM."""
        return self.setting.proxy_seed_in(self.history)

    @property
    def _parts(self) -> dict[str, object]:
        """What determines the proxy data, besides the data and the code."""
        return {**self._similarity_parts, **self._proxy_parts}

    @property
    def _similarity_parts(self) -> dict[str, object]:
        """What determines similarity: of proxy data only where it is measured on them, so that others can share it."""
        setting, reads_proxies = self.setting, self.setting.sim_preprocess is None
        own = {"last": self.last, "step": self.history.step, "processors": describe(setting.sim_preprocess)}
        proxies = self._proxy_parts if reads_proxies else {}
        return {**self._learned_from, **own, **setting.sim_parts(self.seed), **proxies}

    @property
    def _proxy_parts(self) -> dict[str, object]:
        """What determines the proxy data but for similarity; `decision` and `period` say the rest of the flags."""
        scored = {"drop_before_scoring": self.flags.drop_before_scoring, "sim_metric": self.setting.sim_metric}
        return {"preprocess": describe(self.setting.preprocess), **scored, "choice": self._choice_parts}

    @property
    def _choice_parts(self) -> dict[str, object]:
        return {**self._learned_from, "rule": self.setting.choice_parts, "seed": self.seed}

    @property
    def _learned_from(self) -> dict[str, object]:
        return {"decision": self.decision, "period": [self.period.start, self.period.stop]}

    def _chosen(self) -> tuple[Choice, FitRecord]:
        """Choose the features, or find them chosen; never kept, so that whoever uses it is known to have read it."""

        def make() -> tuple[Choice, FitRecord]:
            seen = self.history.as_of(self.decision)
            choice = choose_features(seen, self.period, self.setting, self.seed)
            return choice, FitRecord("feature choice", self.decision, seen.reads)

        return self.history.cached("feature_choice", self._choice_parts, Stored.record(make, tuple[Choice, FitRecord]))

    def _all_features(self, pipeline: Pipeline) -> Compared:
        raw = known_rows(self.history.as_of(self.last), self.period.start)
        seen = raw.as_of(self.decision)
        table = apply(raw, pipeline.fit(seen, self.period))
        return table, (FitRecord("similarity processors", self.decision, seen.reads),)

    def _proxy_table(self, choice: Choice) -> tuple[SampleTable, GramBlocks, FitRecord]:
        """Return the rows of the chosen features, as they are compared, their Gram blocks, and what was read."""
        newest = self.history.as_of(self.last)
        raw = known_rows(newest, self.period.start, None if choice.names == newest.feature_names else choice.names)
        seen = raw.as_of(self.decision)
        data = apply(raw, self.setting.preprocess.fit(seen, self.period))
        table = data.labelled if self.flags.drop_before_scoring else data
        if self.setting.sim_metric == "rank_ic":
            table = standardised(table)
        return table, self._blocks(table), FitRecord("proxy processors", self.decision, seen.reads)

    def _similarity(self, table: SampleTable, blocks: GramBlocks) -> tuple[Similarity, tuple[FitRecord, ...]]:
        """Measure similarity on the proxy data, or on all features where the recipe processes them for it.

        The latter does not depend on the proxy data, and is shared by experiments that differ in them.
        """
        processors = self.setting.sim_preprocess
        if processors is None:
            return self._measured(table, blocks), ()

        def make() -> tuple[Similarity, tuple[FitRecord, ...]]:
            table, fitted = self._all_features(processors)
            return self._measured(table, self._blocks(table)), fitted

        stored = Stored.record(make, tuple[Similarity, tuple[FitRecord, ...]])
        return self.history.cached("similarity", self._similarity_parts, stored)

    def _measured(self, table: SampleTable, blocks: GramBlocks) -> Similarity:
        view, start, step, setting = table.as_of(self.last), self.period.start, self.history.step, self.setting
        if setting.sim_task_model == "linear":
            alpha = setting.sim_alpha
            return linear_similarity(view, start, blocks, step=step, alpha=alpha, metric=setting.sim_metric)
        observer, seed = self.history.observer, self.seed
        own = (view, start, step, setting.gbdt)
        return gbdt_similarity(*own, seed=seed, observer=observer, metric=setting.sim_metric)

    def _blocks(self, table: SampleTable) -> GramBlocks:
        offsets = table.index.offsets
        return GramBlocks(table.features, table.label, offsets, step=self.history.step, origin=self.period.start)


def preparations(
    served: Sequence[tuple[int, int]], setting: ProxySettings, flags: Flags, history: History
) -> tuple[Preparation, ...]:
    """Return one preparation per feature choice, in time order.

    `served` is the decision of every meta-task and window, with the last position whose data it needs.
    """
    first = history.windows[0]
    view = history.as_of(first.decision)
    times, years = view.calendar.times, setting.refresh_years
    decisions: list[int] = []
    for at in sorted(d for d, _ in served):  # the first, and each that is so many years after the last choice
        if not decisions or (years is not None and times[at] - times[decisions[-1]] >= years * _YEAR):
            decisions.append(at)
    found = []
    for at, until in zip(decisions, [*decisions[1:], len(view.calendar)], strict=True):
        decision, period = at, Segment(first.train.start, at - view.look_ahead + 1)
        if flags.learn_choice_late:
            decision, period = first.decision, first.train
        last = max(needed for made, needed in served if at <= made < until)
        found.append(Preparation(at, decision, period, last, setting, flags, history))
    return tuple(found)
