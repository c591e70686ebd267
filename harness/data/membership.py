"""Universe membership as spans: qlib's instruments format, read into and written from a point-in-time mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.errors import DataError, closest

__all__ = ["Spans", "UnknownMembers", "mask_of", "read_spans", "spans_of", "write_spans"]

UnknownMembers = Literal["error", "drop"]
_DAY_TEXT = len("2017-01-03")
_EXPECTED = "lines of `code <tab> first day <tab> last day`"
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Spans:
    """When which instrument is a member; m spans, several per instrument allowed.

    Attributes
    ----------
    codes
        m instrument codes.
    first, last
        (m,) ``datetime64[ns]``, both included; a last *day* reaches to its end.
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

    Raises
    ------
    DataError
        When the file is empty, a line lacks a column, a day is no date, or a span ends before it begins; with the
        number of bad lines and the first ones.
    """
    lines = [(at, line.split("\t")) for at, line in enumerate(_text(path).splitlines(), start=1) if line.strip()]
    if not lines:
        raise DataError("The membership file is empty.", where=str(path), expected=_EXPECTED)
    _refuse(path, "lack a column", [(at, cells) for at, cells in lines if len(cells) < 3])
    first = [_moment(cells[1]) for _, cells in lines]
    last = [_last_moment(cells[2]) for _, cells in lines]
    _refuse(path, "hold no date", [row for row, a, b in zip(lines, first, last, strict=True) if a is None or b is None])
    spans = Spans(
        codes=tuple(cells[0].strip() for _, cells in lines),
        first=np.array(first, dtype="datetime64[ns]"),
        last=np.array(last, dtype="datetime64[ns]"),
    )
    backward = np.flatnonzero(spans.last < spans.first)
    _refuse(path, "end before they begin", [lines[int(at)] for at in backward])
    return spans


def mask_of(
    spans: Spans, calendar: Calendar, instruments: Sequence[str], *, unknown: UnknownMembers = "error", where: str
) -> npt.NDArray[np.bool_]:
    """Return (T, N) bool: is the instrument inside one of its spans at that time.

    Parameters
    ----------
    spans
        The membership.
    calendar, instruments
        The T times and the N codes.
    unknown
        What to do with a member that is none of the `instruments`: refuse, or leave it out.
    where
        The file, for messages.

    Raises
    ------
    DataError
        When a member is unknown and `unknown` is ``error``, or when nobody is ever a member on this calendar.
    """
    column = {code: at for at, code in enumerate(instruments)}
    strangers = [code for code in spans.instruments if code not in column]
    if strangers and unknown == "error":
        raise DataError(
            f"The membership file names {len(strangers)} instrument(s) that have no prices.",
            where=where,
            got=", ".join(strangers[:_SHOWN]) + (", …" if len(strangers) > _SHOWN else ""),
            expected=f"some of the {len(column)} instruments of the panel",
            hint=closest(strangers[0], column)
            or "set `unknown_members: drop` to leave them out, knowing that it is a bias",
        )
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
            got=f"spans {spans.first.min().astype('M8[D]')} … {spans.last.max().astype('M8[D]')}",
            expected=f"spans within {calendar.format(0)} … {calendar.format(len(calendar) - 1)}",
        )
    return mask


def spans_of(mask: npt.NDArray[np.bool_], calendar: Calendar, instruments: Sequence[str]) -> Spans:
    """Return the spans of a (T, N) mask, ordered by code and time; the inverse of `mask_of`."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1]), dtype=np.int8)
    padded[1:-1] = mask
    change = np.diff(padded, axis=0).T  # (N, T + 1)
    columns, starts = np.nonzero(change == 1)
    _, stops = np.nonzero(change == -1)
    return Spans(
        codes=tuple(instruments[int(column)] for column in columns),
        first=calendar.times[starts],
        last=calendar.times[stops - 1],
    )


def write_spans(spans: Spans, path: Path) -> None:
    """Write spans in qlib's instruments format: days when all are midnights, else days with seconds."""
    ends = np.concatenate([spans.first, spans.last])
    daily = bool((ends == ends.astype("datetime64[D]")).all())
    first, last = (np.datetime_as_string(ends, unit="D" if daily else "s") for ends in (spans.first, spans.last))
    rows = zip(spans.codes, first, last, strict=True)
    path.write_text(
        "".join(f"{code}\t{a}\t{b}\n".replace("T", " ") if not daily else f"{code}\t{a}\t{b}\n" for code, a, b in rows)
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            "The membership file is not text.", where=str(path), got=str(error), expected=_EXPECTED
        ) from error


def _moment(text: str) -> np.datetime64 | None:
    try:
        moment = np.datetime64(text.strip(), "ns")
    except ValueError:
        return None
    return None if np.isnat(moment) else moment


def _last_moment(text: str) -> np.datetime64 | None:
    moment = _moment(text)
    if moment is not None and len(text.strip()) <= _DAY_TEXT:
        return moment + np.timedelta64(1, "D") - np.timedelta64(1, "ns")
    return moment


def _refuse(path: Path, fault: str, rows: Sequence[tuple[int, list[str]]]) -> None:
    if rows:
        shown = "\n".join(f"    line {at}: {' | '.join(cells)}" for at, cells in rows[:_SHOWN])
        raise DataError(
            f"{len(rows)} line(s) of the membership file {fault}.",
            where=str(path),
            got=f"the first:\n{shown}",
            expected=_EXPECTED,
        )
