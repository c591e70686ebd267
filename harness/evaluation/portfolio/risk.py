"""Risk and return of a series of returns (qlib ``risk_analysis``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError

Doubles = npt.NDArray[np.float64]
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Risk:
    """Summary of a return series; NaN where it is undefined.

    Attributes
    ----------
    mean, std
        Per period; std with ddof 1.
    annualized_return
        Return per year.
    information_ratio
        mean / std · √periods.
    max_drawdown
        Largest fall from an earlier peak, ≤ 0; the start does not count as a peak.
    """

    mean: float
    std: float
    annualized_return: float
    information_ratio: float
    max_drawdown: float


def risk_analysis(returns: Doubles, periods: int, mode: Literal["sum", "product"] = "sum") -> Risk:
    """Return the risk summary of a return series.

    Parameters
    ----------
    returns
        (S,) float64 returns per period, none missing.
    periods
        Periods per year: those of the calendar, see `harness.data.frequency.frequency_of`; qlib takes 238.
    mode
        ``sum``: returns add up, so that drawdowns do not depend on the level. ``product``: they compound; the mean is
        geometric and the standard deviation that of log returns.

    Raises
    ------
    ConfigError
        When the mode is unknown or periods is not positive.
    """
    if mode not in ("sum", "product") or periods < 1:
        raise ConfigError(
            "Returns cannot be summarised this way.",
            where="risk_analysis",
            got=f"mode={mode!r}, periods={periods}",
            expected="mode sum or product, periods ≥ 1",
        )
    nan = float("nan")
    if returns.size == 0:
        return Risk(nan, nan, nan, nan, nan)
    steps: Doubles = returns if mode == "sum" else np.log1p(returns)
    if mode == "sum":
        mean = float(returns.mean())
        annualized = mean * periods
        level: Doubles = np.cumsum(returns)
        drawdown = float((level - np.maximum.accumulate(level)).min())
    else:
        level = (1.0 + returns).cumprod()
        mean = float(level[-1] ** (1.0 / returns.size) - 1.0)
        annualized = float(level[-1] ** (periods / returns.size) - 1.0)
        drawdown = float((level / np.maximum.accumulate(level) - 1.0).min())
    std = float(steps.std(ddof=1)) if returns.size > 1 else nan
    # What differs by rounding alone does not vary.
    varies = std > _ROUNDING * float(np.abs(steps).max())
    ratio = mean / std * periods**0.5 if varies else nan
    return Risk(mean, std, annualized, ratio, drawdown)
