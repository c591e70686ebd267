"""One configuration on other futures: the whole of it, or one window."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.audit.poison import loaded_once, poisoned
from harness.audit.replay import Replay
from harness.audit.splice import Splice
from harness.config.contracts import traits_of
from harness.data.source import Source
from harness.evaluation.predictions import Predictions
from harness.run.experiment import ExperimentResult, run
from harness.samples.interfaces import AdaptationTraits
from harness.samples.windows import Window
from harness.store.artifacts import ArtifactStore

SEED = 20_170_103


@dataclass(frozen=True, order=True)
class Cut:
    """After which calendar position the future is another one, and which window is then predicted."""

    position: int
    window: int


@dataclass(frozen=True)
class Foretold:
    """What is predicted when the future is another one, and the leaks that the adaptation names itself."""

    predictions: Predictions
    leaks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Futures:
    """Runs a configuration on other futures; its raw data are read once.

    Attributes
    ----------
    replay
        The pipeline.
    windows
        Of the real run; the calendar is the same in every future.
    folder
        For the stages of other panels.
    splice
        Makes tables of other futures from the real one, where that is proved to be the same.
    """

    replay: Replay
    windows: tuple[Window, ...]
    folder: Path
    splice: Callable[[], Splice]
    _source: Source = field(init=False)

    def __post_init__(self) -> None:
        """Read raw data at most once from here on."""
        object.__setattr__(self, "_source", loaded_once(self.replay.config.data))

    def whole(self, position: int) -> ExperimentResult:
        """Run everything, as `bench run` does, with another future after `position`."""
        return self.run("poisoned", poisoned(self._source, position, SEED))

    def window(self, cut: Cut, *, spliced: bool) -> Foretold:
        """Fit and predict one window with another future after the cut.

        Parameters
        ----------
        cut
            Where, and which window.
        spliced
            Take the features up to the cut from the store, where it is proved that nothing later is in them; everything
            that learns is fitted anew in any case.
        """
        folder = self.folder / f"window-{cut.window}-{cut.position}"
        try:
            panel = poisoned(self._source, cut.position, SEED).load()
            table = self.splice().of(panel, cut.position) if spliced else None
            if table is None:
                table = self.replay.table(panel, ArtifactStore(folder))
            adaptation = self.replay.adapt(table, self.windows)
            predictions = self.replay.predict_one(table, self.windows, cut.window, adaptation)
            return Foretold(predictions, traits_of(adaptation, AdaptationTraits).leaks)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def again(self) -> ExperimentResult:
        """Run everything on the real panel, in an empty store."""
        return self.run("again", self._source)

    def run(self, name: str, source: Source) -> ExperimentResult:
        """Run everything on a source, in a store of its own, without the intervals, which no prediction needs."""
        config, folder = self.replay.config, self.folder / name
        output = replace(config.output, store=str(folder / "store"), runs=str(folder / "runs"))
        criteria = replace(config.evaluation, significance=None)
        changed = replace(config, data=source, output=output, evaluation=criteria)
        return run(changed, self.replay.observer, ArtifactStore(folder / "store"))
