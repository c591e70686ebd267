"""How somebody else's table is written: what the reader cannot see in the file itself, and is told."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harness.errors import ConfigError

Layout = Literal["long", "wide", "per_instrument"]
EPOCHS = ("s", "ms", "us", "ns")
"""Time formats that count from 1970-01-01 00:00 UTC."""
_YEAR = re.compile(r"(?<!%)(?:%%)*%[YyGcx]")


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written; what is None is recognised where it is in no doubt.

    Attributes
    ----------
    delimiter
        What stands between two cells. None takes the one of ``, ; tab |`` that gives the columns asked for.
    decimal
        ``.`` or ``,``; the other one may then group thousands. None looks at the numbers.
    encoding
        Such as ``cp1252`` or ``utf-16``. None reads UTF-8, and UTF-16 and UTF-32 by their first bytes.

    Raises
    ------
    ConfigError
        When a value is impossible.
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\n\r'):
            raise ConfigError(
                "A delimiter is one character.",
                where="data.csv.delimiter",
                got=repr(self.delimiter),
                expected='such as "," ";" "|" or a tab, which the shell writes as data.csv.delimiter="\\t"',
            )
        if self.decimal not in (None, ".", ","):
            raise ConfigError(
                "This is no decimal mark.",
                where="data.csv.decimal",
                got=repr(self.decimal),
                expected='".", "," or null',
            )
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError as error:
            raise ConfigError(
                "There is no such encoding.",
                where="data.csv.encoding",
                got=self.encoding,
                expected="such as utf-8, cp1252, latin-1, utf-16, gbk, shift_jis",
            ) from error


@dataclass(frozen=True)
class TableFormat:
    """How tables are written.

    Attributes
    ----------
    csv
        For CSV files.
    time_format
        How times are written, as in ``%d/%m/%Y``, or what they count since 1970: ``s``, ``ms``, ``us``, ``ns``. None
        reads times, dates and text with the year first.
    timezone
        Where the clock hangs that times with a zone are read on; None refuses such times.

    Raises
    ------
    ConfigError
        When there is no such time zone, or the time format names no year.
    """

    csv: CsvFormat = field(default_factory=CsvFormat)
    time_format: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.time_format not in (None, *EPOCHS) and not _YEAR.search(str(self.time_format)):
            raise no_time_format(self.time_format)
        try:
            ZoneInfo(self.timezone or "UTC")
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                "There is no such time zone.",
                where="data.timezone",
                got=self.timezone,
                expected="such as UTC, America/New_York, Asia/Shanghai",
            ) from error


def no_time_format(given: str | None, why: str = "it names no year") -> ConfigError:
    """Return the error for a time format that cannot be used."""
    return ConfigError(
        "This is no time format.",
        where="data.time_format",
        got=f"{given!r}: {why}",
        expected=f"such as %d/%m/%Y or %Y-%m-%d %H:%M, or one of {', '.join(EPOCHS)} since 1970",
    )
