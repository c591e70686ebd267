"""From history to proxy data and similarity, as of each feature choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from baselines.adaptation.ddgda import similarity as similarities
from baselines.adaptation.ddgda.meta_task import Flags
from baselines.adaptation.ddgda.proxy import Choice, ProxySettings, choose_features, known_rows, standardised
from baselines.adaptation.ddgda.similarity import BlockProxies, Similarity
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import Doubles, Floats, History, Stored, Subtask
from harness.samples.preprocess import Pipeline, apply
from harness.samples.table import FitRecord, RowIndex, SampleTable
from harness.samples.windows import Segment
from harness.store import codec
from harness.store.records import describe

# What similarity is measured on, and the processors that made it.
Rows = tuple[SampleTable, tuple[FitRecord, ...]]
_YEAR = np.timedelta64(365, "D")


@dataclass(frozen=True, eq=False)
class Regime:
    """What one feature choice gives; `learned` are it and the processors, with what their views recorded."""

    choice: Choice
    similarity: Similarity
    learned: tuple[FitRecord, ...] = ()


@dataclass(frozen=True, eq=False)
class ProxyData:
    """A regime, its rows of the chosen features, z-scored at every time, labels not yet known NaN, and their blocks."""

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
        columns = (Subtask({**self._parts, "block": k}, partial(self.column, k)) for k in range(len(self.columns)))
        return Subtask({**self._parts, "block": None}, lambda: self.rows), tuple(columns)

    @property
    def columns(self) -> tuple[Segment, ...]:
        """The blocks, one column of the similarity each."""
        return similarities.whole_blocks(self.period.start, self.history.as_of(self.last).label_stop, self.history.step)

    @cached_property
    def rows(self) -> Rows:
        """The rows on which similarity is measured, memory-mapped where the cache has them."""

        def make() -> Rows:
            if self.setting.sim_preprocess is not None:
                return self._all_features(self.setting.sim_preprocess)
            return self._proxy_table(self._chosen()[0])[0], ()

        view = self.history.as_of(self.last)

        def save(rows: Rows, folder: Path) -> None:
            table, learned = rows
            codec.save(folder, (table.index, table.features, table.feature_names, table.label, learned))

        def load(folder: Path) -> Rows:
            index, features, names, label, learned = codec.load(
                folder, tuple[RowIndex, Floats, tuple[str, ...], Floats, tuple[FitRecord, ...]]
            )
            return SampleTable(view.calendar, (), index, features, names, label, view.look_ahead), learned

        return self.history.cached("similarity_rows", self._parts, Stored(make, save, load))

    def column(self, k: int) -> Doubles:
        """Return the rank IC of block `k`'s proxy at every known time, (times,)."""
        # Looked up first, so that what the column is said to have read does not depend on which one was made first.
        _ = self.rows
        stored = Stored.record(lambda: self._proxies.judge(self._proxies.predict(k)), np.ndarray)
        return self.history.cached("similarity_column", {**self._parts, "block": k}, stored)

    @cached_property
    def _proxies(self) -> BlockProxies:
        view = self.rows[0].as_of(self.last)
        return BlockProxies(view, self.period.start, self.history.step, self.setting.gbdt, self.seed)

    @property
    def seed(self) -> int:
        return self.setting.seed_in(self.history)

    @property
    def _parts(self) -> dict[str, object]:
        """What determines the proxy data, besides the data and the code."""
        names = [field.name for field in fields(ProxySettings) if field.name != "refresh_years"]
        rule = {name: describe(getattr(self.setting, name)) for name in names} | {"seed": self.seed}
        rest = {"last": self.last, "flags": describe(self.flags), "step": self.history.step}
        return {**self._learned_from, **rest, "rule": rule}

    @property
    def _learned_from(self) -> dict[str, object]:
        return {"decision": self.decision, "period": [self.period.start, self.period.stop]}

    def _chosen(self) -> tuple[Choice, FitRecord]:
        """Choose the features, or find them chosen; never kept, so that whoever uses it is known to have read it."""

        def make() -> tuple[Choice, FitRecord]:
            seen = self.history.as_of(self.decision)
            choice = choose_features(seen, self.period, self.setting, self.seed)
            return choice, FitRecord("feature choice", self.decision, seen.reads)

        parts = {**self._learned_from, "rule": self.setting.choice_parts, "seed": self.seed}
        return self.history.cached("feature_choice", parts, Stored.record(make, tuple[Choice, FitRecord]))

    def _all_features(self, pipeline: Pipeline) -> Rows:
        raw = known_rows(self.history.as_of(self.last), self.period.start)
        seen = raw.as_of(self.decision)
        table = apply(raw, pipeline.fit(seen, self.period))
        return table, (FitRecord("similarity processors", self.decision, seen.reads),)

    def _proxy_table(self, choice: Choice) -> tuple[SampleTable, GramBlocks, FitRecord]:
        """Return the rows of the chosen features, z-scored at every time, their Gram blocks, and what was read."""
        newest = self.history.as_of(self.last)
        raw = known_rows(newest, self.period.start, None if choice.names == newest.feature_names else choice.names)
        seen = raw.as_of(self.decision)
        data = apply(raw, self.setting.preprocess.fit(seen, self.period))
        table = standardised(data.labelled if self.flags.drop_before_scoring else data)
        return table, self._blocks(table), FitRecord("proxy processors", self.decision, seen.reads)

    def _similarity(self, table: SampleTable, blocks: GramBlocks) -> tuple[Similarity, tuple[FitRecord, ...]]:
        """Measure similarity on the proxy data, or on all features where the recipe processes them for it."""
        start, step, setting = self.period.start, self.history.step, self.setting
        fitted: tuple[FitRecord, ...] = ()
        if setting.sim_preprocess is not None:
            table, fitted = self._all_features(setting.sim_preprocess)
            blocks = self._blocks(table)
        view = table.as_of(self.last)
        if setting.sim_task_model == "linear":
            return similarities.linear_similarity(view, start, blocks, step=step, alpha=setting.sim_alpha), fitted
        observer = self.history.observer
        return similarities.gbdt_similarity(view, start, step, setting.gbdt, seed=self.seed, observer=observer), fitted

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
