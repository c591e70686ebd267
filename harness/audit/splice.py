"""The sample table of a poisoned panel, its past taken from the real one where that is proved to be the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.audit.comparison import differ, label_of
from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import DataError
from harness.features.engine import compute_features
from harness.samples.table import RowIndex, SampleTable, index_rows

Floats = npt.NDArray[np.float32]

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
    _proved: int | None = 0  # None: refuted

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
        past = ((index.offsets[: start + 1], real.offsets[: start + 1]), (index.codes[:kept], real.codes[:kept]))
        if not all(np.array_equal(*sides) for sides in past):
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
        if self._proved is not None and stop > self._proved:
            # From the last proof on is enough where windows are short; else from the first time.
            proved = any(self._reproduced(start, stop) for start in dict.fromkeys((self._proved, 0)))
            self._proved = stop if proved else None
        return self._proved is not None

    def _reproduced(self, start: int, stop: int) -> bool:
        again = self._features(_truncated(self.panel, 0, stop), self.table.index, start, stop)
        return again is not None and not differ(again, self.table.features[self.table.index.rows(start, stop)]).any()

    def _features(self, panel: Panel, index: RowIndex, start: int, stop: int) -> Floats | None:
        """Return the features of positions [start, stop) in the real table's columns; None when others have values."""
        names, first, rows = self.table.feature_names, max(start - _MARGIN, 0), index.rows(start, stop)
        values = np.full((rows.stop - rows.start, len(names)), np.nan, dtype=np.float32)
        if not len(values):
            return values
        offsets = np.concatenate([np.zeros(start - first, dtype=np.int64), index.local_offsets(start, stop)])
        features = self.config.features.feature_set()
        try:
            made = compute_features(_truncated(panel, first, stop), features, offsets, index.codes[rows])
        except DataError:
            return None
        if not set(made.names) <= set(names):
            return None
        values[:, [names.index(name) for name in made.names]] = made.values
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
