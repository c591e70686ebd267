"""One configuration on counterfactual data, whose values after a cut are others: the whole of it, or one window."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.audit.comparison import differ, label_of
from harness.audit.poison import LoadedOnce, poisoned
from harness.audit.replay import Replay
from harness.config import ExperimentConfig
from harness.config.contracts import traits_of
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.data.source import Source, at_the_root
from harness.errors import DataError
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_features
from harness.run.experiment import run
from harness.samples.interfaces import AdaptationTraits
from harness.samples.table import RowIndex, SampleTable, index_rows
from harness.store.artifacts import ArtifactStore

Floats = npt.NDArray[np.float32]

SEED = 20_170_103
_MARGIN = 250  # times computed before those that are wanted, so that windows are full


@dataclass(eq=False)
class Splice:
    """Makes the table of a poisoned panel from that of the real one.

    The features of times up to a cut are taken from the real table only once they have been reproduced, bit for bit,
    by a computation that was handed nothing beyond the cut: the panel truncated there, not a poisoned one. So they are
    a function of data that the poison left as they are. What cannot be proved that way is not spliced.

    Attributes:
        config: Says what features and label are.
        panel, table: The real ones.
    """

    config: ExperimentConfig
    panel: Panel
    table: SampleTable
    _proved: int = field(default=0)
    _refuted: bool = field(default=False)

    def of(self, panel: Panel, cut: int) -> SampleTable | None:
        """Return the table of `panel`, whose future after position `cut` is another one.

        None when its past differs from the real one, or when the real table's past is not proved to be made of the
        past alone: then the table must be computed from the poisoned panel, and shows what it shows.
        """
        start = cut + 1
        if start >= len(panel.calendar) or not _same_past(self.panel, panel, start) or not self._is_causal(start):
            return None
        index, real = index_rows(panel, listed=self.config.samples.rows == "listed"), self.table.index
        kept = int(real.offsets[start])
        if not np.array_equal(index.offsets[: start + 1], real.offsets[: start + 1]):
            return None
        if not np.array_equal(index.codes[:kept], real.codes[:kept]):
            return None
        future = self._features(panel, index, start, len(panel.calendar))
        if future is None:
            return None
        features = np.concatenate([self.table.features[:kept], future])
        times = index.times(0, len(panel.calendar))
        label = label_of(panel, self.config.label.expression_text, times, index.codes)
        return replace(self.table, index=index, features=features, label=label)

    def _is_causal(self, stop: int) -> bool:
        """Whether the real features before `stop` are reproduced from panels that end there; earlier proofs count."""
        if not self._refuted and stop > self._proved:
            # From the last proof on is enough where windows are short; else from the first time.
            starts = dict.fromkeys((self._proved, 0))
            self._refuted = not any(self._reproduced(start, stop) for start in starts)
            self._proved = self._proved if self._refuted else stop
        return not self._refuted

    def _reproduced(self, start: int, stop: int) -> bool:
        again = self._features(_truncated(self.panel, 0, stop), self.table.index, start, stop)
        return again is not None and not differ(again, self.table.features[self.table.index.rows(start, stop)]).any()

    def _features(self, panel: Panel, index: RowIndex, start: int, stop: int) -> Floats | None:
        """Return the features of positions [start, stop) in the real table's columns; None when others have values."""
        names, first = self.table.feature_names, max(start - _MARGIN, 0)
        rows = index.rows(start, stop)
        values = np.full((rows.stop - rows.start, len(names)), np.nan, dtype=np.float32)
        if rows.stop == rows.start:
            return values
        offsets = np.concatenate([np.zeros(start - first, dtype=np.int64), index.local_offsets(start, stop)])
        features = self.config.features.feature_set()
        try:
            made = compute_features(_truncated(panel, first, stop), features, offsets, index.codes[rows])
        except DataError:
            return None
        columns = {name: at for at, name in enumerate(names)}
        if not columns.keys() >= set(made.names):
            return None
        values[:, [columns[name] for name in made.names]] = made.values
        return values


def _truncated(panel: Panel, start: int, stop: int) -> Panel:
    """Return the panel of positions [start, stop): what lies outside is not in it."""
    if (start, stop) == (0, len(panel.calendar)):
        return panel
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[start:stop]),
        fields={name: np.array(values[start:stop]) for name, values in panel.fields.items()},
        membership=np.array(panel.membership[start:stop]),
        benchmark=None,
        truth=None,
    )


def _same_past(left: Panel, right: Panel, stop: int) -> bool:
    return (
        left.instruments == right.instruments
        and left.fields.keys() == right.fields.keys()
        and np.array_equal(left.calendar.times, right.calendar.times)
        and np.array_equal(left.membership[:stop], right.membership[:stop])
        and not any(differ(values[:stop], right.fields[name][:stop]).any() for name, values in left.fields.items())
    )


class Cut(NamedTuple):
    """After which calendar position the future is another one, and which window is then predicted."""

    position: int
    window: int


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Runs a configuration on counterfactual data; its raw data are read once.

    Attributes:
        replay: The pipeline.
        folder: For the stages of other panels.
    """

    replay: Replay
    folder: Path

    @cached_property
    def _source(self) -> Source:
        return at_the_root(self.replay.config.data, LoadedOnce)

    @cached_property
    def _splice(self) -> Splice:
        return Splice(self.replay.config, self.replay.real.panel, self.replay.real.table)

    def whole(self, position: int | None) -> Predictions:
        """Run everything, as `bench run` does, in an empty store, without the intervals, which no prediction needs.

        Args:
            position: After which calendar position the future is another one; None for the real data.
        """
        config, folder = self.replay.config, self.folder / f"whole-{position}"
        changed = replace(
            config,
            data=self._source if position is None else poisoned(self._source, position, SEED),
            output=replace(config.output, store=str(folder / "store"), runs=str(folder / "runs")),
            evaluation=replace(config.evaluation, significance=None),
        )
        return run(changed, self.replay.observer, ArtifactStore(folder / "store")).predictions()

    def window(self, cut: Cut, *, spliced: bool) -> tuple[Predictions, tuple[str, ...]]:
        """Fit and predict one window with another future after the cut.

        Args:
            cut: Where, and which window.
            spliced: Take the features up to the cut from the store, where it is proved that nothing later is in them;
                everything that learns is fitted anew in any case.

        Returns:
            The predictions, and the leaks that the adaptation names itself.
        """
        panel = poisoned(self._source, cut.position, SEED).load()
        table = self._splice.of(panel, cut.position) if spliced else None
        with TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as folder:
            if table is None:
                table = self.replay.table(panel, ArtifactStore(Path(folder)))
            adaptation = self.replay.adapt(table)
            predictions = self.replay.predict_one(table, cut.window, adaptation)
        return predictions, traits_of(adaptation, AdaptationTraits).leaks
