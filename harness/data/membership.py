"""Universe membership as spans: qlib's instruments format, read into and written from a point-in-time mask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.codes import CODE, check_codes, fault_of, like, rewritten
from harness.data.dates import Period, period_of
from harness.data.text_files import read_lines, write_lines
from harness.errors import DataError

UnknownMembers = Literal["error", "drop"]
_DAY = np.timedelta64(1, "D")
_NANOSECOND = np.timedelta64(1, "ns")
_EXPECTED = "lines of `code <tab> first day <tab> last day`"
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Spans:
    """When which instrument is a member; m spans, several per instrument allowed.

    Attributes:
        codes: m instrument codes.
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
        DataError: When the file is empty or not UTF-8, a line lacks a column or has more than three, a code cannot be
            kept, a day is no date, or a span ends before it begins; with the number of bad lines and the first ones.
    """
    rows = [(at, line.split("\t")) for at, line in read_lines(path, expected=_EXPECTED)]
    if not rows:
        raise DataError("The membership file is empty.", where=str(path), expected=_EXPECTED)
    _refuse(path, "lack a column", [row for row in rows if len(row[1]) < 3], _columns_hint)
    extra = [(at, cells) for at, cells in rows if any(cell.strip() for cell in cells[3:])]
    _refuse(path, "have more than three columns", extra, lambda _: "remove what is not code, first day, last day")
    unusable = [(at, cells) for at, cells in rows if fault_of(cells[0]) is not None]
    _refuse(path, "hold a code that cannot be kept as it is", unusable, lambda cells: _code_hint(cells[0]))
    known = {text: _read(text) for text in {cell for _, cells in rows for cell in cells[1:3]}}
    first, last = ([known[cells[at]] for _, cells in rows] for at in (1, 2))
    undated = [row for row, a, b in zip(rows, first, last, strict=True) if a is None or b is None]
    _refuse(path, "hold no date", undated, _dates_hint)
    spans = Spans(
        codes=tuple(cells[0] for _, cells in rows),
        first=np.array([period.first for period in first if period is not None], dtype="datetime64[ns]"),
        last=np.array([period.last for period in last if period is not None], dtype="datetime64[ns]"),
    )
    backward = np.flatnonzero(spans.last < spans.first)
    _refuse(path, "end before they begin", [rows[int(at)] for at in backward])
    return spans


def mask_of(
    spans: Spans, calendar: Calendar, instruments: Sequence[str], *, unknown: UnknownMembers = "error", where: str
) -> npt.NDArray[np.bool_]:
    """Return (T, N) bool: is the instrument inside one of its spans at that time.

    Args:
        spans: The membership.
        calendar, instruments: The T times and the N codes.
        unknown: What to do with a member that is none of the `instruments`: refuse, or leave it out.
        where: The file, for messages.

    Raises:
        DataError: When a member is unknown and `unknown` is ``error``, or is known but for leading zeros or how its
            accents are composed; or when nobody is ever a member on this calendar.
    """
    column = {code: at for at, code in enumerate(instruments)}
    strangers = [code for code in spans.instruments if code not in column]
    if strangers and unknown == "error":
        raise _unknown(strangers, column, where)
    mistaken = rewritten(strangers, column)
    if mistaken:
        raise _unknown(mistaken, column, where)
    starts = np.searchsorted(calendar.times, spans.first, side="left")
    stops = np.searchsorted(calendar.times, spans.last, side="right")
    edges = np.zeros((len(calendar) + 1, len(column)), dtype=np.int32)
    for code, start, stop in zip(spans.codes, starts, stops, strict=True):
        if start < stop and code in column:
            edges[start, column[code]] += 1
            edges[stop, column[code]] -= 1
    mask = np.cumsum(edges[:-1], axis=0) > 0
    if not mask.any():
        raise DataError(
            "Membership and prices do not overlap: nobody is ever a member.",
            where=where,
            got=f"spans {_day(spans.first.min())} … {_day(spans.last.max())} of {spans.codes[0]}, …",
            expected=f"spans within {calendar.format(0)} … {calendar.format(-1)} of {instruments[0]}, …",
            hint=like(strangers[0], column) if strangers else None,
        )
    return mask


def _unknown(codes: Sequence[str], known: Collection[str], where: str) -> DataError:
    return DataError(
        f"The membership file names {len(codes)} instrument(s) that have no prices.",
        where=where,
        got=", ".join(codes[:_SHOWN]) + (", …" if len(codes) > _SHOWN else ""),
        expected=f"some of the {len(known)} instruments of the panel",
        hint=like(codes[0], known) or "set `unknown_members: drop` to leave them out, knowing that it is a bias",
    )


def spans_of(mask: npt.NDArray[np.bool_], calendar: Calendar, instruments: Sequence[str]) -> Spans:
    """Return the spans of a (T, N) mask, ordered by code and time; the inverse of `mask_of`."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1]), dtype=np.int8)
    padded[1:-1] = mask
    change = np.diff(padded, axis=0).T  # (N, T + 1)
    columns, starts = np.nonzero(change == 1)
    _, stops = np.nonzero(change == -1)
    return spans_between(tuple(instruments[int(column)] for column in columns), calendar, starts, stops)


def spans_between(
    codes: tuple[str, ...], calendar: Calendar, starts: npt.NDArray[np.intp], stops: npt.NDArray[np.intp]
) -> Spans:
    """Return the spans of half-open calendar positions [start, stop); on a daily calendar they end with their day."""
    last = calendar.times[stops - 1]
    return Spans(codes, first=calendar.times[starts], last=last + _DAY - _NANOSECOND if calendar.is_daily else last)


def write_spans(spans: Spans, path: Path) -> None:
    """Write spans in qlib's instruments format, so that `read_spans` gives them back.

    A first midnight and a last instant of a day are written as days, everything else with its time, to the second
    where that is exact. A code is never touched.
    """
    check_codes(spans.instruments, where=str(path))
    first = _texts(spans.first, spans.first == spans.first.astype("datetime64[D]"))
    last = _texts(spans.last, spans.last + _NANOSECOND == (spans.last + _NANOSECOND).astype("datetime64[D]"))
    write_lines(path, [f"{code}\t{a}\t{b}" for code, a, b in zip(spans.codes, first, last, strict=True)])


def _texts(moments: npt.NDArray[np.datetime64], is_day: npt.NDArray[np.bool_]) -> list[str]:
    """Return each moment as a day where it `is_day`, else with its time."""
    in_seconds = bool((moments == moments.astype("datetime64[s]"))[~is_day].all())
    exact = np.datetime_as_string(moments, unit="s" if in_seconds else "ns").tolist()
    days = np.datetime_as_string(moments, unit="D").tolist()
    return [day if whole else str(time).replace("T", " ") for whole, day, time in zip(is_day, days, exact, strict=True)]


def _day(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[D]"))


def _read(text: str) -> Period | None:
    try:
        return period_of(text)
    except DataError:
        return None


def _columns_hint(cells: list[str]) -> str | None:
    if len(cells) == 2:
        return "an open end is an empty third column, or 9999-12-31"
    return "columns are separated by tabs, not by blanks or commas"


def _code_hint(code: str) -> str:
    return f"the code {code!r} {fault_of(code)}; expected is {CODE}"


def _dates_hint(cells: list[str]) -> str | None:
    for text in cells[1:3]:
        try:
            period_of(text)
        except DataError as error:
            return error.hint or "every line is a span: a heading or a comment is none"
    return None


def _refuse(
    path: Path,
    fault: str,
    rows: Sequence[tuple[int, list[str]]],
    hint: Callable[[list[str]], str | None] = lambda _: None,
) -> None:
    if rows:
        shown = "\n".join(f"    line {at}: {' | '.join(cells)}" for at, cells in rows[:_SHOWN])
        raise DataError(
            f"{len(rows)} line(s) of the membership file {fault}.",
            where=str(path),
            got=f"the first:\n{shown}",
            expected=_EXPECTED,
            hint=hint(rows[0][1]),
        )
