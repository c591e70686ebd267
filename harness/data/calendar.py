"""The calendar: a strictly increasing list of timestamps, daily or hourly, addressed by integer position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.data.dates import When, moments_of, period_of, time_texts
from harness.data.text_files import SHOWN, first_of, read_lines
from harness.errors import DataError

Unit = Literal["D", "m", "s", "ms", "us", "ns"]
_EXPECTED = "lines like 2017-01-03 or 2017-01-03 10:30:00"


@dataclass(frozen=True, eq=False)
class Calendar:
    """Strictly increasing timestamps.

    Attributes:
        times: (T,) ``datetime64[ns]``, read-only. A daily calendar holds midnights.

    Raises:
        DataError: When the times are empty, unsorted, duplicated, or not a time.
    """

    times: npt.NDArray[np.datetime64]

    def __post_init__(self) -> None:
        given = np.asarray(self.times).reshape(-1)
        times = _in_nanoseconds(given)
        missing = np.isnat(times)
        if times.size == 0:
            raise DataError("The calendar is empty.", where="calendar", expected="at least one timestamp")
        if missing.any():
            where = f"calendar position {int(missing.argmax())}"
            raise DataError("The calendar holds a missing time.", where=where, got="NaT")
        late = _late(times)
        if late.size:
            what = f"The calendar is not strictly increasing: {late.size} time(s) repeat or step back."
            where, got = f"calendar position {late[0]}", f"{times[late[0] - 1]} then {times[late[0]]}"
            raise DataError(what, where=where, got=got, expected="sorted timestamps without duplicates")
        times.setflags(write=False)
        object.__setattr__(self, "times", times)

    def __len__(self) -> int:
        return int(self.times.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and np.array_equal(self.times, other.times)

    def __hash__(self) -> int:
        return hash(self.times.tobytes())

    @cached_property
    def unit(self) -> Unit:
        """NumPy's name of the coarsest unit that holds every time exactly: D, m, s, ms, us or ns."""
        return next(unit for unit in get_args(Unit) if (self.times == self.times.astype(f"datetime64[{unit}]")).all())

    @property
    def texts(self) -> list[str]:
        """Each time as qlib writes it: a date when the calendar is daily, else with the clock time, in full seconds."""
        return time_texts(self.times, "s" if self.unit == "m" else self.unit)

    @property
    def reach(self) -> str:
        """The first and the last time, for messages."""
        return f"{self.format(0)} … {self.format(-1)}"

    def format(self, position: int) -> str:
        """Return the time at `position` as ISO text, as exactly as the calendar's unit: a date when it is daily."""
        return str(self.times[position].astype(f"datetime64[{self.unit}]"))

    def positions_of(self, times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.intp]:
        """Return (n,) the position of each time, -1 for one that the calendar does not hold."""
        # Most tables are sorted by time: what stands next to its like is looked up once.
        is_first = np.ones(times.size, dtype=np.bool_)
        is_first[1:] = times[1:].view(np.int64) != times[:-1].view(np.int64)
        begins = np.flatnonzero(is_first)
        distinct = times[begins]
        at = np.minimum(np.searchsorted(self.times, distinct), len(self) - 1)
        return np.repeat(np.where(self.times[at] == distinct, at, -1), np.diff(begins, append=times.size))

    def first_at_or_after(self, when: When) -> int:
        """Return the first position whose time is at or after the start of `when`; T when there is none."""
        return int(np.searchsorted(self.times, period_of(when).first, side="left"))

    def stop_after(self, when: When) -> int:
        """Return one past the last position at or before the end of `when`; a date counts to the end of its day."""
        return int(np.searchsorted(self.times, period_of(when).last, side="right"))

    def span(self, start: When, end: When) -> tuple[int, int]:
        """Return the half-open positions [first, stop) of the times from `start` to `end`, both included."""
        return self.first_at_or_after(start), self.stop_after(end)


def read_calendar(path: Path) -> Calendar:
    """Read one time per line; blank lines are ignored, a comment or a heading is not a time.

    Raises:
        DataError: When the file is not UTF-8 or empty, or lines are no times or do not increase; with the first ones.
    """
    lines = [(at, text.strip()) for at, text in read_lines(path, expected=_EXPECTED)]
    if not lines:
        raise DataError("The calendar is empty.", where=str(path), expected=_EXPECTED)
    times, hints = moments_of([text for _, text in lines])
    what, hint = f"{len(hints)} line(s) of the calendar are no times.", next(iter(hints.values()), None)
    bad = [f"line {lines[at][0]}: {lines[at][1]}" for at in hints]
    late = _late(times)
    if late.size and not bad:
        what = f"The calendar is not strictly increasing: {late.size} line(s) repeat or step back."
        hint = "sort the lines and keep each time once, as `sort -u` does"
        bad = [f"line {lines[at][0]}: {lines[at][1]}, after {lines[at - 1][1]}" for at in late[:SHOWN].tolist()]
    if bad:
        raise DataError(what, where=str(path), got=first_of(bad), expected=_EXPECTED, hint=hint)
    return Calendar(times)


_FIRST_DAY = np.datetime64("1677-09-22", "ns")  # whose beginning nanoseconds can count


def _in_nanoseconds(given: npt.NDArray[Any]) -> npt.NDArray[np.datetime64]:
    """Return a copy in nanoseconds: the caller's array stays writable."""
    given = given.astype("M8") if given.dtype.kind in "OSU" else given
    try:
        times: npt.NDArray[np.datetime64] = given.astype("M8[ns]")
        is_exact = given.dtype.kind != "M" or bool((times.astype(given.dtype) == given)[~np.isnat(times)].all())
        is_exact &= not (times < _FIRST_DAY).any()
    except OverflowError:  # before 2.5 NumPy counts on from the other end
        is_exact = False
    if not is_exact:
        what, got = "The calendar holds a time that nanoseconds cannot count.", f"{given.min()} … {given.max()}"
        raise DataError(what, where="calendar", got=got, expected="times between 1678 and 2262")
    return times


def _late(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.intp]:
    return np.flatnonzero(times[1:] <= times[:-1]) + 1  # not by differences: those of 300 years overflow


Days = npt.NDArray[np.int64]

_EXCHANGE_DAYS = 252  # what five trading days a week leave after holidays; the usual convention
_YEAR = 365.25
_LOOKED_AT = 500  # active days; the beginning of a calendar, so that days appended to it change nothing
_TWO_WEEKS = 14
_DAY = 24 * 3600 * 10**9  # nanoseconds
_ROUND_THE_CLOCK = _DAY * 20 / 24  # that a day's bars cover, when a calendar is too short to show its weekends
# Days between two times → (times a year, what that is called). Other spacings are divided into the year.
_NAMED = (
    *((7.0, 52, "weekly"), (14.0, 26, "every two weeks"), (15.2, 24, "twice a month"), (28.0, 13, "every four weeks")),
    *((30.4, 12, "monthly"), (60.9, 6, "every two months"), (91.3, 4, "quarterly"), (182.6, 2, "half-yearly")),
    (_YEAR, 1, "yearly"),
)
_ALMOST_FULL = 0.9  # share of a day's room that is bars, when only some are missing; a lunch break takes more
_NEAR = 0.12  # share by which a median spacing may miss a named one
_FOUR_WEEKS_SHARE = 0.8  # of the gaps that must be 28 days; months of business days have other ones


@dataclass(frozen=True)
class Frequency:
    """How often a calendar has a time.

    Attributes:
        periods_per_year: At least 1.
        name: Such as ``daily, five days a week``.
        is_exchange_daily: One time on each of five days a week.
    """

    periods_per_year: int
    name: str
    is_exchange_daily: bool = False


def frequency_of(calendar: Calendar) -> Frequency:
    """Return how often a calendar has a time, from its first 500 active days.

    A day is active when it holds a time. Several times a day are the usual number of an active day, times the active
    days of a year: 252 of five weekdays, 365 of seven, 52 for each weekday otherwise; a weekday counts when it holds at
    least half as many times as the busiest. One time a day is the same with one bar. Times further apart than four days
    are named by the median of their distances: weekly 52, monthly 12, quarterly 4, others as often as they fit into a
    year. Medians and that half make the rule blind to holidays, gaps, daylight saving and a few odd days; that only the
    beginning is looked at makes it blind to days appended later.
    """
    days, bars = np.unique(calendar.times.astype("datetime64[D]").astype(np.int64), return_counts=True)
    days, bars = days[:_LOOKED_AT], bars[:_LOOKED_AT]
    times = calendar.times[: int(bars.sum())]
    stops = np.cumsum(bars)
    cover = (times[stops - 1] - times[stops - bars]).astype(np.int64)  # of a day, from its first to its last time
    steps = np.diff(times).astype(np.int64)
    step = float(np.median(steps)) if steps.size else 1.0
    per_day = _per_day(cover / step + 1.0, bars)
    is_round_the_clock = bool(cover.any() and cover.max() + step >= _ROUND_THE_CLOCK)
    weekdays = _weekdays(days, bars, is_round_the_clock)
    active = {5: _EXCHANGE_DAYS, 7: 365}.get(weekdays, 52 * weekdays)
    called = {5: "five days a week", 7: "every day"}.get(weekdays, f"{weekdays} weekdays")
    if per_day > 1:
        return Frequency(per_day * active, f"{'hourly' if per_day == 24 else f'{per_day} times a day'}, {called}")
    gaps = steps / _DAY
    gap = float(np.median(gaps)) if gaps.size else 1.0
    if gap <= 4.0 and not (weekdays == 7 and gap > 1.25):
        return Frequency(active, f"daily, {called}", is_exchange_daily=weekdays == 5)
    if gap == 28.0 and float((gaps == 28).mean()) < _FOUR_WEEKS_SHARE:
        gap = 30.4
    distance, periods, name = min(_NAMED, key=lambda named: abs(named[0] - gap))
    is_named = abs(distance - gap) <= _NEAR * distance
    return Frequency(periods, name) if is_named else Frequency(max(round(_YEAR / gap), 1), f"every {gap:g} days")


def _per_day(slots: npt.NDArray[np.float64], bars: Days) -> int:
    """Return the bars of a usual day: its median number, or what its first and last time leave room for, if near."""
    # The first and the last day may be cut.
    days = slice(1, -1) if bars.size > 2 else slice(int(bars.argmax()), int(bars.argmax()) + 1)
    count, room = float(np.median(bars[days])), float(np.median(slots[days]))
    return round(room if count >= _ALMOST_FULL * room else count)


def _weekdays(days: Days, bars: Days, is_round_the_clock: bool) -> int:
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    if days[-1] - days[0] < _TWO_WEEKS:
        has_weekend = bool((weekday >= 5).any())
        sees_weekend = bool(((np.arange(days[0], days[-1] + 1) + 3) % 7 >= 5).any())
        return 7 if has_weekend or (is_round_the_clock and not sees_weekend) else 5
    count = np.bincount(weekday, weights=bars, minlength=7)
    return int((count >= count.max() / 2).sum())
