"""The calendar: a strictly increasing list of timestamps, daily or hourly, addressed by integer position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.dates import When, period_of
from harness.errors import DataError

Unit = Literal["D", "m", "s", "ms", "us", "ns"]
_UNITS: tuple[Unit, ...] = ("D", "m", "s", "ms", "us", "ns")


@dataclass(frozen=True, eq=False)
class Calendar:
    """Strictly increasing timestamps.

    Attributes
    ----------
    times
        (T,) ``datetime64[ns]``, read-only. A daily calendar holds midnights.

    Raises
    ------
    DataError
        When the times are empty, unsorted, duplicated, or not a time.
    """

    times: npt.NDArray[np.datetime64]

    def __post_init__(self) -> None:
        """Normalise to nanoseconds and check the order."""
        given = np.asarray(self.times)
        times = np.array(given, dtype="datetime64[ns]").reshape(-1)
        if given.dtype.kind == "M" and (times.astype(given.dtype) != given.reshape(-1))[~np.isnat(times)].any():
            raise DataError(
                "The calendar holds a time that nanoseconds cannot count.",
                where="calendar",
                got=f"{given.min()} … {given.max()}",
                expected="times between 1678 and 2262",
            )
        if times.size == 0:
            raise DataError("The calendar is empty.", where="calendar", expected="at least one timestamp")
        if np.isnat(times).any():
            at = int(np.flatnonzero(np.isnat(times))[0])
            raise DataError("The calendar holds a missing time.", where=f"calendar position {at}", got="NaT")
        bad = np.flatnonzero(times[1:] <= times[:-1])  # not by differences: those of 300 years overflow
        if bad.size:
            first = int(bad[0])
            raise DataError(
                f"The calendar is not strictly increasing: {bad.size} time(s) repeat or step back.",
                where=f"calendar position {first + 1}",
                got=f"{times[first]} then {times[first + 1]}",
                expected="sorted timestamps without duplicates",
            )
        times.setflags(write=False)
        object.__setattr__(self, "times", times)

    def __len__(self) -> int:
        """Return T."""
        return int(self.times.size)

    def __eq__(self, other: object) -> bool:
        """Two calendars are equal when their times are."""
        return isinstance(other, Calendar) and np.array_equal(self.times, other.times)

    def __hash__(self) -> int:
        """Hash the content, so that equal calendars hash alike."""
        return hash(self.times.tobytes())

    @property
    def is_daily(self) -> bool:
        """True when every time is a midnight."""
        return self.unit == "D"

    @cached_property
    def unit(self) -> Unit:
        """NumPy's name of the coarsest unit that holds every time exactly: D, m, s, ms, us or ns."""
        return next(unit for unit in _UNITS if (self.times == self.times.astype(f"datetime64[{unit}]")).all())

    def format(self, position: int) -> str:
        """Return the time at `position` as ISO text, as exactly as the calendar's unit: a date when it is daily."""
        return str(self.times[position].astype(f"datetime64[{self.unit}]"))

    def position(self, when: When) -> int:
        """Return the position of exactly `when`.

        Raises
        ------
        DataError
            When the calendar does not hold it; the neighbours are named.
        """
        moment = period_of(when).first
        at = int(np.searchsorted(self.times, moment))
        if at < len(self) and self.times[at] == moment:
            return at
        near = [self.format(p) for p in (at - 1, at) if 0 <= p < len(self)]
        raise DataError("The calendar does not hold this time.", got=str(when), hint=f"nearest: {', '.join(near)}")

    def first_at_or_after(self, when: When) -> int:
        """Return the first position whose time is at or after the start of `when`; T when there is none."""
        return int(np.searchsorted(self.times, period_of(when).first, side="left"))

    def stop_after(self, when: When) -> int:
        """Return one past the last position at or before the end of `when`; a date counts to the end of its day."""
        return int(np.searchsorted(self.times, period_of(when).last, side="right"))

    def span(self, start: When, end: When) -> tuple[int, int]:
        """Return the half-open positions [first, stop) of the times from `start` to `end`, both included."""
        return self.first_at_or_after(start), self.stop_after(end)
