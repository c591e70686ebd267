"""Calendars as text: one time per line, a date or a date with a clock time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.data.calendar import Calendar
from harness.errors import DataError

__all__ = ["read_calendar", "time_texts"]

_SHOWN = 5


def read_calendar(path: Path) -> Calendar:
    """Read one time per line; empty lines are ignored.

    Raises
    ------
    DataError
        When a line is no time, or the times do not increase; with the first offending lines.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError("The calendar is not text.", where=str(path), got=str(error)) from error
    times = [(at, line, _moment(line)) for at, line in enumerate(lines, start=1) if line]
    bad = [f"line {at}: {line}" for at, line, moment in times if moment is None]
    if bad:
        raise DataError(
            f"{len(bad)} line(s) of the calendar are no times.",
            where=str(path),
            got="the first:\n" + "\n".join(f"    {line}" for line in bad[:_SHOWN]),
            expected="lines like 2017-01-03 or 2017-01-03 10:30:00",
        )
    try:
        return Calendar(np.array([moment for _, _, moment in times], dtype="datetime64[ns]"))
    except DataError as error:
        raise DataError(error.what, where=f"{path}, {error.where}", got=error.got, expected=error.expected) from error


def time_texts(calendar: Calendar) -> list[str]:
    """Return each time as qlib writes it: a date when the calendar is daily, else date and clock time."""
    if calendar.is_daily:
        return [str(text) for text in np.datetime_as_string(calendar.times, unit="D")]
    return [str(text).replace("T", " ") for text in np.datetime_as_string(calendar.times, unit="s")]


def _moment(text: str) -> np.datetime64 | None:
    try:
        return np.datetime64(text, "ns")
    except ValueError:
        return None
