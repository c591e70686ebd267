"""DDG-DA (Li et al., AAAI 2022, arXiv 2201.04038): weights of past samples learned to suit the next period."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from baselines.adaptation.ddgda import meta_task
from baselines.adaptation.ddgda.fitted import FittedDDGDA, load_fitted, named_leaks
from baselines.adaptation.ddgda.meta_task import POINT_IN_TIME, Flags, MetaRanges, MetaTask, Span, Switches
from baselines.adaptation.ddgda.preparation import KnownSimilarity, Preparation, ProxyData, Similarity, preparations
from baselines.adaptation.ddgda.proxy import ProxySettings
from baselines.adaptation.ddgda.weight_model import FillMethod, MetaScore, MetaTraining, WeightModel, WeightRule
from harness.data.dates import configured_date
from harness.errors import ConfigError
from harness.errors.extras import missing_extra
from harness.errors.limits import Count, check_limits
from harness.samples.interfaces import Adaptation, History, Subtask
from harness.samples.table import AsOfView
from harness.store.records import LATER

if TYPE_CHECKING:
    from baselines.adaptation.ddgda.meta_training import MetaProblems

FLAGS = {"point_in_time": POINT_IN_TIME, "qlib": meta_task.QLIB}
_ALL_BUT_ONE = 0.999  # of the meta-tasks, however few


@dataclass(frozen=True)
class DDGDA(MetaTraining, ProxySettings):
    """Meta-learned time weights; the names of the parameters are those of qlib's ``DDGDA`` where it has them.

    Attributes:
        profile: ``qlib``: as published, with its leaks, which the fitted adaptation names. ``point_in_time``: the same
            with the leaks closed, so that nothing is learned from what is not known at its decision.
        hist_step_n: History steps H that the weight model looks back on.
        fill_method: What a masked similarity becomes: ``max`` the largest value of its time, ``zero`` nothing,
            ``maxseg`` the largest mean, over the block's masked times, of the blocks that are known at all of them.
        segments: Where meta-training ends: share of the meta-tasks, date (the beginning of a month or year), ranges, or
            None for the first test.
        meta_1st_train_end: Last learning date of the first meta-task, before its purge (the end of a month or year);
            None takes the earliest with enough history.
        loss_skip_thresh: The correlation of a time with fewer instruments is not judged; ``mse`` judges all.
        switches: Single flags that are turned, for taking a gain apart; what leaks then is named too.
    """

    profile: Literal["point_in_time", "qlib"]
    hist_step_n: Count
    fill_method: FillMethod
    segments: Annotated[float, Gt(0), Lt(1)] | Annotated[int, Ge(0), Le(99_991_231)] | str | MetaRanges | None
    meta_1st_train_end: str | int | None
    loss_skip_thresh: Annotated[int, Ge(2), Le(1_000_000)]
    switches: Switches = field(default=Switches(), metadata=LATER)

    def __post_init__(self) -> None:
        check_limits(self, "adaptation")
        # A whole number is a year or a compact date, but 0 and 1 are shares.
        segments = float(self.segments) if self.segments in (0, 1) else self.segments
        if isinstance(segments, str | int):
            segments = configured_date(segments, "adaptation.segments")
        if isinstance(segments, float) and not 0 < segments < 1:
            text, expected = "`segments` cannot be used.", "a share between 0 and 1, a date, ranges, or null"
            raise ConfigError(text, where="adaptation.segments", got=segments, expected=expected)
        object.__setattr__(self, "segments", segments)
        first = configured_date(self.meta_1st_train_end, "adaptation.meta_1st_train_end")
        object.__setattr__(self, "meta_1st_train_end", first)

    def fit(self, history: History) -> FittedDDGDA:
        return Learning(self, self._flags, history).fitted()

    def batches(self, history: History) -> tuple[tuple[Subtask, ...], ...]:
        return Learning(self, self._flags, history).subtasks()

    @property
    def _flags(self) -> Flags:
        return self.switches.applied(FLAGS[self.profile])

    def load(self, folder: Path) -> FittedDDGDA:
        return load_fitted(folder)

    def leaky_variants(self) -> Mapping[str, Adaptation]:
        """Return name of a leak that an implementation may well have → this adaptation with it; none for qlib's."""
        flags = self._flags
        if flags.leaks:
            return {}
        late, unscored = replace(flags, learn_choice_late=True), replace(flags, drop_before_scoring=True)
        unpurged = replace(flags, count_survivors=True)
        everything, inside = replace(self, segments=_ALL_BUT_ONE), replace(unpurged, judge_in_test=True)
        scores = {"DDG-DA: z-scores of those that will have a label": LeakyDDGDA(self, unscored)}
        return {
            "DDG-DA: features chosen at the first test, for earlier meta-tasks": LeakyDDGDA(self, late),
            **(scores if self.sim_metric == "rank_ic" else {}),
            "DDG-DA: meta-labels not purged at the first decision": LeakyDDGDA(self, unpurged),
            "DDG-DA: meta-training in the test period": LeakyDDGDA(everything, inside),
            "DDG-DA: similarity unmasked where labels overlap": LeakyDDGDA(self, flags, "unmasked"),
            "DDG-DA: similarity to times not yet known": LeakyDDGDA(self, flags, "early"),
        }


@dataclass(frozen=True, eq=False)
class Learning:
    """How a DDG-DA learns from a history, as a pipeline: meta-tasks, proxy data, inner problems, meta-training."""

    setting: DDGDA
    flags: Flags
    history: History
    similarity: type[Similarity] = Similarity  # any other kind is a leak

    def fitted(self) -> FittedDDGDA:
        if importlib.util.find_spec("torch") is None:
            raise missing_extra("DDG-DA", "torch", "adaptation")
        # torch is imported here and in `train` only, so that everything but DDG-DA runs without it.
        from baselines.adaptation.ddgda.meta_training import meta_problems

        calendar, windows = self.first_view.calendar, self.history.windows
        prepared, setting, flags = [self._seen(p.stashed()) for p in self.preparations], self.setting, self.flags
        rule = WeightRule(setting.hist_step_n, setting.fill_method, flags.undefined_is_best, flags.plain_tail)
        skip_below = setting.loss_skip_thresh if setting.criterion == "ic_loss" else None
        problems = meta_problems(self.tasks, prepared, rule, skip_below)
        model, scores = self.train(problems)
        regimes = tuple(data.regime for data in prepared)
        leaks = named_leaks(flags, problems.tasks, windows[0], calendar, self.span.look_ahead)
        fitted = FittedDDGDA(model, rule, regimes, problems.tasks, scores, windows, calendar, leaks)
        for note in fitted.notes():
            self.history.observer.notice(f"DDG-DA: {note}")
        return fitted

    def subtasks(self) -> tuple[tuple[Subtask, ...], ...]:
        if self.setting.sim_task_model == "linear":
            return ()  # solved in a second: there is nothing to share out
        rows, columns = zip(*(preparation.subtasks for preparation in self.preparations), strict=True)
        return rows, tuple(itertools.chain.from_iterable(columns))

    @property
    def first_view(self) -> AsOfView:
        return self.history.as_of(self.history.windows[0].decision)

    @cached_property
    def span(self) -> Span:
        view, windows, step = self.first_view, self.history.windows, self.history.step
        start, length = windows[0].train.start, self.setting.hist_step_n * step
        first_test = start + length + view.look_ahead - 1
        if self.setting.meta_1st_train_end is not None:
            first_test = view.calendar.stop_after(self.setting.meta_1st_train_end)
        final, stop = windows[0].decision, windows[-1].test.stop
        return Span(start, first_test, final, stop, step, view.look_ahead, length)

    @cached_property
    def tasks(self) -> tuple[MetaTask, ...]:
        candidates, calendar = meta_task.candidate_tasks(self.span), self.first_view.calendar
        return meta_task.assign_phases(candidates, self.setting.segments, self.span, calendar, self.flags)

    @property
    def preparations(self) -> tuple[Preparation, ...]:
        """How proxy data come about, per feature choice: for every meta-task that is used and every window."""
        newest, used = len(self.first_view.calendar) - 1, (t for t in self.tasks if t.phase in meta_task.USED)
        judged = [(task.decision, min(task.test.last + self.span.look_ahead, newest)) for task in used]
        served = [*judged, *((window.decision, window.decision) for window in self.history.windows)]
        return preparations(served, self.setting, self.flags, self.history)

    def train(self, problems: MetaProblems) -> tuple[WeightModel, tuple[MetaScore, ...]]:
        from baselines.adaptation.ddgda.meta_training import initial_weight_model, train

        setting, shrink = self.setting, self.flags.shrink_correlation
        start = initial_weight_model(setting.hist_step_n, setting.shape, setting.seed_in(self.history))
        return train(problems.by_phase, start, setting, self.history.observer, shrink=shrink)

    def _seen(self, data: ProxyData) -> ProxyData:
        seen = self.similarity(**vars(data.regime.similarity))
        return replace(data, regime=replace(data.regime, similarity=seen))


@dataclass(frozen=True)
class LeakyDDGDA:
    """DDG-DA with a leak, never for results; it cannot be read back from the store, and so is fitted in every run."""

    honest: DDGDA
    flags: Flags
    similarity: Literal["honest", "unmasked", "early"] = "honest"

    def fit(self, history: History) -> FittedDDGDA:
        kinds = {"honest": Similarity, "unmasked": _Unmasked, "early": _Early}
        return Learning(self.honest, self.flags, history, kinds[self.similarity]).fitted()


class _Unmasked(Similarity):
    """Says that labels do not overlap, so that nothing is masked: cells that share labels with their block count."""

    def as_of(self, decision: int) -> KnownSimilarity:
        return replace(super().as_of(decision), look_ahead=1 - self.step)


class _Early(Similarity):
    """Is known a step and a look-ahead before its time."""

    def as_of(self, decision: int) -> KnownSimilarity:
        return _EarlyKnown(**vars(self))


class _EarlyKnown(KnownSimilarity):
    def until(self, stop: int) -> KnownSimilarity:
        # Rows of later times too, to the blocks that end by `stop`.
        known, rows = (stop - self.start) // self.step, stop - self.start + self.step + self.look_ahead
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values[:rows, :known])
