"""How many times of a calendar make a year, and what such a calendar is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar

Days = npt.NDArray[np.int64]

_EXCHANGE_DAYS = 252  # what five trading days a week leave after holidays; the usual convention
_YEAR = 365.25
_LOOKED_AT = 500  # active days; the beginning of a calendar, so that days appended to it change nothing
_TWO_WEEKS = 14
_ROUND_THE_CLOCK = np.timedelta64(20, "h")  # that a day's bars cover, when a calendar is too short to show its weekends
# Days between two times → (times a year, what that is called). Other spacings are divided into the year.
_NAMED = (
    (7.0, 52, "weekly"),
    (14.0, 26, "every two weeks"),
    (15.2, 24, "twice a month"),
    (28.0, 13, "every four weeks"),
    (30.4, 12, "monthly"),
    (60.9, 6, "every two months"),
    (91.3, 4, "quarterly"),
    (182.6, 2, "half-yearly"),
    (_YEAR, 1, "yearly"),
)
_FILLED = 0.9  # share of a day's room that is bars, when only some are missing; a lunch break takes more
_NEAR = 0.12  # share by which a median spacing may miss a named one
_FOUR_WEEKS_SHARE = 0.8  # of the gaps that must be 28 days; months of business days have other ones


@dataclass(frozen=True)
class Frequency:
    """How often a calendar has a time.

    Attributes
    ----------
    periods_per_year
        Times in a year, at least 1.
    name
        Such as ``daily, five days a week``.
    is_exchange_daily
        One time on each of five days a week: the calendar of an exchange.
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
    per_day = _per_day(times, bars)
    weekdays = _weekdays(days, bars, round_the_clock=bool(_covered(times, bars) >= _ROUND_THE_CLOCK))
    active = {5: _EXCHANGE_DAYS, 7: 365}.get(weekdays, 52 * weekdays)
    called = {5: "five days a week", 7: "every day"}.get(weekdays, f"{weekdays} weekdays")
    if per_day > 1:
        return Frequency(per_day * active, f"{'hourly' if per_day == 24 else f'{per_day} times a day'}, {called}")
    gaps = np.diff(times) / np.timedelta64(1, "D")
    gap = float(np.median(gaps)) if gaps.size else 1.0
    if gap > 4.0 or (weekdays == 7 and gap > 1.25):
        return _apart(gaps, gap)
    return Frequency(active, f"daily, {called}", is_exchange_daily=weekdays == 5)


def _per_day(times: npt.NDArray[np.datetime64], bars: Days) -> int:
    """Return the bars of a usual day: its median number, or what its first and last time leave room for, if near."""
    stops = np.cumsum(bars)
    first, last = times[stops - bars].astype(np.int64), times[stops - 1].astype(np.int64)
    step = float(np.median(np.diff(times).astype(np.int64))) if times.size > 1 else 1.0
    slots = (last - first) / step + 1.0
    # The first and the last day may be cut.
    days = slice(1, -1) if bars.size > 2 else slice(int(bars.argmax()), int(bars.argmax()) + 1)
    count, room = float(np.median(bars[days])), float(np.median(slots[days]))
    return round(room if count >= _FILLED * room else count)


def _apart(gaps: npt.NDArray[np.float64], gap: float) -> Frequency:
    if gap == 28.0 and float((gaps == 28).mean()) < _FOUR_WEEKS_SHARE:
        gap = 30.4
    distance, periods, name = min(_NAMED, key=lambda named: abs(named[0] - gap))
    if abs(distance - gap) <= _NEAR * distance:
        return Frequency(periods, name)
    return Frequency(max(round(_YEAR / gap), 1), f"every {gap:g} days")


def _covered(times: npt.NDArray[np.datetime64], bars: Days) -> np.timedelta64:
    """Return how much of a day its bars cover, on the day on which they cover most; nothing for one bar a day."""
    stops = np.cumsum(bars)
    longest: np.timedelta64 = (times[stops - 1] - times[stops - bars]).max()
    return longest + np.median(np.diff(times)) if longest > np.timedelta64(0) else longest


def _weekdays(days: Days, bars: Days, *, round_the_clock: bool) -> int:
    """Return how many days of the week are in use."""
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; 0 is Monday
    if days[-1] - days[0] < _TWO_WEEKS:
        has_weekend = bool((weekday >= 5).any())
        sees_weekend = bool(((np.arange(days[0], days[-1] + 1) + 3) % 7 >= 5).any())
        return 7 if has_weekend or (round_the_clock and not sees_weekend) else 5
    count = np.bincount(weekday, weights=bars, minlength=7)
    return int((count >= count.max() / 2).sum())
