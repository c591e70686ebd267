"""A hyper-parameter search that judges on the validation period; the final test range is out of its reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.errors import ConfigError, DataError, HarnessError, RefusedError
from harness.execution.progress import Countdown, Observer, Silent
from harness.run.dispatch import Dispatched, StartWorkers, workers_of
from harness.run.experiment import ExperimentResult, run
from harness.run.pipeline import Pipeline
from harness.run.search import result as records
from harness.run.search.result import SearchRequest, SearchResult, TrialResult, ValidationPeriod
from harness.run.search.space import Space, read_space
from harness.run.search.study import SeededStudy, direction_of, open_study, unknown_metric
from harness.run.sweep import Cell, CellResult, Outcome, run_sweep
from harness.snapshots.snapshot import sha256
from harness.store.artifacts import MemoryCache
from harness.store.codec import from_plain
from harness.store.files import write_atomically
from harness.store.records import describe

_STAGE = "trials"


@dataclass(frozen=True, eq=False)
class Judge:
    """What all trials have in common: they are compared, so that they must be judged on the same.

    Attributes:
        reference: A trial's configuration, on its own schedule.
        calendar: Of the whole panel.
        fingerprint: Of the data that every trial sees.
        memory: Keeps large stages from one trial to the next.
    """

    reference: ExperimentConfig
    calendar: Calendar
    fingerprint: str
    period: ValidationPeriod
    observer: Observer
    memory: MemoryCache = field(default_factory=MemoryCache)

    @classmethod
    def of(cls, space: Space, observer: Observer) -> Judge:
        """Look at the data, and find the period in them; refuse a past that depends on where the data end."""
        config = space.reference.config
        assert config is not None
        calendar = Pipeline(config, observer=observer).panel.calendar
        period = records.validation_period(config.windows, calendar, config.label.look_ahead)
        seen = Pipeline(records.on_validation(config, period, config.output.runs), observer=observer).panel
        if not np.array_equal(seen.calendar.times, calendar.times[: len(seen.calendar)]):
            raise ConfigError(
                "The data that end before the final test range have another calendar than the whole.",
                where="data",
                expected="a source whose past does not depend on where it ends",
            )
        return cls(config, calendar, seen.fingerprint, period, observer)

    def run(self, cells: Sequence[Cell], workers: StartWorkers, folder: Path) -> Iterator[CellResult]:
        """Run trials, those of workers all at once, and yield in order how each ended; refuse data that changed."""
        moved = [self._moved(cell, folder) for cell in cells]
        configs = [cell.config for cell in moved if cell.config is not None]
        dispatched = Dispatched(configs, self.observer, self.memory, workers)

        def run_one(config: ExperimentConfig) -> ExperimentResult:
            dispatched.work_of(config)
            return run(config, self.observer, memory=dispatched.memory, shared=dispatched.shared)

        for cell in moved:
            (ended,) = run_sweep([cell], run_one, lambda _: None)
            if ended.result is not None and ended.result.snapshot.identity["data"]["fingerprint"] != self.fingerprint:
                raise DataError(
                    "The data have changed since the search began, so that its trials cannot be compared.",
                    where="data",
                    got=ended.result.snapshot.identity["data"]["fingerprint"],
                    expected=self.fingerprint,
                    hint="run the same command again: a new study begins on the new data",
                )
            yield ended

    def _moved(self, cell: Cell, folder: Path) -> Cell:
        if cell.config is None:
            return cell
        try:
            period = records.validation_period(cell.config.windows, self.calendar, cell.config.label.look_ahead)
            self._refuse_another_question(cell.config, period)
            return replace(cell, config=records.on_validation(cell.config, period, str(folder)))
        except HarnessError as error:
            return replace(cell, config=None, refusal=str(error), outcome=Outcome.of(error))

    def _refuse_another_question(self, config: ExperimentConfig, period: ValidationPeriod) -> None:
        for name in ("data", "label", "samples", "evaluation"):
            if describe(getattr(config, name)) != describe(getattr(self.reference, name)):
                raise RefusedError(
                    "Trials that are judged differently cannot be compared.",
                    where=name,
                    got="a searched key that changes it",
                    expected="keys of the features, preprocess, model, adaptation, or windows.step and windows.kind",
                )
        if period.judged != self.period.judged:
            raise RefusedError(
                "Trials that are judged on other times cannot be compared.",
                where="windows",
                got=" … ".join(period.judged),
                expected=" … ".join(self.period.judged),
            )


def judged(number: int, ended: CellResult, metric: str) -> TrialResult:
    """Return how a trial ended, with its metric; raises `ConfigError` when a run has no such metric."""
    cell = ended.cell
    trial = TrialResult(number, cell.chosen, cell.overrides, ended.outcome, None, ended.reason, None)
    if ended.result is None:
        return trial
    if metric not in ended.result.metrics:
        raise unknown_metric(metric, ended.result.metrics)
    value = ended.result.metrics[metric]
    trial = replace(trial, folder=str(ended.result.folder))
    if value is None:
        return replace(trial, outcome=Outcome.REFUSED, reason=f"{metric} is undefined on the validation period")
    return replace(trial, value=float(value))


def search(
    request: SearchRequest, observer: Observer | None = None, tell: Callable[[TrialResult], None] = lambda _: None
) -> SearchResult:
    """Search: every trial is an ordinary run whose data end before the final test range begins.

    Args:
        request: What is searched.
        observer: Told about progress.
        tell: Hears of every trial as soon as it has ended.

    Raises:
        ConfigError: For a space, schedule or metric that cannot be searched; a single trial that cannot be run is
            refused instead.
        DataError: When the data change while the search goes on.
        KeyboardInterrupt: When it is interrupted before any trial has ended; afterwards the finished trials are
            returned.
    """
    observer = observer or Silent()
    space = read_space(request.overrides, search_path=request.search_path)
    judge = Judge.of(space, observer)
    direction = request.direction or direction_of(request.metric, judge.reference)
    identity = records.identity_of(request, direction, space, judge.period, judge.fingerprint)
    # The same search goes on, another begins anew.
    name = f"search-{sha256(identity)[:12]}"
    folder = Path(judge.reference.output.runs) / name
    options = (direction, request.seed, request.batch, request.storage)
    with open_study(name, identity, *options) as (study, others):
        changes = records.changes_of(identity, others)
        if not study.finished() and changes is not None:
            observer.notice(
                f"{changes} changed since this search was last run: a new study begins, and the trials of the old one "
                "stay in the storage, unused"
            )
        going = _Search(request, space, judge, study, folder, Countdown(observer, _STAGE, request.trials), tell)
        interrupted = going.interrupted()
        going.countdown.finish()
    result = SearchResult(request, direction, judge.period, tuple(going.trials), folder, interrupted)
    write_atomically(folder / records.RECORD, result.to_json().encode())
    return result


@dataclass(eq=False)
class _Search:
    request: SearchRequest
    space: Space
    judge: Judge
    study: SeededStudy
    folder: Path
    countdown: Countdown
    tell: Callable[[TrialResult], None]
    trials: list[TrialResult] = field(default_factory=list)

    def interrupted(self) -> bool:
        """Run what is left of the search, and return whether Ctrl-C ended it."""
        try:
            self._remember()
            with ExitStack() as stack:
                workers = workers_of(self.judge.reference.executor, stack)
                while len(self.trials) < self.request.trials:
                    self._run_batch(workers)
                    self._remember()
        except KeyboardInterrupt:
            if not self.trials:
                raise
            return True
        return False

    def _remember(self) -> None:
        """Take over the trials of an earlier process, or of another one that makes the same search now."""
        for found in self.study.finished()[len(self.trials) : self.request.trials]:
            self._add(from_plain(TrialResult, found.user_attrs))

    def _run_batch(self, workers: StartWorkers) -> None:
        began = time.perf_counter()
        asked = self.study.ask(self.space.suggest, self.request.trials)
        ended = self.judge.run([one.value for one in asked], workers, self.folder)
        for one, cell in zip(asked, ended, strict=True):
            trial = judged(one.number, cell, self.request.metric)
            self.study.tell(one, trial.value, asdict(trial))
            computed = cell.result is not None and not cell.result.reused
            self._add(trial, (time.perf_counter() - began) / len(asked) if computed else None)
            self.tell(trial)

    def _add(self, trial: TrialResult, computed: float | None = None) -> None:
        self.trials.append(trial)
        self.countdown.ended(computed)
