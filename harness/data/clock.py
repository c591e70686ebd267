"""Fields that the clock of the data gives: known of every time, however far ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # whoever only asks for their names loads no pandas
    import pandas as pd

_DAY, _YEAR = 24.0, 365.25


def _hours(times: pd.DatetimeIndex) -> npt.NDArray[Any]:
    return np.asarray(times.hour + times.minute / 60.0 + times.second / 3600.0)


CALENDAR_FIELDS: Mapping[str, Callable[[pd.DatetimeIndex], npt.NDArray[Any]]] = MappingProxyType(
    {
        "hour": _hours,
        "weekday": lambda times: np.asarray(times.day_of_week),
        "month": lambda times: np.asarray(times.month),
        "yearday": lambda times: np.asarray(times.day_of_year),
        "hour_sin": lambda times: np.sin(2 * np.pi * _hours(times) / _DAY),
        "hour_cos": lambda times: np.cos(2 * np.pi * _hours(times) / _DAY),
        "year_sin": lambda times: np.sin(2 * np.pi * (times.day_of_year + _hours(times) / _DAY) / _YEAR),
        "year_cos": lambda times: np.cos(2 * np.pi * (times.day_of_year + _hours(times) / _DAY) / _YEAR),
    }
)
HOLIDAY = "holiday"
