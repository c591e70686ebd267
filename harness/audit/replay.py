"""The pipeline again, piece by piece: on another panel, another table, or for one window alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from harness.artifacts import ArtifactStore
from harness.audit.outside import Outside, Watched
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.interfaces import FittedAdaptation, History, Observer
from harness.predictions import Predictions
from harness.provenance import Stopwatch
from harness.rolling import Recipe, roll
from harness.samples import SampleTable
from harness.schedule import resolve_windows
from harness.stages import Stages
from harness.windows import Segment, Window

__all__ = ["Market", "Replay", "alone"]


@dataclass(frozen=True, eq=False)
class Market:
    """A panel and its sample table."""

    panel: Panel
    table: SampleTable


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

    def market(self, source: Source, store: ArtifactStore) -> Market:
        """Return panel and table of a source; both are kept in `store`."""
        stages = Stages(replace(self.config, data=source), store, Stopwatch(), self.observer)
        panel = stages.panel()
        return Market(panel, stages.table(panel))

    def windows(self, panel: Panel) -> tuple[Window, ...]:
        """Return the walk-forward windows."""
        return resolve_windows(self.config.windows, panel.calendar, self.config.label.look_ahead)

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
        recipe = Recipe(
            preprocess=self._watched(self.config.preprocess),
            adaptation=adaptation,
            model=self._watched(self.config.model),
            step=self.config.windows.step,
        )
        return roll(table, tuple(windows), recipe, observer=self.observer).predictions

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
