"""Universe membership as spans: qlib's instruments format, read into and written from a point-in-time mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.codes import CODE, check_codes, fault_of, like, rewritten
from harness.data.dates import NANOSECOND, Period, period_of, time_texts
from harness.data.text_files import SHOWN, first_of, read_lines, write_lines
from harness.errors import DataError

UnknownMembers = Literal["error", "drop"]
Positions = npt.NDArray[np.intp]
_DAY = np.timedelta64(1, "D")
_PER_SECOND = 10**9  # nanoseconds
_PER_DAY = 86_400 * _PER_SECOND
_EXPECTED = "lines of `code <tab> first day <tab> last day`"


@dataclass(frozen=True, eq=False)
class Spans:
    """When which instrument is a member; m spans, several per instrument allowed.

    Attributes:
        first, last: (m,) ``datetime64[ns]``, both included; a last *day* reaches to its end.
    """

    codes: tuple[str, ...]
    first: npt.NDArray[np.datetime64]
    last: npt.NDArray[np.datetime64]

    @property
    def instruments(self) -> tuple[str, ...]:
        """The distinct codes, sorted."""
        return tuple(sorted(set(self.codes)))


def read_spans(path: Path) -> Spans:
    """Read a file in qlib's instruments format: code, first day, last day, separated by tabs.

    Days are read by `harness.data.dates`: a last day without a time reaches to its end, an empty one or 9999-12-31 is
    open. Codes are kept as they are. There are no comments and no heading.

    Raises:
        DataError: When the file is empty or not UTF-8, or lines are no spans; with their number and the first ones.
    """
    spans, faults = [], []
    period = cache(period_of)  # a file has far fewer days than lines
    for at, line in read_lines(path, expected=_EXPECTED):
        cells = line.split("\t")
        try:
            spans.append(_span(cells, period))
        except DataError as error:
            faults.append((error, f"line {at}: {' | '.join(cells)}"))
    if faults:
        first = faults[0][0]
        alike = [line for error, line in faults if error.what == first.what]
        what = f"{len(alike)} line(s) of the membership file {first.what}."
        raise DataError(what, where=str(path), got=first_of(alike), expected=_EXPECTED, hint=first.hint)
    if not spans:
        raise DataError("The membership file is empty.", where=str(path), expected=_EXPECTED)
    codes, firsts, lasts = zip(*spans, strict=True)
    return Spans(codes, np.array(firsts, dtype="datetime64[ns]"), np.array(lasts, dtype="datetime64[ns]"))


def _span(cells: list[str], period: Callable[[str], Period]) -> tuple[str, np.datetime64, np.datetime64]:
    """Raise what the line does wrong."""
    if len(cells) < 3:
        hint = "columns are separated by tabs, not by blanks or commas"
        if len(cells) == 2:
            hint = "an open end is an empty third column, or 9999-12-31"
        raise DataError("lack a column", hint=hint)
    if any(cell.strip() for cell in cells[3:]):
        raise DataError("have more than three columns", hint="remove what is not code, first day, last day")
    code, fault = cells[0], fault_of(cells[0])
    if fault is not None:
        hint = f"the code {code!r} {fault}; expected is {CODE}"
        raise DataError("hold a code that cannot be kept as it is", hint=hint)
    try:
        first, last = period(cells[1]).first, period(cells[2]).last
    except DataError as error:
        hint = error.hint or "every line is a span: a heading or a comment is none"
        raise DataError("hold no date", hint=hint) from error
    if last < first:
        raise DataError("end before they begin")
    return code, first, last


def spans_of_snapshots(times: npt.NDArray[np.datetime64], codes: Sequence[str]) -> Spans:
    """Return the spans of n rows of snapshots: a member at one is one until just before the next, never earlier.

    Args:
        times: (n,) ``datetime64[ns]``, of the snapshot to which a row belongs; the last one is valid for ever.
        codes: n members.
    """
    dates, at = np.unique(times, return_inverse=True)
    last = np.append(dates[1:] - NANOSECOND, period_of(None).last)
    return Spans(tuple(codes), first=dates[at], last=last[at])


def mask_of(
    spans: Spans, calendar: Calendar, instruments: Sequence[str], *, unknown: UnknownMembers = "error", where: str
) -> npt.NDArray[np.bool_]:
    """Return (T, N) bool: is the instrument inside one of its spans at that time.

    Args:
        unknown: What to do with a member that is none of the N `instruments`: refuse, or leave it out.
        where: The file, for messages.

    Raises:
        DataError: When a member is unknown and `unknown` is ``error``, or is known but for leading zeros or how its
            accents are composed; or when nobody is ever a member on this calendar.
    """
    column = {code: at for at, code in enumerate(instruments)}
    strangers = [code for code in spans.instruments if code not in column]
    refused = strangers if unknown == "error" else rewritten(strangers, column)
    if refused:
        what = f"The membership file names {len(refused)} instrument(s) that have no prices."
        got = ", ".join(refused[:SHOWN]) + (", …" if len(refused) > SHOWN else "")
        hint = like(refused[0], column) or "set `unknown_members: drop` to leave them out, knowing that it is a bias"
        expected = f"some of the {len(column)} instruments of the panel"
        raise DataError(what, where=where, got=got, expected=expected, hint=hint)
    starts = np.searchsorted(calendar.times, spans.first, side="left")
    stops = np.searchsorted(calendar.times, spans.last, side="right")
    known = [at for at, code in enumerate(spans.codes) if code in column]
    columns = np.array([column[spans.codes[at]] for at in known], dtype=np.intp)
    mask = covered((len(calendar), len(column)), starts[known], stops[known], columns)
    if not mask.any():
        first, last = time_texts(np.array([spans.first.min(), spans.last.max()]), "D")
        what, got = "Membership and prices do not overlap: nobody is ever a member.", f"{first} … {last}"
        got, expected = f"{got} of {spans.codes[0]}, …", f"spans within {calendar.reach} of {instruments[0]}, …"
        near = like(strangers[0], column) if strangers else None
        raise DataError(what, where=where, got=got, expected=expected, hint=near)
    return mask


def covered(shape: tuple[int, int], starts: Positions, stops: Positions, columns: Positions) -> npt.NDArray[np.bool_]:
    """Return a (T, N) mask of what is inside half-open spans [start, stop) of columns; spans may overlap."""
    inside = np.zeros(shape, dtype=np.bool_)  # what it takes in memory counts more than a loop over spans
    for start, stop, column in zip(starts.tolist(), stops.tolist(), columns.tolist(), strict=True):
        inside[start:stop, column] = True
    return inside


def spans_of(mask: npt.NDArray[np.bool_], calendar: Calendar, instruments: Sequence[str]) -> Spans:
    """Return the spans of a (T, N) mask, ordered by code and time; the inverse of `mask_of`."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1]), dtype=np.int8)
    padded[1:-1] = mask
    change = np.diff(padded, axis=0).T  # (N, T + 1)
    columns, starts = np.nonzero(change == 1)
    _, stops = np.nonzero(change == -1)
    return spans_between(tuple(instruments[int(column)] for column in columns), calendar, starts, stops)


def spans_between(codes: tuple[str, ...], calendar: Calendar, starts: Positions, stops: Positions) -> Spans:
    """Return the spans of half-open calendar positions [start, stop); on a daily calendar they end with their day."""
    last = calendar.times[stops - 1]
    return Spans(codes, first=calendar.times[starts], last=last + _DAY - NANOSECOND if calendar.unit == "D" else last)


def write_spans(spans: Spans, path: Path) -> None:
    """Write spans in qlib's instruments format, so that `read_spans` gives them back.

    A first midnight and a last instant of a day are written as days, everything else with its time, to the second
    where that is exact. A code is never touched.
    """
    check_codes(spans.instruments, where=str(path))
    ends = []
    for moments, of_a_day in ((spans.first, 0), (spans.last, _PER_DAY - 1)):
        counts = moments.astype(np.int64)
        is_day = counts % _PER_DAY == of_a_day
        exact = time_texts(moments, "s" if (counts % _PER_SECOND == 0)[~is_day].all() else "ns")
        ends.append(np.where(is_day, time_texts(moments, "D"), exact))
    write_lines(path, [f"{code}\t{first}\t{last}" for code, first, last in zip(spans.codes, *ends, strict=True)])
