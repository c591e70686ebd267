"""What annualised figures take a year to be."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.calendar import Calendar
from harness.data.frequency import frequency_of
from harness.evaluation.portfolio import Rules

_QLIB_DAYS = 238  # qlib's portfolio analysis: the trading days of a Chinese year


@dataclass(frozen=True)
class Year:
    """A year in times of a calendar.

    Attributes
    ----------
    periods
        Times in a year, at least 1.
    source
        Where the number comes from, such as ``weekly, by the calendar``.
    note
        What was asked for and cannot be; None when there is nothing to say.
    """

    periods: int
    source: str
    note: str | None = None


def year_of(calendar: Calendar, configured: int | None, rules: Rules) -> Year:
    """Return the times in a year: the configured number, or that of the calendar.

    By qlib's rules a daily calendar of five weekdays has 238; those rules say nothing of other calendars, so that these
    keep their own number, with a note.

    Parameters
    ----------
    calendar
        The panel's.
    configured
        ``evaluation.signal.periods_per_year``; None: by the calendar.
    rules
        ``evaluation.rules``.
    """
    frequency = frequency_of(calendar)
    if configured is not None:
        return Year(configured, f"as configured; the calendar is {frequency.name}")
    if rules == "harness":
        return Year(frequency.periods_per_year, f"{frequency.name}, by the calendar")
    if frequency.is_exchange_daily:
        return Year(_QLIB_DAYS, f"{frequency.name}, by qlib's rules")
    note = (
        f"qlib's {_QLIB_DAYS} periods a year are those of a daily calendar of five weekdays; this one is "
        f"{frequency.name}, and annualised by {frequency.periods_per_year}"
    )
    return Year(frequency.periods_per_year, f"{frequency.name}, by the calendar", note)
