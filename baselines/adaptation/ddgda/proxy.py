"""Proxy data: a few chosen features, z-scored across instruments at each time, and a processed label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import DataError, closest
from harness.samples.preprocess import CSZScoreNorm, Fillna, Pipeline, apply
from harness.samples.table import AsOfView, RowIndex, SampleTable
from harness.samples.windows import Segment

_PER_TIME = Pipeline(features=(CSZScoreNorm(), Fillna(0.0)), label=(), refit="once")


def known_rows(view: AsOfView, start: int, names: Sequence[str] | None = None) -> SampleTable:
    """Return everything that `view` knows from position `start` on, as a table of its own.

    Args:
        view: The table ends at its decision; labels that have not matured are NaN.
        start: Times before it have no rows.
        names: The columns to keep, in this order; None keeps all without a copy.

    Raises:
        DataError: When a name is not a feature.
    """
    stop, label_stop = view.feature_stop, max(view.label_stop, start)
    features = view.features(start, stop)
    if names is not None:
        features = features[:, _columns(view.feature_names, names)]
    label = np.full(features.shape[0], np.nan, dtype=np.float32)
    known = view.label(start, label_stop)
    label[: known.size] = known
    offsets = np.zeros(len(view.calendar) + 1, dtype=np.int64)
    offsets[start : stop + 1] = view.offsets(start, stop)
    offsets[stop + 1 :] = features.shape[0]
    return SampleTable(
        calendar=view.calendar,
        instruments=(),
        index=RowIndex(offsets, np.array(view.codes(start, stop))),
        features=features,
        feature_names=tuple(view.feature_names if names is None else names),
        label=label,
        look_ahead=view.look_ahead,
    )


def standardised(table: SampleTable) -> SampleTable:
    """Return the table with every feature z-scored across the rows of each time (sample deviation); missing becomes 0.

    So does a feature that is constant at a time.
    """
    nothing = table.as_of(0)
    return apply(table, _PER_TIME.fit(nothing, Segment(0, 1)))


def _columns(known: tuple[str, ...], names: Sequence[str]) -> list[int]:
    for name in names:
        if name not in known:
            raise DataError(
                "A proxy feature does not exist.", where="adaptation.fea_names", got=name, hint=closest(name, known)
            )
    return [known.index(name) for name in names]
