"""Tests of one series against another of the same times."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError
from harness.evaluation.significance import hac
from harness.evaluation.significance.bootstrap import (
    Bootstrap,
    Interval,
    Question,
    bootstrap_intervals,
    smooth_difference,
)
from harness.evaluation.significance.hac import Doubles, HacTest, Method


@dataclass(frozen=True)
class PairedDifference:
    """A difference to a reference, tested in two ways that should agree.

    Attributes:
        hac: Diebold–Mariano with the cosine estimator; for the IR, its linearisation.
        bootstrap: The same t-value against its paired bootstrap distribution, with the interval.
    """

    hac: HacTest
    bootstrap: Interval

    @property
    def estimate(self) -> float:
        """Statistic of the series minus that of the reference."""
        return self.bootstrap.estimate


def diebold_mariano(
    series: Doubles, reference: Doubles, *, look_ahead: int = 1, method: Method = "cosine", lags: int | None = None
) -> HacTest:
    """Test whether two series of the same times have equal means (Diebold & Mariano 1995).

    ``cosine`` uses fixed-smoothing critical values, as Coroneo & Iacone (2020, "Comparing predictive accuracy in small
    samples using fixed-smoothing asymptotics") advise; ``harvey`` is the classical small-sample correction of Harvey,
    Leybourne & Newbold (1997), which under long overlaps still rejects too often.

    `method` and `lags` are those of `harness.evaluation.significance.hac.hac_mean`.
    """
    hac.check_options(method, lags, look_ahead)
    left, right = hac.defined_rows("diebold_mariano", series, reference)
    magnitude, dropped = max(hac.largest(left), hac.largest(right)), series.size - left.size
    return hac.mean_test(left - right, dropped, look_ahead=look_ahead, method=method, lags=lags, magnitude=magnitude)


def paired_difference(
    series: Doubles,
    reference: Doubles,
    statistic: str = "mean",
    *,
    bootstrap: Bootstrap | None = None,
    look_ahead: int = 1,
) -> PairedDifference:
    """Test a difference to a reference, day by day: what moves both alike cancels.

    The statistic is ``mean``, or ``ir``: the difference of the two ratios. Series that differ by a constant have it as
    difference, with standard error 0 and no p-value; those that differ at a few times only, or whose resamples do not
    vary, have neither interval nor p-value.
    """
    asked = paired_question(series, reference, statistic, look_ahead=look_ahead)
    (found,) = paired_differences([asked], bootstrap or Bootstrap())
    return found


def paired_question(series: Doubles, reference: Doubles, statistic: str = "mean", *, look_ahead: int = 1) -> Question:
    """Return what `paired_differences` answers; parameters as those of `paired_difference`."""
    hac.check_look_ahead(look_ahead, "paired_difference.look_ahead")
    left, right = hac.defined_rows("paired_difference", series, reference)
    return Question(smooth_difference(left, right, statistic), series.size - left.size, look_ahead)


def paired_differences(questions: Sequence[Question], bootstrap: Bootstrap) -> tuple[PairedDifference, ...]:
    """Return the test of each question; those of equally many times are resampled together."""
    found = bootstrap_intervals(questions, bootstrap)
    return tuple(PairedDifference(hac=_hac_of(interval), bootstrap=interval) for interval in found)


def _hac_of(interval: Interval) -> HacTest:
    if interval.degrees == 0 or math.isnan(interval.low):
        known = (interval.estimate, interval.standard_error)
        return HacTest(*known, math.nan, math.nan, 0, interval.count, interval.dropped)
    return hac.hac_test(interval.estimate, interval.standard_error, interval.degrees, interval.count, interval.dropped)


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
        SubPeriod(str(label), hac.hac_mean(series[labels == label], look_ahead=look_ahead))
        for label in np.unique(labels)
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
    volatility = np.lib.stride_tricks.sliding_window_view(market_returns, window).std(axis=1, ddof=1)
    known: list[float] = []
    for time, value in enumerate(volatility.tolist(), start=window - 1):
        if np.isnan(value):
            continue
        if len(known) >= minimum_history:
            share = (bisect.bisect_left(known, value) + bisect.bisect_right(known, value)) / (2 * len(known))
            regimes[time] = ("calm", "normal", "turbulent")[min(int(3 * share), 2)]
        bisect.insort(known, value)
    return regimes
