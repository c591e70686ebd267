"""DDG-DA (Li et al., AAAI 2022, arXiv 2201.04038): weights of past samples learned to suit the next period."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from baselines.adaptation.ddgda import records
from baselines.adaptation.ddgda.feature_choice import FeatureChoice
from baselines.adaptation.ddgda.fitted import Era, FittedDDGDA, Learned, named_leaks
from baselines.adaptation.ddgda.gbdt import GbdtParameters
from baselines.adaptation.ddgda.meta_input import FillMethod
from baselines.adaptation.ddgda.meta_problems import MetaProblems, meta_problems
from baselines.adaptation.ddgda.meta_score import MetaScore
from baselines.adaptation.ddgda.meta_split import MetaRanges, MetaTask, Phase, Span, assign_phases, candidate_tasks
from baselines.adaptation.ddgda.preparation import ProxyData, prepare_all, waves_of
from baselines.adaptation.ddgda.profile import PROFILES, Profile
from baselines.adaptation.ddgda.turns import ProxyRecipe, turns_of
from baselines.adaptation.ddgda.weight_model import ClipMethod, WeightModel, WeightShape
from harness.data.dates import configured_date
from harness.errors import ConfigError
from harness.errors.limits import Count, Natural, NonNegative, Positive, Seed, check_limits
from harness.samples.interfaces import Adaptation, History, Piece
from harness.samples.preprocess import Pipeline


@dataclass(frozen=True)
class DDGDA:
    """Meta-learned time weights; the names of the parameters are those of qlib's ``DDGDA`` where it has them.

    Attributes:
        profile: ``point_in_time``: nothing is learned from what is not known at its decision. ``qlib``: as published,
            with its leaks, which the fitted adaptation names.
        fea_imp_n: How many proxy features, chosen by the importance of `choice_gbdt`; None takes all.
        fea_names: Proxy features by name, instead of a choice.
        importance: What counts as important: a feature's ``split`` or its ``gain``.
        refresh_years: Choose features anew after so many years; None chooses once, at the first meta-task.
        preprocess: Processors of proxy features and label; the features are then z-scored at every time.
        choice_preprocess: Processors of the data that the choice is made on; None takes `preprocess`.
        sim_preprocess: Processors of the data that similarity is measured on, with all features; None measures it on
            the proxy data.
        sim_task_model: The proxy of each block: ridge (``linear``) or LightGBM (``gbdt``).
        sim_alpha: Penalty of the ridge.
        gbdt: The LightGBM of each block, where `sim_task_model` is ``gbdt``.
        choice_gbdt: The LightGBM that chooses features.
        hist_step_n: History steps H that the weight model looks back on.
        fill_method: What a masked similarity becomes: ``max`` the largest value of its time, ``zero`` nothing,
            ``maxseg`` the largest mean, over the block's masked times, of the blocks that are known at all of them.
        segments: Where meta-training ends: share of the meta-tasks, date (the beginning of a month or year), ranges, or
            None for the first test.
        meta_1st_train_end: Last learning date of the first meta-task, before its purge (the end of a month or year);
            None takes the earliest with enough history.
        clip_method: From score u to weight, with bound c: ``tanh`` c to the power tanh(u), ``clamp`` eᵘ cut to [1/c,
            c], ``sigmoid`` logistic(u) scaled to a mean of 1.
        clip_weight: The bound c, above 1; None: eᵘ, unbounded.
        alpha: Ridge penalty of the inner problem.
        criterion: Outer loss: minus the mean correlation, or the paper's squared error.
        loss_skip_thresh: A time with fewer instruments is not judged.
        lr: Adam's step size.
        max_epoch: Passes over the meta-tasks.
        seed: Of the initial weight model and of LightGBM; None takes the experiment's.
    """

    profile: Literal["point_in_time", "qlib"]
    fea_imp_n: Count | None
    fea_names: tuple[str, ...] | None
    importance: Literal["split", "gain"]
    refresh_years: Count | None
    preprocess: Pipeline
    choice_preprocess: Pipeline | None
    sim_preprocess: Pipeline | None
    sim_task_model: Literal["linear", "gbdt"]
    sim_alpha: NonNegative
    gbdt: GbdtParameters
    choice_gbdt: GbdtParameters
    hist_step_n: Count
    fill_method: FillMethod
    segments: Annotated[float, Gt(0), Lt(1)] | Annotated[int, Ge(0), Le(99_991_231)] | str | MetaRanges | None
    meta_1st_train_end: str | int | None
    clip_method: ClipMethod
    clip_weight: Annotated[float, Gt(1), Le(1e12)] | None
    alpha: NonNegative
    criterion: Literal["ic_loss", "mse"]
    loss_skip_thresh: Annotated[int, Ge(2), Le(1_000_000)]
    lr: Positive
    max_epoch: Natural
    seed: Seed | None

    def __post_init__(self) -> None:
        """Refuse values that cannot be used, at construction."""
        check_limits(self, "adaptation")
        self._write_dates()
        if isinstance(self.segments, float) and not 0 < self.segments < 1:
            raise ConfigError(
                "`segments` cannot be used.",
                where="adaptation.segments",
                got=self.segments,
                expected="a share between 0 and 1, a date, ranges, or null",
            )

    def _write_dates(self) -> None:
        """Write dates in one way; a whole number is a year or a compact date, but 0 and 1 are shares."""
        segments = float(self.segments) if self.segments in (0, 1) else self.segments
        if isinstance(segments, str | int):
            segments = configured_date(segments, "adaptation.segments")
        object.__setattr__(self, "segments", segments)
        first = configured_date(self.meta_1st_train_end, "adaptation.meta_1st_train_end")
        object.__setattr__(self, "meta_1st_train_end", first)

    def fit(self, history: History) -> FittedDDGDA:
        """Learn the weight model from the past of the first window.

        Raises:
            ConfigError: When torch is missing, no meta-task can be trained, or meta-training would reach into the final
                test period.
        """
        _require_torch()
        calendar = history.as_of(history.windows[0].decision).calendar
        span, tasks = self._tasks(history)
        prepared = self._prepared(tasks, span, history)
        problems = meta_problems(tasks, prepared, self._learned, self.loss_skip_thresh)
        model, scores = self._train(problems, history)
        fitted = FittedDDGDA(
            model=model,
            rule=self._learned,
            eras=tuple(Era(data.choice, data.similarity, data.learned) for data in prepared),
            tasks=problems.tasks,
            history=scores,
            windows=history.windows,
            calendar=calendar,
            leaks=named_leaks(self.rules, problems.tasks, history.windows[0], calendar, span.look_ahead),
        )
        for note in fitted.notes():
            history.observer.notice(f"DDG-DA: {note}")
        return fitted

    def waves(self, history: History) -> tuple[tuple[Piece, ...], ...]:
        """Return what workers can make before `fit`: LightGBM proxies of the blocks; see `DividedAdaptation`."""
        span, tasks = self._tasks(history)
        recipe = self._recipe(history)
        return waves_of(turns_of(self._served(tasks, span, history), recipe, history), recipe, history)

    def load(self, folder: Path) -> FittedDDGDA:
        """Read what `FittedDDGDA.save` wrote: the same weights, bit for bit, without torch.

        Raises:
            ArtifactError: When a file is missing or of another schema.
        """
        return records.load(folder)

    def leaky_twins(self) -> Mapping[str, Adaptation]:
        """Return name → this adaptation with a leak of its own, for `bench audit --price`."""
        from baselines.adaptation.ddgda.twins import leaky_twins  # which is made of this class

        return leaky_twins(self)

    @property
    def rules(self) -> Profile:
        """The switches of the profile."""
        return PROFILES[self.profile]

    def _tasks(self, history: History) -> tuple[Span, tuple[MetaTask, ...]]:
        span = self._span(history)
        calendar = history.as_of(span.final).calendar
        return span, assign_phases(candidate_tasks(span), self.segments, span, calendar, self.rules)

    def _span(self, history: History) -> Span:
        first = history.windows[0]
        view = history.as_of(first.decision)
        start, length = first.train.start, self.hist_step_n * history.step
        first_test = start + length + view.look_ahead - 1
        if self.meta_1st_train_end is not None:
            first_test = view.calendar.stop_after(self.meta_1st_train_end)
        return Span(
            start=start,
            first_test=first_test,
            final=first.decision,
            stop=history.windows[-1].test.stop,
            step=history.step,
            look_ahead=view.look_ahead,
            history=length,
        )

    def _served(self, tasks: tuple[MetaTask, ...], span: Span, history: History) -> list[tuple[int, int]]:
        """Return (decision, last position needed) of every meta-task that is used and of every window."""
        newest = len(history.as_of(span.final).calendar) - 1
        used = [task for task in tasks if task.phase in (Phase.META_TRAIN, Phase.META_TEST)]
        judged = [(task.decision, min(task.test.last + span.look_ahead, newest)) for task in used]
        return judged + [(window.decision, window.decision) for window in history.windows]

    def _prepared(self, tasks: tuple[MetaTask, ...], span: Span, history: History) -> Sequence[ProxyData]:
        recipe = self._recipe(history)
        return prepare_all(turns_of(self._served(tasks, span, history), recipe, history), recipe, history)

    def _recipe(self, history: History) -> ProxyRecipe:
        return ProxyRecipe(
            choice=FeatureChoice(
                names=self.fea_names,
                count=self.fea_imp_n,
                importance=self.importance,
                preprocess=self.choice_preprocess or self.preprocess,
                gbdt=self.choice_gbdt,
                refresh_years=self.refresh_years,
            ),
            preprocess=self.preprocess,
            sim_preprocess=self.sim_preprocess,
            sim_task_model=self.sim_task_model,
            sim_alpha=self.sim_alpha,
            gbdt=self.gbdt,
            profile=self.rules,
            seed=self._seed(history),
        )

    @property
    def _learned(self) -> Learned:
        return Learned(
            hist_step_n=self.hist_step_n,
            fill_method=self.fill_method,
            undefined_is_best=self.rules.undefined_is_best,
            plain_tail=self.rules.plain_tail,
        )

    def _train(self, problems: MetaProblems, history: History) -> tuple[WeightModel, tuple[MetaScore, ...]]:
        # torch is imported here only, so that everything but DDG-DA runs without it.
        from baselines.adaptation.ddgda.meta_training import MetaTraining, initial_weight_model, train

        shape = WeightShape(self.clip_method, self.clip_weight)
        setting = MetaTraining(
            shape=shape,
            alpha=self.alpha,
            criterion=self.criterion,
            lr=self.lr,
            max_epoch=self.max_epoch,
            shrink_correlation=self.rules.shrink_correlation,
        )
        start = initial_weight_model(self.hist_step_n, shape, self._seed(history))
        return train(problems.by_phase, start, setting, history.observer)

    def _seed(self, history: History) -> int:
        return history.seed if self.seed is None else self.seed


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            "DDG-DA needs torch, which is not installed.", where="adaptation", hint="pip install 'driftbench[torch]'"
        )
