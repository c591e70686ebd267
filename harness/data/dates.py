"""The one reader of dates: membership, calendars, windows, splits and command-line values all mean the same by a text.

=====================================  ===================================  ========================================
written                                as a start                           as an end
=====================================  ===================================  ========================================
``2019``                               first instant of the year            last instant of the year
``2019-03``, ``2019/03``               first instant of the month           last instant of the month
``2019-03-01``, ``2019/3/1``,          midnight at which the day begins     last instant of the day
``2019.03.01``, ``20190301``
a date with a clock time               that instant                         that instant
empty, ``null``, ``None``, ``NaT``     open: before everything              open: after everything
=====================================  ===================================  ========================================

A clock time follows ``T`` or a blank, from hours to nanoseconds (``2019-03-01 10:30``, ``20190301T103000.123``); whole
numbers are read as their digits. A date before 1677-09-22 or after 2262-04-10, such as 9999-12-31, is open on that
side. The year always comes first and has four digits. Time zones are refused: times are the local time of the data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError

When = str | int | date | datetime | np.datetime64 | None
"""What a date may be given as; None is an open end."""

ACCEPTED = "a date such as 2019-03-01, 20190301, 2019-03 or 2019, or a time such as 2019-03-01 10:30:00"
NANOSECOND = np.timedelta64(1, "ns")

_EARLIEST = np.datetime64(-(2**63 - 1), "ns")
_LATEST = np.datetime64(2**63 - 1, "ns")
_SECONDS = (2**63 - 1) // 10**9
_NO_ZONE = "write the local time of the data, without a time zone"
_OPEN = {"", "null", "none", "nat", "nan"}
_LONG = r"(?P<year>[0-9]{4})(?:(?P<mark>[-/])(?P<month>[0-9]{1,2})(?:(?P=mark)(?P<day>[0-9]{1,2}))?)?"
_DOTTED = r"(?P<year>[0-9]{4})\.(?P<month>[0-9]{1,2})\.(?P<day>[0-9]{1,2})"
_SHORT = r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
_FRACTION = r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
_CLOCK = rf"(?P<hour>[0-9]{{1,2}})(?::(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}){_FRACTION})?)?"
_SHORT_CLOCK = rf"(?P<hour>[0-9]{{2}})(?P<minute>[0-9]{{2}})(?:(?P<second>[0-9]{{2}}){_FRACTION})?"
_DATE_FORMS = [rf"{day}(?:(?:T| +){_CLOCK})?" for day in (_LONG, _DOTTED, _SHORT)]
_FORMS = [re.compile(form) for form in (*_DATE_FORMS, rf"{_SHORT}(?:T| +)?{_SHORT_CLOCK}")]
_ZONE = re.compile(r"(?P<local>.*[0-9])\s*(?:Z|z|[+-][0-9]{2}(?::?[0-9]{2})?|[A-Za-z_]{2,}(?:/[A-Za-z_]+)*)")
_YEAR_IN_DOUBT = re.compile(r"[0-9]{1,2}([-/.])[0-9]{1,2}\1[0-9]{1,4}.*|[0-9]{6}")
# What NumPy reads as this module does.
_PLAIN_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
_PLAIN = re.compile(rf"(?:1[7-9]|2[01])[0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}}(?:{_PLAIN_CLOCK})?")


@dataclass(frozen=True)
class Period:
    """What a date covers.

    Attributes:
        first, last: Its first and last instant, ``datetime64[ns]``, both included.
        text: ISO 8601, equal for equal periods; empty for an open end.
    """

    first: np.datetime64
    last: np.datetime64
    extent: Literal["instant", "day", "month", "year", "open"]
    text: str

    @property
    def is_one_time(self) -> bool:
        """Whether a calendar can hold it: a day or an instant within what 64 bits of nanoseconds can count."""
        return self.extent in ("day", "instant") and bool(_EARLIEST < self.first and self.last < _LATEST)


def period_of(when: When) -> Period:
    """Return what `when` covers; the table above says how texts are read.

    Raises:
        DataError: When it is no date, its parts are in doubt, the day does not exist, or it names a time zone.
    """
    if isinstance(when, datetime) and when.tzinfo is not None:
        raise _refused(when, _NO_ZONE)
    if isinstance(when, np.datetime64):  # its text is as exact as its unit: a unit of days covers the day
        text = str(when)
    else:
        text = when.isoformat() if isinstance(when, date) else "" if when is None else str(when).strip()
    if text.lower() in _OPEN:
        return Period(_EARLIEST, _LATEST, "open", "")
    parts = next((found.groupdict() for form in _FORMS if (found := form.fullmatch(text))), None)
    if parts is None or isinstance(when, bool) or (parts.get("hour") is not None and parts["day"] is None):
        raise _refused(when, _hint(text))
    month, day, fraction = parts["month"], parts["day"], (parts.get("fraction") or "").rstrip("0")
    try:
        hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
        moment = datetime(int(parts["year"]), int(month or 1), int(day or 1), hour, minute, second)
    except ValueError as error:
        raise _refused(when, f"there is no such day, or no such time of day: {error}") from error
    if parts.get("hour") is not None:
        iso = moment.isoformat(timespec="seconds" if second or fraction else "minutes")
        instant = _bounded(np.datetime64(iso))
        if _EARLIEST < instant < _LATEST:
            instant += np.timedelta64(int(fraction.ljust(9, "0")), "ns")
        return Period(instant, instant, "instant", f"{iso}.{fraction}" if fraction else iso)
    iso = moment.date().isoformat()[: 4 if month is None else 7 if day is None else 10]
    start = np.datetime64(iso)  # in a unit of years, months or days
    next_one = np.timedelta64(1, "Y" if month is None else "M" if day is None else "D")
    after = _bounded(start + next_one)
    last = after - NANOSECOND if _EARLIEST < after < _LATEST else after
    return Period(_bounded(start), last, "year" if month is None else "month" if day is None else "day", iso)


def moments_of(texts: Sequence[str]) -> tuple[npt.NDArray[np.datetime64], dict[int, str | None]]:
    """Return the days and instants that n texts name, and what to do about those that name none.

    Returns:
        (n,) ``datetime64[ns]``, NaT where a text is neither a day nor an instant; position → hint of each such text.
    """
    if all(_PLAIN.fullmatch(text) for text in texts):  # at once: a year of minutes has half a million
        try:
            return np.array(texts, dtype="M8[ns]"), {}
        except ValueError:
            pass  # a day that does not exist is found below
    moments, hints = np.full(len(texts), "NaT", dtype="M8[ns]"), dict[int, str | None]()
    for at, text in enumerate(texts):
        try:
            period = period_of(text)
        except DataError as error:
            hints[at] = error.hint
            continue
        if period.is_one_time:
            moments[at] = period.first
        else:
            hints[at] = "each line is one day or one time, between 1678 and 2262"
    return moments, hints


def time_texts(moments: npt.NDArray[np.datetime64], unit: str) -> list[str]:
    """Return each moment as files hold it: a day when the `unit` is D, else the day, a blank and the clock time."""
    return [str(text).replace("T", " ") for text in np.datetime_as_string(moments, unit=unit)]  # type: ignore[call-overload]


def configured_date(when: When, key: str) -> str | None:
    """Return the ISO text of a date of the configuration, None for an open end.

    Raises:
        ConfigError: When it is no date; names the `key`.
    """
    try:
        return period_of(when).text or None
    except DataError as error:
        raise ConfigError(error.what, where=key, got=error.got, expected=error.expected, hint=error.hint) from error


def configured_span(ends: tuple[When, When], key: str) -> tuple[str | None, str | None]:
    """Return the ISO texts of a first and a last date of the configuration, None for an open end.

    Raises:
        ConfigError: When one is no date, or the last ends before the first begins; names the `key`.
    """
    first, last = (configured_date(end, key) for end in ends)
    if period_of(last).last < period_of(first).first:
        what = "The last date lies before the first."
        raise ConfigError(what, where=key, got=f"{first} … {last}", expected="[FIRST,LAST], in order")
    return first, last


def _bounded(moment: np.datetime64) -> np.datetime64:
    """Return a moment in nanoseconds; what these cannot count is before or after everything."""
    # Compared as numbers: NumPy overflows where it compares units.
    seconds = int(moment.astype("M8[s]").astype(np.int64))
    if abs(seconds) >= _SECONDS:
        return _LATEST if seconds > 0 else _EARLIEST
    exact: np.datetime64 = moment.astype("M8[ns]")
    return exact


def _hint(text: str) -> str | None:
    if _YEAR_IN_DOUBT.fullmatch(text):
        return "write the year first and with four digits, as in 2019-03-01: anything else can be read in two ways"
    zoned = _ZONE.fullmatch(text)
    return _NO_ZONE if zoned and any(form.fullmatch(zoned["local"]) for form in _FORMS) else None


def _refused(given: object, hint: str | None) -> DataError:
    return DataError("This is not a date.", got=repr(str(given)), expected=ACCEPTED, hint=hint)
