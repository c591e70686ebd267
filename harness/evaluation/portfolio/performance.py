"""What a series of returns looks like: the way of an account, its falls, its months, and how it moves over time.

S times; a series has one value per time, NaN where it is undefined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evaluation.formulas import Doubles

MONTHS = 12


def accumulated(returns: Doubles, *, compounds: bool) -> Doubles:
    """Return (S,) the return up to each time: the sum, or the product minus one; NaN counts as no return."""
    filled = np.nan_to_num(returns)
    result: Doubles = np.expm1(np.cumsum(np.log1p(filled))) if compounds else np.cumsum(filled)
    return result


def drawdown(value: Doubles, *, compounds: bool) -> Doubles:
    """Return (S,) how far each value lies below the highest before it (from 0 on), relative when it compounds."""
    top = np.maximum.accumulate(np.maximum(value, 0.0))
    return (1 + value) / (1 + top) - 1 if compounds else value - top


@dataclass(frozen=True)
class Fall:
    """A time below an earlier highest value."""

    start: int  # position of the first value below
    trough: int  # of the lowest
    end: int | None  # of the first that is as high again; None where there is none yet
    depth: float  # of the lowest, < 0


def falls(below: Doubles, most: int) -> list[Fall]:
    """Return the deepest falls of a (S,) `drawdown`, the deepest first, at most `most`; of equal ones the earlier."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], below < 0, [False]]).astype(np.int8)))
    found = []
    for start, end in edges.reshape(-1, 2).tolist():
        trough = start + int(below[start:end].argmin())
        found.append(Fall(start, trough, end if end < below.size else None, float(below[trough])))
    return sorted(found, key=lambda fall: fall.depth)[:most]


def by_month(
    times: npt.NDArray[np.datetime64], series: Doubles, how: Literal["mean", "sum", "product"]
) -> tuple[list[int], Doubles, Doubles]:
    """Return the years, (years, 12) a series by month, and (years,) by year: its mean, its sum, or compounded returns.

    NaN where a month or a year has no defined value.
    """
    dates = pd.DatetimeIndex(times)
    steps = np.log1p(series) if how == "product" else series
    frame = pd.DataFrame({"year": dates.year, "month": dates.month, "step": steps}).dropna()
    years = list(range(int(dates.year.min()), int(dates.year.max()) + 1))
    reduce: Literal["mean", "sum"] = "mean" if how == "mean" else "sum"
    months = frame.pivot_table("step", "year", "month", reduce).reindex(index=years, columns=range(1, MONTHS + 1))
    whole = frame.groupby("year")["step"].agg(reduce).reindex(years)
    found = (months.to_numpy(dtype=np.float64), whole.to_numpy(dtype=np.float64))
    return years, *(map(np.expm1, found) if how == "product" else found)


def rolling_ratio(returns: Doubles, width: int, periods: int) -> Doubles:
    """Return (S,) the mean over the standard deviation (ddof 1) of the last `width` returns, times √periods.

    Of a portfolio's returns it is the Sharpe ratio without a riskless rate, of those beyond a benchmark the information
    ratio. NaN before there are `width`, where one of them is undefined, and where they do not vary.
    """
    last = pd.Series(returns).rolling(width)
    spread = last.std().to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Doubles = np.where(spread > 0, last.mean().to_numpy() / spread, np.nan) * periods**0.5
    return ratio


def rolling_beta(returns: Doubles, benchmark: Doubles, width: int) -> Doubles:
    """Return (S,) the slope of the last `width` returns on the benchmark's; NaN as in `rolling_ratio`."""
    both = pd.DataFrame({"own": returns, "benchmark": benchmark}).where(lambda f: f.notna().all(axis=1))
    spread = both["benchmark"].rolling(width).var().to_numpy()
    covariance = both["own"].rolling(width).cov(both["benchmark"]).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        beta: Doubles = np.where(spread > 0, covariance / spread, np.nan)
    return beta
