"""A finished run, and its pipeline again, part by part: on another table, or for one window alone."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from harness.audit.orders import Recorded, recording
from harness.audit.poison import Floats, label_of
from harness.config import ExperimentConfig
from harness.errors.limits import traits_of
from harness.evaluation.errors import Target
from harness.evaluation.evaluate import evaluate
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Observer, Silent
from harness.run.experiment import ExperimentResult
from harness.run.forecasts import collect
from harness.run.pipeline import Fitted, Pipeline
from harness.run.rolling import Recipe, WalkForward
from harness.samples.interfaces import History, ModelTraits
from harness.samples.table import SampleTable
from harness.samples.windows import Segment, Window

Item = TypeVar("Item")


class ProgressOnly:
    """An observer that shows the progress of another, and none of what code has to say of data that are not real."""

    def __init__(self, inner: Observer) -> None:
        self.start, self.advance, self.finish = inner.start, inner.advance, inner.finish
        self.estimate = inner.estimate

    def notice(self, message: str) -> None: ...


def each(observer: Observer, stage: str, items: Collection[Item]) -> Iterator[Item]:
    """Yield the items, and tell the observer when one is done."""
    observer.start(stage, len(items))
    for item in items:
        yield item
        observer.advance(stage)
    observer.finish(stage)


def adapted(config: ExperimentConfig, windows: tuple[Window, ...], table: SampleTable) -> Fitted:
    """Fit the adaptation anew, on everything that a run would show it."""
    history = History(
        as_of=table.as_of,
        windows=windows,
        segment=Segment(windows[0].train.start, windows[-1].learn_stop),
        step=config.windows.step,
        seed=config.seed,
        observer=Silent(),
    )
    return config.adaptation.fit(history)


def predicted(
    recipe: Recipe, windows: tuple[Window, ...], table: SampleTable, wanted: Sequence[int]
) -> Iterator[Predictions]:
    """Fit and predict some windows, in their order, and no other one; a chain comes with those before."""
    walk = WalkForward(table, windows, recipe)  # processors that are fitted once are those of its first window
    for index in wanted:
        levels = traits_of(recipe.model, ModelTraits).quantile_levels
        yield collect(table, (windows[index],), [walk.score(index)], levels)


@dataclass(frozen=True, eq=False)
class Judged:
    """A finished run's scores, judged again.

    Attributes:
        label: (n,) computed anew.
        overall: Metrics by name.
        recorded: The orders that were made; None without any.
        is_written_into: Whether a metric has changed what it was given.
    """

    label: Floats
    overall: Mapping[str, Any]
    recorded: Recorded | None
    is_written_into: bool


@dataclass(frozen=True, eq=False)
class Replay:
    """A finished run, and the stages of its configuration on the real panel, as the store holds them."""

    result: ExperimentResult
    real: Pipeline
    observer: Observer

    @property
    def config(self) -> ExperimentConfig:
        return self.result.config

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.result.windows

    @cached_property
    def predictions(self) -> Predictions:
        return self.result.predictions()

    @cached_property
    def judged(self) -> Judged:
        """The stored scores, judged again from the panel: by a label that is computed anew."""
        predictions, config, panel = self.predictions, self.config, self.real.panel
        label = label_of(panel, config.label.expression_text, predictions.row_times, predictions.codes)
        spans: dict[str, Any] = {"horizon": config.label.horizon, "look_ahead": config.label.look_ahead}
        spans["target"] = None if config.label.target is None else Target(*config.label.target)
        spans["same_unit"] = self.real.keeps_label_unit
        criteria, recorded = recording(config.evaluation)
        relabelled = replace(predictions, label=label)
        given = copy.deepcopy(relabelled)  # a metric of the user's may write into it
        overall = evaluate(given, panel, criteria, **spans).overall
        whole = (relabelled.start, relabelled.stop)
        changed = given.digest != relabelled.digest or given.labels_of(*whole) != relabelled.labels_of(*whole)
        return Judged(label, overall, recorded, changed)

    def date(self, position: int) -> str:
        """Return the date of a calendar position, which may lie beyond the end."""
        calendar, last = self.real.panel.calendar, len(self.real.panel.calendar) - 1
        after = f" + {position - last} periods" if position > last else ""
        return calendar.format(min(position, last)) + after
