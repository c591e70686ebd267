"""The configured dates, resolved on a calendar to walk-forward windows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from harness.config import WindowsConfig
from harness.data.calendar import Calendar
from harness.data.dates import When
from harness.errors import ConfigError, RefusedError
from harness.samples.windows import Schedule, Segment, Window, walk_forward

Dates = tuple[When, When]


def resolve_schedule(config: WindowsConfig, calendar: Calendar, look_ahead: int) -> Schedule:
    """Return the schedule in calendar positions.

    Where no dates are given, the calendar is cut by `config.split`.

    Raises
    ------
    ConfigError
        When a segment holds no time of the calendar; the key and the calendar's range are named.
    """
    if config.train is not None and config.test is not None:
        train = _segment(calendar, config.train, "windows.train")
        valid = None if config.valid is None else _segment(calendar, config.valid, "windows.valid")
        test = _segment(calendar, config.test, "windows.test")
        _refuse_overlap(config, train, valid, test)
    else:
        train, valid, test = _cut(len(calendar), config.split)
    return Schedule(
        train=train,
        valid=valid,
        test=test,
        step=config.step,
        look_ahead=look_ahead,
        kind=config.kind,
        embargo=config.embargo,
        purge_valid=config.purge_valid,
        include_valid=config.include_valid,
    )


def resolve_windows(config: WindowsConfig, calendar: Calendar, look_ahead: int) -> tuple[Window, ...]:
    """Return the walk-forward windows of a configuration on a calendar."""
    return walk_forward(resolve_schedule(config, calendar, look_ahead))


def describe_windows(windows: tuple[Window, ...], calendar: Calendar) -> list[dict[str, object]]:
    """Return each window as first and last dates, for snapshots and for people."""

    def dates(segment: Segment | None) -> list[str] | None:
        return None if segment is None else [calendar.format(segment.start), calendar.format(segment.last)]

    return [
        {"index": w.index, "train": dates(w.train), "valid": dates(w.valid), "test": dates(w.test)} for w in windows
    ]


def _segment(calendar: Calendar, dates: Dates, key: str) -> Segment:
    start, stop = calendar.span(*dates)
    if start >= stop:
        first, last = calendar.format(0), calendar.format(len(calendar) - 1)
        raise ConfigError(
            "The segment holds no time of the calendar.",
            where=key,
            got=_text(dates),
            expected=f"first and last date, in order, within {first} … {last}",
        )
    return Segment(start, stop)


def _refuse_overlap(config: WindowsConfig, train: Segment, valid: Segment | None, test: Segment) -> None:
    named = [("train", train), ("valid", valid), ("test", test)]
    given = [(name, segment) for name, segment in named if segment is not None]
    for (earlier, first), (later, second) in itertools.pairwise(given):
        if second.start < first.stop:
            dates = [f"{name} {_text(getattr(config, name))}" for name in (earlier, later)]
            raise ConfigError(
                "Segments must follow each other without overlap.",
                where=f"windows.{later}",
                got=", ".join(dates),
                expected=f"a {later} segment that starts after {_text(getattr(config, earlier)[1:])}",
            )


def _text(dates: Sequence[When]) -> str:
    return " … ".join("open" if date is None else str(date) for date in dates)


def _cut(times: int, split: tuple[float, float, float]) -> tuple[Segment, Segment | None, Segment]:
    first = round(times * split[0])
    second = round(times * (split[0] + split[1]))
    last = round(times * sum(split))
    if not 0 < first <= second < last:
        raise RefusedError(
            "The calendar is too short to be cut into train, valid and test.",
            where="windows.split",
            got=f"{times} periods by {list(split)}",
            expected="a longer calendar, or dates in windows.train and windows.test",
        )
    return Segment(0, first), Segment(first, second) if second > first else None, Segment(second, last)
