"""Whether two runs predict the same bits for the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    Attributes
    ----------
    rows
        How many rows are predicted differently, or by one run only.
    of
        How many rows were compared.
    time
        The first such time.
    appeared
        Of `rows`, those that only one of the runs predicts.
    largest
        Largest absolute difference of a score; 0 when only the rows differ.
    """

    rows: int
    of: int
    time: str
    appeared: int
    largest: float

    def __str__(self) -> str:
        """Say it in one line."""
        gone = f", {self.appeared} of them in one run only" if self.appeared else ""
        return f"{self.rows} of {self.of} predictions differ from {self.time} on{gone}; by up to {self.largest:.3g}"


def first_difference(left: Predictions, right: Predictions, start: int, stop: int) -> Difference | None:
    """Return where two runs part within calendar positions [start, stop), or None when every bit agrees.

    Both must have predicted the whole period. Rows are matched by (time, instrument).
    """
    first, second = _rows(left, start, stop), _rows(right, start, stop)
    keys = np.union1d(first[0], second[0])
    scores = [_at(keys, *rows) for rows in (first, second)]
    known = [np.isin(keys, rows[0], assume_unique=True) for rows in (first, second)]
    missing = known[0] != known[1]
    differ = missing | (scores[0].view(np.uint32) != scores[1].view(np.uint32))
    if not differ.any():
        return None
    instruments = len(left.instruments)
    both = differ & ~missing
    gaps = np.abs(scores[0][both].astype(np.float64) - scores[1][both])
    return Difference(
        rows=int(differ.sum()),
        of=int(keys.size),
        time=left.calendar.format(int(keys[differ][0] // instruments)),
        appeared=int(missing.sum()),
        largest=float(np.nanmax(gaps, initial=0.0)),
    )


def _rows(predictions: Predictions, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    times = predictions.row_times
    inside = (times >= start) & (times < stop)
    keys = times[inside] * len(predictions.instruments) + predictions.codes[inside]
    return keys, predictions.score[inside]


def _at(
    keys: npt.NDArray[np.int64], own: npt.NDArray[np.int64], score: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    found = np.full(keys.size, np.nan, dtype=np.float32)
    found[np.searchsorted(keys, own)] = score
    return found
