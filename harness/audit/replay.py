"""The pipeline again, piece by piece: on another panel, another table, or for one window alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from harness.audit.outside import Outside, Watched
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Observer, Silent
from harness.run.rolling import collect, roll, window_stage
from harness.run.stages import Stages
from harness.run.window_stage import Recipe
from harness.samples.interfaces import FittedAdaptation, History, Preprocess
from harness.samples.table import SampleTable
from harness.samples.windows import Segment, Window
from harness.snapshots.provenance import Stopwatch
from harness.store.artifacts import ArtifactStore


class Unreal:
    """An observer that shows the bars of another, and keeps to itself what code has to say of what is not real.

    Parameters
    ----------
    inner
        Told about progress.
    """

    def __init__(self, inner: Observer) -> None:
        self.start, self.advance, self.finish = inner.start, inner.advance, inner.finish
        self.estimate = inner.estimate

    def notice(self, message: str) -> None:
        """Keep it."""


@dataclass(frozen=True)
class Replay:
    """Runs the stages of one configuration without keeping a window.

    Attributes
    ----------
    config
        The experiment.
    observer
        Told about progress.
    outside
        Records what the code under audit opens.
    """

    config: ExperimentConfig
    observer: Observer
    outside: Outside

    def table(self, panel: Panel, store: ArtifactStore) -> SampleTable:
        """Return the sample table of a panel; it is kept in `store`."""
        return Stages(self.config, store, Stopwatch(), self.observer).table(panel)

    def adapt(self, table: SampleTable, windows: Sequence[Window]) -> FittedAdaptation:
        """Fit the adaptation anew, on everything that a run would show it."""
        history = History(
            as_of=table.as_of,
            windows=tuple(windows),
            segment=Segment(windows[0].train.start, windows[-1].learn_stop),
            step=self.config.windows.step,
            seed=self.config.seed,
            observer=self.observer,
        )
        return cast("FittedAdaptation", self._watched(self.config.adaptation).fit(history))

    def predict(self, table: SampleTable, windows: Sequence[Window], adaptation: FittedAdaptation) -> Predictions:
        """Fit and predict windows; each result is made now, none is read from a store."""
        recipe = self._recipe(adaptation, self.config.preprocess)
        return roll(table, tuple(windows), recipe, observer=self.observer).predictions

    def predict_one(
        self,
        table: SampleTable,
        windows: Sequence[Window],
        index: int,
        adaptation: FittedAdaptation,
        preprocess: Preprocess | None = None,
    ) -> Predictions:
        """Fit and predict window `index` as a whole run does; `preprocess` stands in for the configured one."""
        chosen = alone(windows, index)
        recipe = self._recipe(adaptation, preprocess or self.config.preprocess)
        scored = window_stage(table, chosen, recipe, observer=Silent()).score(len(chosen) - 1)
        return collect(table, chosen[-1:], scored.score)

    def _recipe(self, adaptation: FittedAdaptation, preprocess: Preprocess) -> Recipe:
        return Recipe(
            preprocess=self._watched(preprocess),
            adaptation=adaptation,
            model=self._watched(self.config.model),
            step=self.config.windows.step,
        )

    def _watched(self, part: object) -> Any:
        return Watched(part, self.outside)


def alone(windows: Sequence[Window], index: int) -> tuple[Window, ...]:
    """Return the windows that are needed to predict window `index` as a whole run does.

    Processors that are fitted once are fitted for the first window, so it comes along; its test segment is stretched to
    close the gap, which changes nothing that is fitted.
    """
    first, wanted = windows[0], windows[index]
    if index == 0:
        return (first,)
    return replace(first, test=Segment(first.test.start, wanted.test.start)), wanted
