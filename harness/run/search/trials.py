"""A hyper-parameter search that judges on the validation period; the final test range is out of its reach."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import ExperimentConfig, WindowsConfig, rebuild
from harness.data.calendar import Calendar
from harness.data.source import Source, TruncatedSource
from harness.errors import ConfigError, DataError, HarnessError, RefusedError
from harness.execution.progress import Countdown, Observer, Silent
from harness.run.dispatch import Dispatched, StartWorkers, workers_of
from harness.run.experiment import ExperimentResult, run
from harness.run.pipeline import Pipeline, panel_key_of, settings_of
from harness.run.schedule import resolve_schedule
from harness.run.search.study import Direction, SeededStudy, direction_of, open_study, read_space, unknown_metric
from harness.run.sweep import Cell, Outcome, run_cell
from harness.samples.windows import walk_forward
from harness.snapshots.snapshot import sha256
from harness.store.artifacts import MemoryCache, canonical_json
from harness.store.code_digest import code_digest
from harness.store.codec import from_plain
from harness.store.files import write_atomically
from harness.store.records import TARGET, describe

# Where trials run and what becomes of them: no number depends on it.
_AROUND = ("executor", "output", "tracking", "audit")


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, and how.

    Raises:
        ConfigError: When fewer than one trial is asked for, in all or together.
    """

    overrides: tuple[str, ...]  # Hydra overrides; those with several values span the space
    trials: int = 20  # how many trials the search has when it is finished, those of a resumed study included
    # metric, direction: any overall metric of a run, and which way it is better; None: as its record says
    metric: str = "rank_IC"
    direction: Direction | None = None
    seed: int = 43
    # trials that are asked for together, to be run at the same time by the executor's workers. The larger it is, the
    # less a trial knows of those before it: it belongs to the search, the executor does not.
    batch: int = 1
    # a SQLite file that keeps the trials, so that the same request goes on where it stopped; None: memory
    storage: Path | None = None
    search_path: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for name, number in (("--trials", self.trials), ("--batch", self.batch)):
            if number < 1:
                raise ConfigError("A search needs a trial.", where=name, got=number, expected="≥ 1")

    def asked(self, direction: Direction) -> dict[str, object]:
        return {"metric": self.metric, "direction": direction, "seed": self.seed, "batch": self.batch}


@dataclass(frozen=True)
class TrialResult:
    """How one trial ended."""

    number: int  # 0, 1, … in the order of the search
    # chosen, overrides: as of its `Cell`, without the trial's schedule
    chosen: dict[str, str]
    overrides: tuple[str, ...]
    # ``done``, ``refused`` (the values cannot be run, or have no metric), or ``failed`` (something crashed)
    outcome: Outcome
    value: float | None  # the metric on the validation period; None unless it is done
    reason: str | None  # why it was refused or failed
    folder: str | None  # holds its snapshot; None unless it has one

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.chosen.items())


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A search, finished or interrupted."""

    request: SearchRequest
    direction: Direction
    period: ValidationPeriod  # where the trials were judged
    trials: tuple[TrialResult, ...]
    folder: Path  # holds ``search.json`` and the trials' snapshots
    interrupted: bool = False  # whether Ctrl-C ended it

    @property
    def ranked(self) -> tuple[TrialResult, ...]:
        """The trials, best first; of equal ones the earlier, and those without a value last."""
        sign = -1.0 if self.direction == "maximize" else 1.0
        return tuple(sorted(self.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number)))

    @property
    def best(self) -> TrialResult | None:
        return next((trial for trial in self.ranked if trial.value is not None), None)

    @property
    def command(self) -> str | None:
        """The command that evaluates the best trial on the final test range, once; nothing here runs it."""
        if self.best is None:
            return None
        folders = [part for folder in self.request.search_path for part in ("--config-dir", str(folder))]
        return shlex.join(["bench", "run", *folders, *self.best.overrides])

    def to_json(self) -> str:
        record = {
            **self.request.asked(self.direction),
            "period": asdict(self.period.windows),
            "judged": self.period.judged,
            "final_test_begins": self.period.decision,
            "trials": [asdict(trial) for trial in self.ranked],
            "best": None if self.best is None else self.best.number,
            "command": self.command,
        }
        return canonical_json(record, indent=1)


@dataclass(frozen=True)
class ValidationPeriod:
    """Where a search judges: the schedule of every trial, in dates."""

    windows: WindowsConfig
    last: str  # the last time that a trial's data hold, as ISO text: the one before `decision`
    decision: str  # the first decision of the final test range, which no trial reaches

    @property
    def judged(self) -> tuple[str, ...]:
        """First and last time whose predictions are judged."""
        return tuple(str(date) for date in self.windows.test or ())


def validation_period(config: WindowsConfig, calendar: Calendar, look_ahead: int) -> ValidationPeriod:
    """Move a schedule back by one segment, on the calendar of the whole panel.

    Judged is the configured valid segment, without the times whose labels are known only in the final test range; valid
    is the tail of the configured train segment, by its share of the learning times, and train what is left of it.

    Raises:
        ConfigError: When there is no valid segment, or one of the moved segments would be empty.
    """
    final = resolve_schedule(config, calendar, look_ahead)
    walk_forward(final)
    train, valid = final.train, final.valid
    if valid is None:
        what = "A search judges on the validation period, and there is none."
        expected = "windows.valid=[FIRST,LAST] between train and test, or a positive middle share in windows.split"
        raise ConfigError(what, where="windows.valid", expected=expected)
    # The last label that is judged is known one time before the final test range is first decided on.
    stop = min(valid.stop, final.test.start - final.look_ahead)
    tail = round(len(train) * len(valid) / (len(train) + len(valid)))
    needed = max(final.look_ahead + final.embargo - (valid.start - train.stop), 1)
    if stop <= valid.start:
        what = "The validation period is too short: no label in it is known before the final test range begins."
        got, expected = f"{len(valid)} periods", f"more than {final.look_ahead} periods, the label's look-ahead"
        raise ConfigError(what, where="windows.valid", got=got, expected=expected)
    if not needed <= tail < len(train):
        what = "The train segment is too short to be cut into train and valid once more."
        got = f"{len(train)} periods, of which {tail} would be the trials' valid segment"
        expected = f"a train segment whose tail, by the share of valid, has at least {needed} periods"
        hint = "give more periods to train, or a larger share to valid"
        raise ConfigError(what, where="windows.train", got=got, expected=expected, hint=hint)
    border = train.stop - tail
    moved = ((train.start, border), (border, train.stop), (valid.start, stop))
    first, second, third = ((calendar.format(start), calendar.format(end - 1)) for start, end in moved)
    windows, decision = replace(config, train=first, valid=second, test=third), final.test.start
    return ValidationPeriod(windows, last=str(calendar.times[decision - 1]), decision=calendar.format(decision))


def on_validation(config: ExperimentConfig, period: ValidationPeriod, runs: str) -> ExperimentConfig:
    """Return the experiment of one trial: on the validation period, with data that end before the final test range.

    It has no intervals, which no objective needs, and its results go to the folder `runs`. A worker rebuilds the same
    experiment from its `composed` tree.
    """
    dates = {name: list(getattr(period.windows, name)) for name in ("train", "valid", "test")}
    tree: dict[str, Any] = json.loads(config.composed)
    tree["suite"], tree["audit"] = "search", "none"
    tree["data"] = _truncated(tree["data"], config.data, period.last)
    tree["windows"] |= dates
    tree["evaluation"]["significance"] = None
    tree["output"]["runs"] = runs
    tree["command"] += [f"windows.{name}=[{','.join(map(str, pair))}]" for name, pair in dates.items()]
    return rebuild(json.dumps(tree))


def _truncated(node: dict[str, Any], source: Source, last: str) -> dict[str, Any]:
    """Cut a source at its root: nothing after `last`, whatever transforms it."""
    names: list[str] = [f.name for f in dataclasses.fields(source)] if dataclasses.is_dataclass(source) else []
    for name in names:
        inner = getattr(source, name)
        if isinstance(inner, Source):
            return {**node, name: _truncated(node[name], inner, last)}
    cut = f"{TruncatedSource.__module__}.{TruncatedSource.__qualname__}"
    return {TARGET: cut, "inner": node, "last": last}


def search(
    request: SearchRequest, observer: Observer | None = None, tell: Callable[[TrialResult], None] = lambda _: None
) -> SearchResult:
    """Search: every trial is an ordinary run whose data end before the final test range begins.

    Args:
        tell: Hears of every trial as soon as it has ended.

    Raises:
        ConfigError: For a space, schedule or metric that cannot be searched; a single trial that cannot be run is
            refused instead.
        DataError: When the data change while the search goes on.
        KeyboardInterrupt: When it is interrupted before any trial has ended; afterwards the finished trials are
            returned.
    """
    return _Search(request, observer or Silent(), tell).run()


class _Search:
    """A search on its way. All trials are judged on the same data and times, so that they can be compared."""

    def __init__(self, request: SearchRequest, observer: Observer, tell: Callable[[TrialResult], None]) -> None:
        self.request, self.observer, self.tell, self.memory = request, observer, tell, MemoryCache()
        self.space = read_space(request.overrides, search_path=request.search_path)
        self.reference = config = self.space.reference
        self.calendar = Pipeline(config, observer=observer).panel.calendar
        self.period = validation_period(config.windows, self.calendar, config.label.look_ahead)
        known = Pipeline(on_validation(config, self.period, config.output.runs), observer=observer)
        seen, self.source = known.panel, (known.config.data, known.panel_stage.key.digest)
        if not np.array_equal(seen.calendar.times, self.calendar.times[: len(seen.calendar)]):
            what = "The data that end before the final test range have another calendar than the whole."
            raise ConfigError(what, where="data", expected="a source whose past does not depend on where it ends")
        self.fingerprint = seen.fingerprint
        self.direction = request.direction or direction_of(request.metric, config)
        self.identity = self._identity()
        # The same search goes on, another begins anew.
        self.name = f"search-{sha256(self.identity)[:12]}"
        self.folder = Path(config.output.runs) / self.name
        self.trials: list[TrialResult] = []

    def run(self) -> SearchResult:
        request, interrupted = self.request, False
        options = (self.direction, request.seed, request.batch, request.storage)
        with open_study(self.name, self.identity, *options) as (study, others):
            changes = _changes(self.identity, others)
            if not study.finished() and changes is not None:
                begun = "a new study begins, and the trials of the old one stay in the storage, unused"
                self.observer.notice(f"{changes} changed since this search was last run: {begun}")
            countdown = Countdown(self.observer, "trials", request.trials)
            try:
                self._remember(study, countdown)
                with ExitStack() as stack:
                    workers = workers_of(self.reference.executor, stack)
                    while len(self.trials) < request.trials:
                        self._run_batch(study, workers, countdown)
                        self._remember(study, countdown)
            except KeyboardInterrupt:
                if not self.trials:
                    raise
                interrupted = True
            countdown.finish()
        result = SearchResult(request, self.direction, self.period, tuple(self.trials), self.folder, interrupted)
        write_atomically(self.folder / "search.json", result.to_json().encode())
        return result

    def _identity(self) -> dict[str, str]:
        """Return digests of everything that decides the trials of a search but their number.

        ``question``: the space, the metric, and how they are asked for; ``settings``: the configuration that trials
        have in common, files outside this project included; ``data``: the fingerprint of what trials see; ``code``: of
        all that a trial may run, and of the search.
        """
        request, space = self.request, self.space
        overrides = [text for text in request.overrides if re.split(r"[.=]", text.lstrip("+~"))[0] not in _AROUND]
        common = [cell.reason if cell.config is None else settings_of(cell.config) for cell in space.cells.values()]
        return {
            "question": sha256({**request.asked(self.direction), "overrides": overrides}),
            "settings": sha256({"cells": common, "period": asdict(self.period.windows)}),
            "data": self.fingerprint,
            "code": code_digest("harness.run.search.trials", "harness.run.pipeline", *space.modules),
        }

    def _remember(self, study: SeededStudy, countdown: Countdown) -> None:
        """Take over the trials of an earlier process, or of another one that makes the same search now."""
        for found in study.finished()[len(self.trials) : self.request.trials]:
            self.trials.append(from_plain(TrialResult, found.user_attrs))
            countdown.ended(None)

    def _run_batch(self, study: SeededStudy, workers: StartWorkers, countdown: Countdown) -> None:
        """Run trials, those of workers all at once."""
        began = time.perf_counter()
        asked = study.ask(lambda trial: self._moved(self.space.suggest(trial)), self.request.trials)
        configs = [one.value.config for one in asked if one.value.config is not None]
        dispatched = Dispatched(configs, self.observer, self.memory, workers)

        def run_one(config: ExperimentConfig) -> ExperimentResult:
            dispatched.work_of(config)
            return run(config, self.observer, dispatched.cache_of(config))

        for one in asked:
            ended = run_cell(one.value, run_one)
            trial = self._judged(one.number, ended)
            study.tell(one, trial.value, asdict(trial))
            self.trials.append(trial)
            computed = ended.result is not None and not ended.result.reused
            countdown.ended((time.perf_counter() - began) / len(asked) if computed else None)
            self.tell(trial)

    def _moved(self, cell: Cell) -> Cell:
        if cell.config is None:
            return cell
        try:
            period = validation_period(cell.config.windows, self.calendar, cell.config.label.look_ahead)
            self._refuse_another_question(cell.config, period)
            return replace(cell, config=on_validation(cell.config, period, str(self.folder)))
        except HarnessError as error:
            return replace(cell, config=None).refused(error)

    def _refuse_another_question(self, config: ExperimentConfig, period: ValidationPeriod) -> None:
        names = ("data", "label", "samples", "evaluation")
        changed = [name for name in names if describe(getattr(config, name)) != describe(getattr(self.reference, name))]
        if changed:
            what, got = "Trials that are judged differently cannot be compared.", "a searched key that changes it"
            expected = "keys of the features, preprocess, model, adaptation, or windows.step and windows.kind"
            raise RefusedError(what, where=changed[0], got=got, expected=expected)
        if period.judged != self.period.judged:
            what = "Trials that are judged on other times cannot be compared."
            got, expected = " … ".join(period.judged), " … ".join(self.period.judged)
            raise RefusedError(what, where="windows", got=got, expected=expected)

    def _judged(self, number: int, cell: Cell) -> TrialResult:
        """Return how a trial ended, with its metric; refuse data that have changed, and a metric that no run has."""
        result, metric = cell.result, self.request.metric
        trial = TrialResult(number, cell.chosen, cell.overrides, cell.outcome, None, cell.reason, None)
        source, before = self.source
        if result is None and panel_key_of(source).digest == before:
            return trial
        fingerprint = None if result is None else result.snapshot.identity["data"]["fingerprint"]
        if result is None or fingerprint != self.fingerprint:
            what = "The data have changed since the search began, so that its trials cannot be compared."
            hint = "run the same command again: a new study begins on the new data"
            raise DataError(what, where="data", got=fingerprint, expected=self.fingerprint, hint=hint)
        if metric not in result.metrics:
            raise unknown_metric(metric, result.metrics)
        value, trial = result.metrics[metric], replace(trial, folder=str(result.folder))
        if value is None:
            return replace(trial, outcome=Outcome.REFUSED, reason=f"{metric} is undefined on the validation period")
        return replace(trial, value=float(value))


def _changes(identity: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> str | None:
    """Return what has changed since the same question was asked before; None when it was not."""
    told = {"settings": "its configuration", "data": "its data", "code": "its code or a library"}
    same = [other for other in others if other.get("question") == identity["question"]]
    changed = [[words for name, words in told.items() if other.get(name) != identity[name]] for other in same]
    changed.sort(key=len)  # of several, the one that is closest to this one
    return " and ".join(changed[0]) or None if changed else None
