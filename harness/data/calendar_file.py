"""Calendars as text: one time per line, a date or a date with a clock time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.dates import period_of
from harness.data.text_lines import read_lines
from harness.errors import DataError

_SHOWN = 5
_PLAIN = re.compile(
    r"(?:1[7-9]|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)?"
)
_EXPECTED = "lines like 2017-01-03 or 2017-01-03 10:30:00"


def read_calendar(path: Path) -> Calendar:
    """Read one time per line; blank lines are ignored, a comment or a heading is not a time.

    Raises
    ------
    DataError
        When the file is not UTF-8 or empty, a line is no time, or the times do not increase; with the first offending
        lines.
    """
    lines = [(at, text.strip()) for at, text in read_lines(path, expected=_EXPECTED)]
    if not lines:
        raise DataError("The calendar is empty.", where=str(path), expected=_EXPECTED)
    times = _plain_times([text for _, text in lines])
    if times is None:
        times = _times(lines, path)
    _refuse_disorder(path, lines, times)
    return Calendar(times)


def _plain_times(texts: Sequence[str]) -> npt.NDArray[np.datetime64] | None:
    """Return ISO texts as `period_of` reads them, at once: a year of minutes has half a million; None for others."""
    if not all(_PLAIN.fullmatch(text) for text in texts):
        return None
    try:
        return np.array(texts, dtype="datetime64[ns]")
    except ValueError:
        return None


def _times(lines: Sequence[tuple[int, str]], path: Path) -> npt.NDArray[np.datetime64]:
    times, bad, hints = [], [], []
    for at, text in lines:
        try:
            period = period_of(text)
        except DataError as error:
            bad.append(f"line {at}: {text}")
            hints.append(error.hint)
            continue
        if not period.is_one_time:
            bad.append(f"line {at}: {text}")
            hints.append("each line is one day or one time, between 1678 and 2262")
        times.append(period.first)
    if bad:
        raise _refused(path, f"{len(bad)} line(s) of the calendar are no times.", bad, hints[0])
    return np.array(times, dtype="datetime64[ns]")


def _refuse_disorder(path: Path, lines: Sequence[tuple[int, str]], times: npt.NDArray[np.datetime64]) -> None:
    late = np.flatnonzero(times[1:] <= times[:-1]) + 1
    if late.size:
        bad = [f"line {lines[at][0]}: {lines[at][1]}, after {lines[at - 1][1]}" for at in late[:_SHOWN].tolist()]
        what = f"The calendar is not strictly increasing: {late.size} line(s) repeat or step back."
        raise _refused(path, what, bad, "sort the lines and keep each time once, as `sort -u` does")


def _refused(path: Path, what: str, bad: Sequence[str], hint: str | None) -> DataError:
    shown = "the first:\n" + "\n".join(f"    {line}" for line in bad[:_SHOWN])
    return DataError(what, where=str(path), got=shown, expected=_EXPECTED, hint=hint)


def time_texts(calendar: Calendar) -> list[str]:
    """Return each time as qlib writes it: a date when the calendar is daily, else date and clock time to the second.

    Times between two seconds keep as many digits as the calendar needs.
    """
    if calendar.is_daily:
        return [str(text) for text in np.datetime_as_string(calendar.times, unit="D")]
    unit = "s" if calendar.unit == "m" else calendar.unit
    return [str(text).replace("T", " ") for text in np.datetime_as_string(calendar.times, unit=unit)]
