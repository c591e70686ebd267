"""Tests of a mean against zero that allow for autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.errors import ConfigError, closest
from harness.evaluation.significance.defined import (
    Doubles,
    check_look_ahead,
    defined_rows,
    is_constant,
    is_long_enough,
    varies,
)
from harness.evaluation.significance.long_run import cosine_degrees, long_run_variance

Method = Literal["cosine", "newey_west", "harvey"]
_METHODS = ("cosine", "newey_west", "harvey")


@dataclass(frozen=True)
class HacTest:
    """A two-sided t-test against zero that allows for autocorrelation.

    Attributes
    ----------
    estimate
        The tested quantity; NaN when nothing is defined.
    standard_error, t_value, p_value
        NaN when fewer than five look-aheads fit into the series, or all but three of its values are equal; a
        constant has standard error 0 and neither t nor p.
    degrees
        Of Student's t, 0 where untested. They are few where labels overlap: with two, |t| must exceed 4.30 for p to
        fall below 5 %, so that a t-value says nothing without its p-value.
    count, dropped
        Defined and undefined values.
    """

    estimate: float
    standard_error: float
    t_value: float
    p_value: float
    degrees: int
    count: int
    dropped: int


def hac_mean(series: Doubles, *, look_ahead: int = 1, method: Method = "cosine", lags: int | None = None) -> HacTest:
    """Test whether the mean of an autocorrelated series is zero.

    Parameters
    ----------
    series
        (S,) values, NaN where undefined; such times are dropped and the rest treated as consecutive.
    look_ahead
        Of the label behind the series, 1 when neighbours share nothing.
    method
        ``cosine`` keeps its size under strong autocorrelation, see `harness.evaluation.significance.long_run`. The other two are
        what papers print, and reject far too often for overlapping labels: ``newey_west`` (1987; statsmodels, with
        the factor T/(T − 1)), and ``harvey``, which scales its t-value by √((T + 1 − 2h + h(h − 1)/T)/T) with h the
        look-ahead (Harvey, Leybourne & Newbold 1997); both against Student's t with T − 1 degrees.
    lags
        Of Newey–West; by default the larger of look_ahead − 1 and ⌊4(T/100)^(2/9)⌋, for ``harvey`` the former alone.

    Raises
    ------
    ConfigError
        When the method is unknown, or lags are negative or given to ``cosine``.
    DataError
        When a value is infinite.
    """
    check_options(method, lags, look_ahead)
    (values,) = defined_rows("hac_mean", series)
    return mean_test(values, series.size - values.size, look_ahead=look_ahead, method=method, lags=lags)


def mean_test(
    values: Doubles,
    dropped: int,
    *,
    look_ahead: int,
    method: Method,
    lags: int | None = None,
    magnitude: float | None = None,
) -> HacTest:
    """Test the mean of defined values; `magnitude` is that of the numbers they are differences of."""
    count, nan = values.size, float("nan")
    estimate = float(values.mean()) if count else nan
    if not is_long_enough(count, look_ahead):
        return HacTest(estimate, nan, nan, nan, 0, count, dropped)
    magnitude = float(np.abs(values).max()) if magnitude is None else magnitude
    if not varies(values, magnitude):
        error = 0.0 if is_constant(values, magnitude) else nan
        return HacTest(estimate, error, nan, nan, 0, count, dropped)
    if method == "cosine":
        degrees = cosine_degrees(values, look_ahead)
        error = float(np.sqrt(long_run_variance(values, degrees) / count))
    else:
        degrees = count - 1
        error = _newey_west_error(values, look_ahead, method, lags)
    return hac_test(estimate, error, degrees, count, dropped)


def hac_test(estimate: float, error: float, degrees: int, count: int, dropped: int) -> HacTest:
    """Return the test of an estimate with its standard error against Student's t."""
    from scipy.special import stdtr  # not needed to import the harness

    t_value = estimate / error
    p_value = float(2.0 * stdtr(degrees, -abs(t_value)))
    return HacTest(estimate, error, t_value, p_value, degrees, count, dropped)


def check_options(method: str, lags: int | None, look_ahead: int) -> None:
    """Refuse what `mean_test` cannot do."""
    check_look_ahead(look_ahead, "look_ahead")
    if method not in _METHODS:
        raise ConfigError(
            "Unknown method.",
            where="method",
            got=method,
            expected=" | ".join(_METHODS),
            hint=closest(method, _METHODS),
        )
    if lags is not None and (method == "cosine" or lags < 0):
        raise ConfigError(
            "Lags belong to Newey–West and are not negative.",
            where="lags",
            got=f"{lags} with method {method}",
            expected="≥ 0, method newey_west or harvey",
        )


def _newey_west_error(values: Doubles, look_ahead: int, method: Method, lags: int | None) -> float:
    from statsmodels.stats.sandwich_covariance import S_hac_simple  # slow to import

    count, h = values.size, look_ahead
    automatic = 0 if method == "harvey" else int(4 * (count / 100) ** (2 / 9))
    used = min(max(h - 1, automatic) if lags is None else lags, count - 1)
    total = float(S_hac_simple((values - values.mean())[:, None], nlags=used).item())
    variance = total / count / (count - 1)
    if method == "harvey":
        variance /= (count + 1 - 2 * h + h * (h - 1) / count) / count
    return float(np.sqrt(variance))
