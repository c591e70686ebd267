"""What annualised figures take a year to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.calendar import Calendar, frequency_of
from harness.errors import DataError
from harness.evaluation.portfolio import Rules

_QLIB_DAYS = 238  # qlib's portfolio analysis: the trading days of a Chinese year


@dataclass(frozen=True)
class Year:
    """A year in times of a calendar.

    Attributes:
        periods: Times in a year, at least 1.
        source: Where the number comes from, such as ``weekly, by the calendar``.
        note: What was asked for and cannot be; None when there is nothing to say.
    """

    periods: int
    source: str
    note: str | None = None


def year_of(calendar: Calendar, configured: int | None, rules: Rules) -> Year:
    """Return the times in a year: the configured number, or that of the calendar.

    By qlib's rules a daily calendar of five weekdays has 238; those rules say nothing of other calendars, so that these
    keep their own number, with a note.

    Args:
        calendar: The panel's.
        configured: ``evaluation.signal.periods_per_year``; None: by the calendar.
        rules: ``evaluation.rules``.
    """
    frequency = frequency_of(calendar)
    if configured is not None:
        return Year(configured, f"as configured; the calendar is {frequency.name}")
    if rules == "harness":
        return Year(frequency.periods_per_year, f"{frequency.name}, by the calendar")
    if frequency.is_exchange_daily:
        return Year(_QLIB_DAYS, f"{frequency.name}, by qlib's rules")
    note = (
        f"qlib's {_QLIB_DAYS} periods a year are those of a daily calendar of five weekdays; this one is "
        f"{frequency.name}, and annualised by {frequency.periods_per_year}"
    )
    return Year(frequency.periods_per_year, f"{frequency.name}, by the calendar", note)


Doubles = npt.NDArray[np.float64]
Number = float | int | None
Record = dict[str, float | int | str | None]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics and the series behind them; `METRICS` says what each is called and which way it is better.

    The mappings and records are plain JSON data: an undefined metric is None, never left out.

    Attributes:
        overall: Metric → value over the whole test range.
        per_window: One record per window: ``window``, ``start``, ``stop`` (first and last time), then the metrics.
        per_year: One record per calendar year: ``year``, then the metrics.
        times: (S,) ``datetime64[ns]``.
        series: Name → (S,) float64, NaN where undefined.
        periods_per_year: What a year was taken to be; None where nothing is annualised.
        notes: What a reader must know beside the numbers: what is undefined, missing or taken otherwise, with counts.
    """

    overall: dict[str, Number]
    per_window: tuple[Record, ...]
    per_year: tuple[Record, ...]
    times: npt.NDArray[np.datetime64]
    series: Mapping[str, Doubles]
    periods_per_year: int | None = None
    notes: tuple[str, ...] = ()

    def write_series(self, path: Path) -> None:
        """Write the series as Parquet: column ``datetime``, then one per series; equal series give equal bytes."""
        columns = {"datetime": pa.array(self.times), **{name: pa.array(v) for name, v in self.series.items()}}
        pq.write_table(pa.table(columns), path, compression="zstd")


def read_series(path: Path) -> tuple[npt.NDArray[np.datetime64], dict[str, Doubles]]:
    """Return the times and the series of a file that `Evaluation.write_series` wrote.

    Raises:
        DataError: When the file is missing or is not Parquet with a ``datetime``.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError("The series cannot be read.", where=str(path), got=str(error)) from error
    if "datetime" not in table.column_names:
        raise DataError("The file holds no series.", where=str(path), expected="a column `datetime`")
    columns = {name: np.array(table[name].to_numpy()) for name in table.column_names}
    return columns.pop("datetime").astype("datetime64[ns]"), columns


def merge(*evaluations: Evaluation) -> Evaluation:
    """Return one evaluation with the metrics and series of all, which judge the same windows of the same times.

    Raises:
        DataError: When times, windows or years differ, or a metric or series occurs twice.
    """
    first, *others = evaluations
    for other in others:
        if not np.array_equal(first.times, other.times) or len(first.per_window) != len(other.per_window):
            raise DataError("Evaluations of different times cannot be merged.", where="evaluation.merge")
        years = {e.periods_per_year for e in (first, other)} - {None}
        if len(years) > 1:
            raise DataError(
                "Evaluations that are annualised differently cannot be merged.", got=sorted(map(str, years))
            )
        repeated = (first.overall.keys() & other.overall.keys()) | (first.series.keys() & other.series.keys())
        if repeated:
            raise DataError("Evaluations share metrics.", where="evaluation.merge", got=", ".join(sorted(repeated)))
        first = Evaluation(
            overall={**first.overall, **other.overall},
            per_window=_joined(first.per_window, other.per_window),
            per_year=_joined(first.per_year, other.per_year),
            times=first.times,
            series={**first.series, **other.series},
            periods_per_year=first.periods_per_year or other.periods_per_year,
            notes=(*first.notes, *other.notes),
        )
    return first


def _joined(left: tuple[Record, ...], right: tuple[Record, ...]) -> tuple[Record, ...]:
    return tuple({**a, **b} for a, b in zip(left, right, strict=True))


def summarised(
    calendar: Calendar,
    start: int,
    window_starts: npt.NDArray[np.int64],
    series: dict[str, Doubles],
    summarise: Callable[[slice], dict[str, Number]],
) -> Evaluation:
    """Return the evaluation of series that start at a calendar position.

    Args:
        calendar, start: Where the series stand.
        window_starts: (W,) int64 calendar positions at which the windows start.
        series: Name → (S,) float64.
        summarise: A span of the series → metric → value, NaN or None where undefined.
    """
    size = len(next(iter(series.values())))
    times = calendar.times[start : start + size]
    per_window: list[Record] = []
    for index, at in enumerate(_slices(window_starts - start, size)):
        first, last = calendar.format(start + at.start), calendar.format(start + at.stop - 1)
        per_window.append({"window": index, "start": first, "stop": last, **_plain(summarise(at))})
    years = times.astype("datetime64[Y]").astype(np.int64) + 1970
    turns = np.flatnonzero(np.append(True, np.diff(years) != 0)[:size])
    per_year: list[Record] = [{"year": int(years[at.start]), **_plain(summarise(at))} for at in _slices(turns, size)]
    return Evaluation(
        overall=_plain(summarise(slice(0, size))),
        per_window=tuple(per_window),
        per_year=tuple(per_year),
        times=times,
        series=MappingProxyType(series),
    )


def _slices(starts: npt.NDArray[np.int64], size: int) -> list[slice]:
    stops = np.append(starts[1:], size)
    return [slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True) if a < b]


def _plain(summary: dict[str, Number]) -> dict[str, Number]:
    return {name: value if value is not None and math.isfinite(value) else None for name, value in summary.items()}
