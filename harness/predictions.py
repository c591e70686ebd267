"""The predictions of all windows, in (time, instrument) order, beside the labels they are judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.fingerprint import fingerprint_arrays

__all__ = ["Predictions"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """One score per row of the test range.

    Attributes
    ----------
    calendar, instruments
        What positions and codes stand for.
    start
        Calendar position of the first test time.
    offsets
        (S + 1,) int64; rows ``offsets[s] … offsets[s + 1]`` belong to calendar position ``start + s``.
    codes
        (n,) int32 instrument columns, increasing within a time.
    score
        (n,) float32 predictions.
    label
        (n,) float32 raw labels, NaN where there is none (yet).
    window_starts
        (W,) int64 calendar positions at which the windows' test segments start.
    """

    calendar: Calendar
    instruments: tuple[str, ...]
    start: int
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    label: npt.NDArray[np.float32]
    window_starts: npt.NDArray[np.int64]

    @property
    def stop(self) -> int:
        """One past the last test position."""
        return self.start + self.offsets.size - 1

    @property
    def digest(self) -> str:
        """Hex SHA-256 of times, instruments and scores."""
        codes = np.array(self.instruments, dtype=np.str_)[self.codes]
        times = np.repeat(self.calendar.times[self.start : self.stop], np.diff(self.offsets))
        return fingerprint_arrays({"times": times, "instruments": codes, "score": self.score})
