"""A hyper-parameter search that judges on the validation period; the final test range is out of its reach."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.artifacts import ArtifactStore, canonical_json, write_atomically
from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.errors import ConfigError, closest
from harness.evaluation import METRIC_DIRECTIONS
from harness.experiment import ExperimentResult, run
from harness.instantiate import describe
from harness.interfaces import Observer, Silent
from harness.provenance import Stopwatch
from harness.search.period import ValidationPeriod, on_validation, validation_period
from harness.search.space import Space, read_space
from harness.search.study import Direction, SeededStudy, open_study
from harness.shelf import Shelf
from harness.stages import Stages
from harness.sweep import Cell, Outcome, run_sweep

__all__ = ["SearchRequest", "SearchResult", "TrialResult", "search"]

RECORD = "search.json"
_STAGE = "trials"


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, and how.

    Attributes
    ----------
    overrides
        Hydra overrides; those with several values span the space.
    trials
        How many trials the search has when it is finished, those of a resumed study included.
    metric
        Any overall metric of a run.
    direction
        Which way it is better; None: as `METRIC_DIRECTIONS`, or the user's own metric, says.
    seed
        Of the sampler.
    storage
        A SQLite file that keeps the trials, so that the same request goes on where it stopped; None: memory.
    search_path
        Folders with further configuration groups.

    Raises
    ------
    ConfigError
        When fewer than one trial is asked for.
    """

    overrides: tuple[str, ...]
    trials: int = 20
    metric: str = "rank_IC"
    direction: Direction | None = None
    seed: int = 43
    storage: Path | None = None
    search_path: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a search without trials."""
        if self.trials < 1:
            raise ConfigError("A search needs a trial.", where="--trials", got=self.trials, expected="≥ 1")


@dataclass(frozen=True)
class TrialResult:
    """How one trial ended.

    Attributes
    ----------
    number
        0, 1, … in the order of the search.
    chosen
        Searched key → value, without the keys that do not apply.
    overrides
        The complete overrides, without the trial's schedule.
    outcome
        ``done``, ``refused`` (the values cannot be run, or have no metric), or ``failed`` (something crashed).
    value
        The metric on the validation period; None unless it is done.
    reason
        Why it was refused or failed.
    folder
        Holds its snapshot; None unless it has one.
    """

    number: int
    chosen: dict[str, str]
    overrides: tuple[str, ...]
    outcome: Outcome
    value: float | None
    reason: str | None
    folder: str | None

    @property
    def name(self) -> str:
        """The chosen values as text."""
        return " ".join(f"{key}={value}" for key, value in self.chosen.items())


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A search, finished or interrupted.

    Attributes
    ----------
    request
        What was asked for.
    direction
        Which way the metric is better.
    period
        Where the trials were judged.
    trials
        In the order of the search.
    folder
        Holds ``search.json`` and the trials' snapshots.
    interrupted
        Whether Ctrl-C ended it.
    """

    request: SearchRequest
    direction: Direction
    period: ValidationPeriod
    trials: tuple[TrialResult, ...]
    folder: Path
    interrupted: bool = False

    @property
    def ranked(self) -> tuple[TrialResult, ...]:
        """The trials, best first; of equal ones the earlier, and those without a value last."""
        sign = -1.0 if self.direction == "maximize" else 1.0
        return tuple(sorted(self.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number)))

    @property
    def best(self) -> TrialResult | None:
        """The best trial; None when no trial has a value."""
        first = next(iter(self.ranked), None)
        return first if first is not None and first.value is not None else None

    @property
    def command(self) -> str | None:
        """The command that evaluates the best trial on the final test range, once; nothing here runs it."""
        if self.best is None:
            return None
        folders = [part for folder in self.request.search_path for part in ("--config-dir", str(folder))]
        return shlex.join(["bench", "run", *folders, *self.best.overrides])

    def to_json(self) -> str:
        """Return canonical JSON, equal for equal searches."""
        return canonical_json(
            {
                "metric": self.request.metric,
                "direction": self.direction,
                "seed": self.request.seed,
                "period": asdict(self.period.windows),
                "judged": list(self.period.judged),
                "final_test_begins": self.period.decision,
                "trials": [asdict(trial) for trial in self.ranked],
                "best": None if self.best is None else self.best.number,
                "command": self.command,
            },
            indent=1,
        )


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
    KeyboardInterrupt
        When it is interrupted before any trial has ended; afterwards the finished trials are returned.
    """
    observer = observer or Silent()
    space = read_space(request.overrides, search_path=request.search_path)
    judge = _Judge.of(space, request, observer)
    direction = request.direction or _direction(request.metric, judge.reference)
    name = _name(request, direction, judge)
    folder = Path(judge.reference.output.runs) / name
    trials: list[TrialResult] = []
    with open_study(name, direction, request.seed, request.storage) as study:
        trials += (_remembered(at, found.user_attrs) for at, found in enumerate(study.finished()))
        observer.start(_STAGE, request.trials)
        observer.advance(_STAGE, min(len(trials), request.trials))
        interrupted = False
        try:
            while len(trials) < request.trials:
                trials.append(_trial(study, space, judge, folder, len(trials)))
                tell(trials[-1])
                observer.advance(_STAGE)
        except KeyboardInterrupt:
            if not trials:
                raise
            interrupted = True
        observer.finish(_STAGE)
    result = SearchResult(request, direction, judge.period, tuple(trials[: request.trials]), folder, interrupted)
    write_atomically(folder / RECORD, result.to_json().encode())
    return result


@dataclass(frozen=True, eq=False)
class _Judge:
    """What all trials have in common: they are compared, so that they must be judged on the same."""

    reference: ExperimentConfig
    calendar: Calendar
    fingerprint: str
    period: ValidationPeriod
    metric: str
    observer: Observer
    shelf: Shelf = field(default_factory=Shelf)

    @classmethod
    def of(cls, space: Space, request: SearchRequest, observer: Observer) -> _Judge:
        config = space.reference.config
        assert config is not None
        panel = Stages(config, ArtifactStore(Path(config.output.store)), Stopwatch(), observer).panel()
        period = validation_period(config.windows, panel.calendar, config.label.look_ahead)
        return cls(config, panel.calendar, panel.fingerprint, period, request.metric, observer)

    def run(self, config: ExperimentConfig, folder: Path) -> ExperimentResult:
        period = validation_period(config.windows, self.calendar, config.label.look_ahead)
        self._refuse_another_question(config, period)
        result = run(on_validation(config, period, str(folder)), self.observer, shelf=self.shelf)
        if result.snapshot.identity["windows"] != list(period.walked):
            raise ConfigError(
                "The data that end before the final test range have another calendar than the whole.",
                where="data",
                expected="a source whose past does not depend on where it ends",
            )
        return result

    def _refuse_another_question(self, config: ExperimentConfig, period: ValidationPeriod) -> None:
        for name in ("data", "label", "samples", "evaluation"):
            if describe(getattr(config, name)) != describe(getattr(self.reference, name)):
                raise ConfigError(
                    "Trials that are judged differently cannot be compared.",
                    where=name,
                    got="a searched key that changes it",
                    expected="keys of the features, preprocess, model, adaptation, or windows.step and windows.kind",
                )
        if period.judged != self.period.judged:
            raise ConfigError(
                "Trials that are judged on other times cannot be compared.",
                where="windows",
                got=" … ".join(period.judged),
                expected=" … ".join(self.period.judged),
            )


def _trial(study: SeededStudy, space: Space, judge: _Judge, folder: Path, number: int) -> TrialResult:
    trial = study.ask()
    try:
        ended = _run(space.suggest(trial), judge, folder, number)
    except BaseException:
        study.forget(trial.number)
        raise
    study.tell(trial, ended.value, asdict(ended))
    return ended


def _run(cell: Cell, judge: _Judge, folder: Path, number: int) -> TrialResult:
    (ended,) = run_sweep([cell], lambda config: judge.run(config, folder), lambda _: None)
    trial = TrialResult(number, cell.chosen, cell.overrides, ended.outcome, None, ended.reason, None)
    if ended.result is None:
        return trial
    if judge.metric not in ended.result.metrics:
        raise _unknown_metric(judge.metric, ended.result.metrics)
    value = ended.result.metrics[judge.metric]
    trial = replace(trial, folder=str(ended.result.folder))
    if value is None:
        return replace(trial, outcome=Outcome.REFUSED, reason=f"{judge.metric} is undefined on the validation period")
    return replace(trial, value=float(value))


def _remembered(number: int, told: dict[str, Any]) -> TrialResult:
    record = {**told, "number": number, "overrides": tuple(told["overrides"]), "outcome": Outcome(told["outcome"])}
    return TrialResult(**record)


def _direction(metric: str, config: ExperimentConfig) -> Direction:
    directions = {**METRIC_DIRECTIONS, **{own.name: own.direction for own in config.evaluation.extra}}
    if metric not in directions:
        raise _unknown_metric(metric, directions)
    if directions[metric] == "none":
        raise ConfigError(
            f"Nothing says which way `{metric}` is better.",
            where="--direction",
            got=None,
            expected="minimize or maximize",
        )
    return "minimize" if directions[metric] == "lower" else "maximize"


def _unknown_metric(metric: str, known: Sequence[str] | dict[str, Any]) -> ConfigError:
    portfolio = "evaluation=portfolio has the metrics of a portfolio" if metric in METRIC_DIRECTIONS else None
    return ConfigError(
        "A run has no such metric.",
        where="--metric",
        got=metric,
        expected=", ".join(known),
        hint=portfolio or closest(metric, known),
    )


def _name(request: SearchRequest, direction: Direction, judge: _Judge) -> str:
    """Return a name that determines the trials but for their number: the same request goes on, another begins anew."""
    asked = {
        "overrides": list(request.overrides),
        "metric": request.metric,
        "direction": direction,
        "seed": request.seed,
        "data": judge.fingerprint,
        "period": asdict(judge.period.windows),
    }
    return f"search-{hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:12]}"
