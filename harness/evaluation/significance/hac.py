"""Tests of a mean against zero that allow for autocorrelation, over all times and by year or regime."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError, closest

Doubles = npt.NDArray[np.float64]

SHORTEST = 8
SPANS = 5  # labels that must fit side by side into a series: fewer leave its long-run variance no two clean cosines
ROUNDING = 1e-12  # numbers of magnitude one that differ by less differ by nothing but rounding errors
_FEWEST_MOVING = 4  # of three values that differ from all others, a resample misses every one in e⁻³ = 5 % of all cases


def defined_rows(where: str, *series: npt.NDArray[Any]) -> tuple[Doubles, ...]:
    """Return the rows in which every (S,) or (S, M) series is defined, as contiguous float64; none may be infinite."""
    shapes = [values.shape for values in series]
    if any(len(shape) not in (1, 2) or shape[0] != shapes[0][0] for shape in shapes):
        expected = "one value per time, equal lengths"
        raise DataError("Series of the same times are needed.", where=where, got=shapes, expected=expected)
    keep = np.ones(shapes[0][0], dtype=np.bool_)
    for values in series:
        if np.isinf(values).any():
            raise DataError("A series holds an infinite value.", where=where, expected="finite, or NaN if undefined")
        missing = np.isnan(values)
        keep &= ~(missing if missing.ndim == 1 else missing.any(axis=1))
    return tuple(np.ascontiguousarray(values[keep], dtype=np.float64) for values in series)


def _needed(look_ahead: int) -> int:
    return max(SHORTEST, SPANS * look_ahead)


def is_long_enough(count: int, look_ahead: int) -> bool:
    """Whether `count` values of that overlap carry any information on their long-run variance."""
    return count >= _needed(look_ahead)


def why_untested(count: int, look_ahead: int) -> str:
    """Return in words why `count` values of that overlap have neither interval nor t-value."""
    if is_long_enough(count, look_ahead):
        return "nearly all values are equal"
    why = "" if look_ahead == 1 else f", {SPANS} times the look-ahead of {look_ahead}"
    return f"{count} defined values are fewer than {_needed(look_ahead)}{why}"


def is_constant(values: Doubles, magnitude: float) -> bool:
    """Whether (T,) values differ by no more than the rounding errors of numbers of that magnitude."""
    return values.size == 0 or float(np.ptp(values)) <= ROUNDING * magnitude


def varies(values: Doubles, magnitude: float) -> bool:
    """Whether (T,) values differ often enough to tell how far their mean could have moved.

    At least four must differ, by more than the rounding errors of numbers of that magnitude, from the median. One odd
    value among equal ones is a single event: nothing is known of how often it happens.
    """
    if values.size == 0:
        return False
    moving = np.abs(values - np.median(values)) > ROUNDING * magnitude
    return int(moving.sum()) >= _FEWEST_MOVING


def largest(values: Doubles) -> float:
    """Return the magnitude of values, 0 when there is none."""
    return float(np.abs(values).max(initial=0.0))


def check_look_ahead(look_ahead: int) -> None:
    """Refuse a look-ahead below one, the value of series that do not overlap."""
    if look_ahead < 1:
        raise ConfigError("A look-ahead is at least one time.", where="look_ahead", got=look_ahead, expected="≥ 1")


def check_choice(what: str, got: str, known: Collection[str]) -> None:
    """Refuse a name that is none of those known."""
    if got not in known:
        hint, expected = closest(got, known), " | ".join(known)
        raise ConfigError(f"Unknown {what}.", where=what, got=got, expected=expected, hint=hint)


BIAS = 0.05
FEWEST, MOST = 2, 48  # beyond 48 degrees of freedom the critical value falls by less than 3 %
_QUIET_LAGS = 5


def long_run_variance(series: Doubles, degrees: int) -> float:
    """Return Σ_j Λ_j² / ν of a (T,) series: T times the variance of its mean."""
    from scipy.fft import dct  # not needed to import the harness

    projections = dct(series - series.mean(), type=2, norm="ortho")[1 : degrees + 1]
    return float(np.square(projections).mean())


def cosine_basis(count: int, degrees: int) -> Doubles:
    """Return (T, ν) float64, the orthonormal cosines j = 1 … ν, each orthogonal to a constant."""
    angles = np.pi / count * np.outer(np.arange(count) + 0.5, np.arange(1, degrees + 1))
    return np.asarray(np.sqrt(2.0 / count) * np.cos(angles))


def cosine_degrees(series: Doubles, look_ahead: int) -> int:
    """Return ν, the number of cosines for a (T,) series that varies, of labels that overlap by `look_ahead`."""
    curvature = max(abs(spectral_curvature(series)), (look_ahead**2 - 1) / 12)
    unbiased = np.sqrt(3.0 * BIAS / curvature) * series.size / np.pi if curvature > 0 else np.inf
    return int(max(FEWEST, min(unbiased, 0.4 * series.size ** (2 / 3), MOST)))


def spectral_curvature(series: Doubles) -> float:
    """Return c = Σ_{k≥1} k²ρ_k / (1 + 2 Σ_{k≥1} ρ_k) of a (T,) series under a flat-top window; ∞ when undetermined.

    The window is 1 up to the last lag before five insignificant autocorrelations, and falls to 0 at twice that lag.
    """
    count = series.size
    highest = min(int(3 * count**0.5), count - 1)
    deviations = series - series.mean()
    padded = 1 << (count + highest).bit_length()  # no product wraps around
    lagged = np.fft.irfft(np.square(np.abs(np.fft.rfft(deviations, padded))), padded)[: highest + 1]
    correlations = lagged / lagged[0]
    quiet = np.abs(correlations[1:]) < 2.0 * np.sqrt(np.log10(count) / count)
    runs = np.convolve(quiet, np.ones(_QUIET_LAGS), mode="valid") == _QUIET_LAGS
    last_significant = int(runs.argmax()) if runs.any() else correlations.size - 1
    span = min(2 * max(last_significant, 1), highest)
    lags = np.arange(1, span + 1)
    window = np.minimum(1.0, 2.0 * (1.0 - lags / span))
    level = 1.0 + 2.0 * float(window @ correlations[1 : span + 1])
    if level <= 0.0:
        return float("inf")
    return float((window * lags**2) @ correlations[1 : span + 1]) / level


Method = Literal["cosine", "newey_west", "harvey"]


@dataclass(frozen=True)
class HacTest:
    """A two-sided t-test against zero that allows for autocorrelation.

    Attributes:
        estimate: NaN when nothing is defined.
        standard_error, t_value, p_value: NaN when fewer than five look-aheads fit into the series, or all but three of
            its values are equal; a constant has standard error 0 and neither t nor p.
        degrees: Of Student's t, 0 where untested. They are few where labels overlap: with two, |t| must exceed 4.30 for
            p to fall below 5 %, so that a t-value says nothing without its p-value.
        count, dropped: Defined and undefined values.
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

    Args:
        method: ``cosine`` keeps its size under strong autocorrelation, see `harness.evaluation.significance.hac`. The
            other two are what papers print, and reject far too often for overlapping labels: ``newey_west`` (1987;
            statsmodels, with the factor T/(T − 1)), and ``harvey``, which scales its t-value by √((T + 1 − 2h + h(h −
            1)/T)/T) with h the look-ahead (Harvey, Leybourne & Newbold 1997); both against Student's t with T − 1
            degrees.
        lags: Of Newey–West; by default the larger of look_ahead − 1 and ⌊4(T/100)^(2/9)⌋, for ``harvey`` the former
            alone.

    Raises:
        ConfigError: When lags are negative or given to ``cosine``.
    """
    check_look_ahead(look_ahead)
    check_choice("method", method, get_args(Method))
    if lags is not None and (method == "cosine" or lags < 0):
        what, got = "Lags belong to Newey–West and are not negative.", f"{lags} with method {method}"
        raise ConfigError(what, where="lags", got=got, expected="≥ 0, method newey_west or harvey")
    (values,) = defined_rows("hac_mean", series)
    estimate = float(values.mean()) if values.size else math.nan
    degrees, error = standard_error(values, largest(values), look_ahead, method, lags)
    return hac_test(estimate, error, degrees, values.size, series.size - values.size)


def hac_test(estimate: float, error: float, degrees: int, count: int, dropped: int) -> HacTest:
    """Return the test of an estimate with its standard error against Student's t; untested with 0 degrees."""
    from scipy.special import stdtr  # not needed to import the harness

    t_value = estimate / error if degrees else math.nan
    return HacTest(estimate, error, t_value, float(2.0 * stdtr(degrees, -abs(t_value))), degrees, count, dropped)


def cumulative_difference(
    ours: Doubles, base: Doubles, *, look_ahead: int = 1, level: float = 0.95
) -> tuple[Doubles, Doubles]:
    """Return (S,) the summed difference of two series, and (S,) half the width of its band at each time.

    After k of T pairs that are defined the band is c · e · √(k T), with e the standard error of the mean difference and
    c Student's critical value: at the end it leaves zero out when `hac_mean` of the differences rejects at 1 − level.
    An undefined pair adds nothing; the band is NaN where the mean cannot be tested.
    """
    from scipy.special import stdtrit  # not needed to import the harness

    check_look_ahead(look_ahead)
    x, y = defined_rows("cumulative_difference", ours, base)
    degrees, error = standard_error(x - y, max(largest(x), largest(y)), look_ahead)
    critical = float(stdtrit(degrees, (1 + level) / 2)) if degrees else math.nan
    difference = ours - base
    pairs = np.cumsum(~np.isnan(difference))
    return np.cumsum(np.nan_to_num(difference)), critical * error * np.sqrt(pairs * x.size)


def standard_error(
    values: Doubles, magnitude: float, look_ahead: int, method: Method = "cosine", lags: int | None = None
) -> tuple[int, float]:
    """Return Student's degrees, 0 where the mean of (T,) values cannot be tested, and its standard error.

    With the cosine estimator the error is the root of Σ_j Λ_j² / (ν T). `magnitude` is that of the numbers that the
    values are differences of, by which rounding errors are told from variation.
    """
    count = values.size
    if not is_long_enough(count, look_ahead):
        return 0, math.nan
    if not varies(values, magnitude):
        return 0, 0.0 if is_constant(values, magnitude) else math.nan
    if method == "cosine":
        degrees = cosine_degrees(values, look_ahead)
        return degrees, float(np.sqrt(long_run_variance(values, degrees) / count))
    from statsmodels.stats.sandwich_covariance import S_hac_simple  # slow to import

    h = look_ahead
    automatic = 0 if method == "harvey" else int(4 * (count / 100) ** (2 / 9))
    used = min(max(h - 1, automatic) if lags is None else lags, count - 1)
    total = float(S_hac_simple((values - values.mean())[:, None], nlags=used).item())
    variance = total / count / (count - 1)
    if method == "harvey":
        variance /= (count + 1 - 2 * h + h * (h - 1) / count) / count
    return count - 1, float(np.sqrt(variance))


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
