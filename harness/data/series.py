"""Sets of series: which fields are known before their time, fields of the clock, and regular calendars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from harness.data.calendar import Calendar
from harness.data.clock import CALENDAR_FIELDS, HOLIDAY
from harness.data.dates import time_texts
from harness.data.panel import ALWAYS, Floats
from harness.data.rows import Rows
from harness.data.text_files import first_of
from harness.errors import ConfigError, DataError, closest
from harness.errors.extras import missing_extra
from harness.errors.limits import check_limits

if TYPE_CHECKING:  # slow to import
    import pandas as pd


@dataclass(frozen=True)
class SeriesFormat:
    """What a table of series may say beyond one of market data.

    Attributes:
        every: Distance of the times, such as ``1h`` or ``15min``: the calendar then has every time from the first to
            the last, and one that is missing in the table is a time without a row, so that 24 periods of an hour are a
            day. None: the times that occur.
        repeated: What to do with two rows of the same time and instrument, as when clocks go back: ``refused``, or
            their ``mean``. Three are always refused.
        known_ahead: Field → how many periods before its time its value is known, such as that of a weather forecast:
            the value at s may be read from s minus that on. Everything else is observed: known at its time.
        calendar: Fields made of the clock of the data, known for ever: hour (0 to 24, with its fraction), weekday (0 is
            Monday), month, yearday, their hour_sin, hour_cos, year_sin and year_cos, and holiday.
        holidays: Whose public holidays ``holiday`` is 1 on: a country, or a part of one, such as ``US`` or ``US-PA``,
            as the package `holidays` names them. None: it is 0 everywhere.

    Raises:
        ConfigError: When a value is impossible, or there are `holidays` without `holiday`.
    """

    every: str | None = None
    repeated: Literal["refused", "mean"] = "refused"
    known_ahead: dict[str, Annotated[int, Ge(1), Le(ALWAYS)]] = field(default_factory=dict)
    calendar: tuple[str, ...] = ()
    holidays: str | None = None

    def __post_init__(self) -> None:
        check_limits(self, "data.series")
        where, known = "data.series.calendar", (*CALENDAR_FIELDS, HOLIDAY)
        for name in self.calendar:
            if name not in known:
                what, hint = "There is no such field of a calendar.", closest(name, known)
                raise ConfigError(what, where=where, got=name, expected=", ".join(known), hint=hint)
        if self.holidays is not None and HOLIDAY not in self.calendar:
            what, expected = "Holidays are given, and no field of the calendar holds them.", "`holiday` among these"
            raise ConfigError(what, where="data.series.holidays", got=list(self.calendar), expected=expected)
        if self.every is not None:
            self._step(self.every)

    @staticmethod
    def _step(every: str) -> np.timedelta64:
        import pandas as pd  # see above

        try:
            step: np.timedelta64 = pd.Timedelta(every).to_timedelta64().astype("m8[ns]")
        except ValueError:
            step = np.timedelta64(0, "ns")
        if not step > np.timedelta64(0, "ns"):
            what, expected = "This is no distance of times.", "such as 15min, 1h or 1D"
            raise ConfigError(what, where="data.series.every", got=every, expected=expected)
        return step

    def calendar_of(self, times: npt.NDArray[np.datetime64], where: str) -> Calendar:
        """Return the calendar of a table's times; with `every` the regular one, from the first to the last of them.

        Raises:
            DataError: When a time lies between two of a regular calendar.
        """
        occurring = np.unique(times)
        if self.every is None:
            return Calendar(occurring)
        step = self._step(self.every)
        regular = np.arange(occurring[0], occurring[-1] + step, step)
        regular = regular[regular <= occurring[-1]]
        strangers = np.setdiff1d(occurring, regular)
        if strangers.size:
            what = f"{strangers.size} time(s) are not a multiple of {self.every} after the first."
            got, expected = first_of(time_texts(strangers, "m")), f"{time_texts(occurring[:1], 'm')[0]} and so on"
            hint = "data.series.every=null takes the times that occur"
            raise DataError(what, where=where, got=got, expected=expected, hint=hint)
        return Calendar(regular)

    def merged(self, rows: Rows) -> Rows:
        """Return rows of which two with equal keys are their mean, where that is asked for; a third is none of them."""
        if self.repeated != "mean" or not rows.repeats.any():
            return rows
        import pandas as pd  # see above

        keys = ["time", "instrument"]
        table = pd.DataFrame({"time": rows.times, "instrument": rows.codes, "place": rows.places, **rows.fields})
        twice = table.duplicated(keys, keep=False)
        pairs = table[twice].groupby(keys, sort=False)
        means = pairs.mean()[pairs.size() == 2].reset_index()  # a third row is no clock that went back
        others = table[twice].set_index(keys).index.isin(means.set_index(keys).index)
        found = pd.concat([table[~twice], table[twice][~others], means[list(table)]])
        fields = {name: found[name].to_numpy(np.float32) for name in rows.fields}
        times, codes, places = (found[name].to_numpy() for name in ("time", "instrument", "place"))
        return Rows(times, codes, rows.instruments, fields, places.astype(np.int64))

    def add_to(self, panel_fields: dict[str, Floats], calendar: Calendar) -> dict[str, int]:
        """Add the fields of the calendar to a panel's, and return name → lead of everything known before its time."""
        if not self.calendar:
            return dict(self.known_ahead)
        import pandas as pd  # see above

        times, shape = pd.DatetimeIndex(calendar.times), next(iter(panel_fields.values())).shape
        for name in self.calendar:
            if name in panel_fields:
                what, hint = f"The table has a column `{name}` already.", f"leave `{name}` out of one of them"
                raise ConfigError(what, where="data.series.calendar", got=name, hint=hint)
            values = self._holidays(times) if name == HOLIDAY else CALENDAR_FIELDS[name](times)
            panel_fields[name] = np.repeat(np.asarray(values, dtype=np.float32)[:, None], shape[1], axis=1)
        return {**self.known_ahead, **dict.fromkeys(self.calendar, ALWAYS)}

    def _holidays(self, times: pd.DatetimeIndex) -> npt.NDArray[Any]:
        if self.holidays is None:
            return np.zeros(len(times))
        import pandas as pd  # see above

        try:
            import holidays
        except ModuleNotFoundError as error:
            raise missing_extra("A calendar of holidays", "holidays", "data.series.holidays") from error
        country, _, part = str(self.holidays).partition("-")
        try:
            years = range(times.year.min(), times.year.max() + 1)
            free = holidays.country_holidays(country, subdiv=part or None, years=years)
        except NotImplementedError as error:
            expected = "a country or a part of one, such as US or US-PA"
            raise ConfigError(
                "There is no such place.", where="data.series.holidays", got=self.holidays, expected=expected
            ) from error
        return np.asarray(times.normalize().isin(pd.DatetimeIndex(sorted(free))))
