"""Run trials: each is an ordinary experiment on the validation period, and all are judged on the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import ConfigError, DataError, HarnessError, RefusedError
from harness.execution.progress import Observer
from harness.execution.serial import Serial
from harness.execution.task import Executor
from harness.run.experiment import ExperimentResult, run
from harness.run.fill import WorkersLostError, fill
from harness.run.search.objective import unknown_metric
from harness.run.search.period import ValidationPeriod, on_validation, validation_period
from harness.run.search.result import TrialResult
from harness.run.search.space import Space
from harness.run.stages import Stages
from harness.run.sweep import Cell, CellResult, Outcome, run_sweep
from harness.snapshots.provenance import Stopwatch
from harness.store.artifacts import ArtifactStore
from harness.store.memory import Shelf
from harness.store.records import describe


@dataclass(frozen=True, eq=False)
class Judge:
    """What all trials have in common: they are compared, so that they must be judged on the same.

    Attributes
    ----------
    reference
        A trial's configuration, on its own schedule.
    calendar
        Of the whole panel.
    fingerprint
        Of the data that every trial sees.
    period
        Where they are judged.
    observer
        Told about progress.
    """

    reference: ExperimentConfig
    calendar: Calendar
    fingerprint: str
    period: ValidationPeriod
    observer: Observer
    shelf: Shelf = field(default_factory=Shelf)

    @classmethod
    def of(cls, space: Space, observer: Observer) -> Judge:
        """Look at the data, and find the period in them.

        Raises
        ------
        ConfigError
            When there is no validation period, or the calendar before its end depends on what comes after it.
        """
        config = space.reference.config
        assert config is not None
        calendar = _panel(config, observer).calendar
        period = validation_period(config.windows, calendar, config.label.look_ahead)
        seen = _panel(on_validation(config, period, config.output.runs), observer)
        if not np.array_equal(seen.calendar.times, calendar.times[: len(seen.calendar)]):
            raise ConfigError(
                "The data that end before the final test range have another calendar than the whole.",
                where="data",
                expected="a source whose past does not depend on where it ends",
            )
        return cls(config, calendar, seen.fingerprint, period, observer)

    def run(self, cells: Sequence[Cell], executor: Executor, folder: Path) -> Iterator[CellResult]:
        """Run trials, those of workers all at once, and yield how each of them ended, in order.

        Raises
        ------
        DataError
            When the data have changed since the search began.
        """
        moved = [self._moved(cell, folder) for cell in cells]
        configs = [cell.config for cell in moved if cell.config is not None]
        shared = not isinstance(self.reference.executor, Serial)
        filled = (
            {id(configs[at]): done for at, done in fill(configs, executor, self.observer, self.shelf).items()}
            if shared
            else {}
        )

        def run_one(config: ExperimentConfig) -> ExperimentResult:
            done = filled.get(id(config))
            if done is not None and done.lost is not None:
                raise WorkersLostError(f"{config.case_name}: {done.lost}")
            return run(config, self.observer, shelf=self.shelf, shared=shared)

        for cell in moved:
            (ended,) = run_sweep([cell], run_one, lambda _: None)
            self._check_data(ended.result)
            yield ended

    def _moved(self, cell: Cell, folder: Path) -> Cell:
        """Return the cell on the validation period, or refused."""
        if cell.config is None:
            return cell
        try:
            period = validation_period(cell.config.windows, self.calendar, cell.config.label.look_ahead)
            self._refuse_another_question(cell.config, period)
            return replace(cell, config=on_validation(cell.config, period, str(folder)))
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

    def _check_data(self, result: ExperimentResult | None) -> None:
        if result is not None and result.snapshot.identity["data"]["fingerprint"] != self.fingerprint:
            raise DataError(
                "The data have changed since the search began, so that its trials cannot be compared.",
                where="data",
                got=result.snapshot.identity["data"]["fingerprint"],
                expected=self.fingerprint,
                hint="run the same command again: a new study begins on the new data",
            )


def judged(number: int, ended: CellResult, metric: str) -> TrialResult:
    """Return how a trial ended, with its metric.

    Raises
    ------
    ConfigError
        When a run has no such metric.
    """
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


def _panel(config: ExperimentConfig, observer: Observer) -> Panel:
    return Stages(config, ArtifactStore(Path(config.output.store)), Stopwatch(), observer).panel()
