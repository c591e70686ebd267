"""The mean of a series by calendar year, or by regime of the market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError
from harness.evaluation.significance.hac import Doubles, HacTest, hac_mean


@dataclass(frozen=True)
class SubPeriod:
    """One group of times, a year or a regime, with mean, count and HAC t-value."""

    label: str
    test: HacTest


def subperiod_stability(series: Doubles, labels: npt.NDArray[Any], *, look_ahead: int = 1) -> tuple[SubPeriod, ...]:
    """Return the mean of a series in each group of times, with its HAC test, in order of the labels.

    The times of a group are treated as consecutive; a group too short for its overlap has a mean and no test. (S,)
    labels are `calendar_years`, `volatility_regimes`, or any sortable values.
    """
    if series.ndim != 1 or series.shape != labels.shape:
        got = f"series {series.shape}, labels {labels.shape}"
        raise DataError("Every time needs one label.", where="subperiod_stability", got=got, expected="(S,) both")
    return tuple(
        SubPeriod(str(label), hac_mean(series[labels == label], look_ahead=look_ahead)) for label in np.unique(labels)
    )


def calendar_years(times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Return (S,) int64, the year of each time."""
    return times.astype("datetime64[Y]").astype(np.int64) + 1970


def volatility_regimes(market_returns: Doubles, window: int = 20, minimum_history: int = 240) -> npt.NDArray[np.str_]:
    """Return (S,) the regime of each time: ``calm``, ``normal``, ``turbulent``, or ``undetermined``.

    The standard deviation of the last `window` returns, that of the time included, is held against all earlier ones:
    a regime is the third of the known past that it falls into, so nothing later moves it.

    Args:
        market_returns: (S,) return of the market that is known at each time, NaN where undefined; a window with a NaN
            is undetermined.
        window: Times that the volatility looks back on.
        minimum_history: Known volatilities below which a time is undetermined.

    Raises:
        ConfigError: When the window is below two or the history below three.
    """
    if window < 2 or minimum_history < 3:
        got, expected = f"window {window}, minimum_history {minimum_history}", "window ≥ 2, minimum_history ≥ 3"
        raise ConfigError("A regime needs a past.", where="volatility_regimes", got=got, expected=expected)
    regimes = np.full(market_returns.size, "undetermined")
    if market_returns.size < window:
        return regimes
    import pandas as pd  # slow to import

    volatility = np.lib.stride_tricks.sliding_window_view(market_returns, window).std(axis=1, ddof=1)
    known = pd.Series(volatility, index=range(window - 1, market_returns.size)).dropna()
    earlier = np.arange(minimum_history, known.size)
    share = (known.expanding().rank().iloc[minimum_history:] - 1.0) / earlier  # of those below, and of half the equal
    thirds = (3.0 * share).clip(upper=2.0).astype(np.int64)
    regimes[thirds.index] = np.array(("calm", "normal", "turbulent"))[thirds]
    return regimes
