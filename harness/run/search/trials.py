"""A hyper-parameter search that judges on the validation period; the final test range is out of its reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from harness.execution.progress import Observer, Silent
from harness.execution.task import Executor
from harness.execution.time_left import Countdown
from harness.run.search.identity import identity_of
from harness.run.search.judge import Judge, judged
from harness.run.search.objective import direction_of
from harness.run.search.result import RECORD, SearchRequest, SearchResult, TrialResult
from harness.run.search.space import Space, read_space
from harness.run.search.study import SeededStudy, open_study
from harness.run.search.workers import StayingUp
from harness.run.sweep import Outcome
from harness.store.files import write_atomically

_STAGE = "trials"
_FIELDS = tuple(f.name for f in fields(TrialResult))


def search(
    request: SearchRequest, observer: Observer | None = None, tell: Callable[[TrialResult], None] = lambda _: None
) -> SearchResult:
    """Search: every trial is an ordinary run whose data end before the final test range begins.

    Parameters
    ----------
    request
        What is searched.
    observer
        Told about progress.
    tell
        Hears of every trial as soon as it has ended.

    Raises
    ------
    ConfigError
        For a space, schedule or metric that cannot be searched; a single trial that cannot be run is refused instead.
    DataError
        When the data change while the search goes on.
    KeyboardInterrupt
        When it is interrupted before any trial has ended; afterwards the finished trials are returned.
    """
    observer = observer or Silent()
    space = read_space(request.overrides, search_path=request.search_path)
    judge = Judge.of(space, observer)
    direction = request.direction or direction_of(request.metric, judge.reference)
    identity = identity_of(request, direction, space, judge.period, judge.fingerprint)
    folder = Path(judge.reference.output.runs) / identity.name
    options = (direction, request.seed, request.batch, request.storage)
    with open_study(identity.name, asdict(identity), *options) as (study, others):
        changes = identity.changes(others)
        if not study.finished() and changes is not None:
            observer.notice(
                f"{changes} changed since this search was last run: a new study begins, and the trials of the old one "
                "stay in the storage, unused"
            )
        going = _Search(request, space, judge, study, folder, Countdown(observer, _STAGE, request.trials), tell)
        interrupted = going.interrupted()
        going.countdown.finish()
    result = SearchResult(request, direction, judge.period, tuple(going.trials), folder, interrupted)
    write_atomically(folder / RECORD, result.to_json().encode())
    return result


@dataclass(eq=False)
class _Search:
    """A search on its way."""

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
            with StayingUp(self.judge.reference.executor) as executor:
                while len(self.trials) < self.request.trials:
                    self._run_batch(executor)
                    self._remember()
        except KeyboardInterrupt:
            if not self.trials:
                raise
            return True
        return False

    def _remember(self) -> None:
        """Take over the trials of an earlier process, or of another one that makes the same search now."""
        for found in self.study.finished()[len(self.trials) : self.request.trials]:
            told = {name: found.user_attrs[name] for name in _FIELDS}
            told |= {"overrides": tuple(told["overrides"]), "outcome": Outcome(told["outcome"])}
            self._add(TrialResult(**told))

    def _run_batch(self, executor: Executor) -> None:
        began = time.perf_counter()
        asked = self.study.ask(self.space.suggest, self.request.trials)
        ended = self.judge.run([one.value for one in asked], executor, self.folder)
        for one, cell in zip(asked, ended, strict=True):
            trial = judged(one.number, cell, self.request.metric)
            self.study.tell(one, trial.value, asdict(trial))
            computed = cell.result is not None and not cell.result.reused
            self._add(trial, (time.perf_counter() - began) / len(asked) if computed else None)
            self.tell(trial)

    def _add(self, trial: TrialResult, computed: float | None = None) -> None:
        self.trials.append(trial)
        self.countdown.ended(computed)
