"""Intervals by the stationary bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import ConfigError
from harness.significance.defined import Doubles, check_look_ahead, defined_rows, is_long_enough, varies
from harness.significance.long_run import cosine_basis, cosine_degrees, long_run_variance
from harness.significance.resampling import automatic_block_length, resampled_drawdowns, resampled_moments
from harness.significance.statistic import SmoothStatistic, Statistic, smooth_statistic

__all__ = ["Bootstrap", "Interval", "bootstrap_interval", "drawdown_interval", "studentised_interval"]


@dataclass(frozen=True)
class Bootstrap:
    """How series are resampled.

    Attributes
    ----------
    seed
        Of the draws; equal seeds and series of equal length and block length share their draws.
    repetitions
        Resamples.
    level
        Coverage of the intervals.
    block_length
        Mean length of the blocks, at most a third of the series; None lets the data choose, from the look-ahead on.

    Raises
    ------
    ConfigError
        When a number is impossible, or the level needs more repetitions.
    """

    seed: int = 0
    repetitions: int = 1000
    level: float = 0.95
    block_length: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        limits = (
            ("seed", self.seed >= 0, "≥ 0"),
            ("level", 0.0 < self.level < 1.0, "0 < level < 1"),
            ("block_length", self.block_length is None or self.block_length >= 1, "≥ 1"),
            ("repetitions", self.repetitions >= 1 and self.rank <= self.repetitions, "≥ 1/(1 − level)"),
        )
        for name, possible, expected in limits:
            if not possible:
                where = f"bootstrap.{name}"
                raise ConfigError("Impossible number.", where=where, got=getattr(self, name), expected=expected)

    @property
    def rank(self) -> int:
        """Which of the sorted resampled |t| is the critical value; makes interval and p-value agree exactly."""
        return math.ceil(round((self.repetitions + 1) * self.level, 9))


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes
    ----------
    estimate
        NaN when undefined.
    low, high
        The bounds; NaN when the series is too short for its overlap.
    standard_error
        From the cosine estimator, not from the bootstrap; NaN when undefined.
    degrees
        Cosines in the standard error, 0 when there is none.
    p_value
        Two-sided, of a true value of zero; at most 1 − level exactly when the interval leaves zero out.
    level
        Nominal coverage.
    block_length
        Mean length of the blocks, 0 when nothing was resampled.
    count, dropped
        Defined and undefined values.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    degrees: int
    p_value: float
    level: float
    block_length: float
    count: int
    dropped: int

    def scaled(self, factor: float) -> Interval:
        """Return the interval of a multiple, such as an annualised mean."""
        bounds = sorted((self.low * factor, self.high * factor))
        error = self.standard_error * abs(factor)
        return replace(self, estimate=self.estimate * factor, low=bounds[0], high=bounds[1], standard_error=error)


def bootstrap_interval(
    series: Doubles, statistic: Statistic = "mean", *, bootstrap: Bootstrap | None = None, look_ahead: int = 1
) -> Interval:
    """Return a symmetric studentised interval for the mean, or the mean over standard deviation, of a series.

    The statistic is divided by its standard error from the cosine estimator, in the series and in each resample, and
    the critical value is a quantile of |t*|. Under autocorrelation this keeps the promised coverage where percentiles
    do not (Gonçalves & Vogelsang 2011, "Block bootstrap HAC robust tests: the sophistication of the naive bootstrap"):
    in 400 series of 860 values at a nominal 95 %, the percentile interval left the true mean of an AR(1) of 0.9 out
    in 10 %, this one in 5 %; of 240 values, in 25 % and 8.5 %.

    Parameters
    ----------
    series
        (S,) values, NaN where undefined; such times are dropped and the rest treated as consecutive.
    statistic
        ``mean``, or ``ir`` with ddof 1 (as `harness.metrics.ir`).
    bootstrap
        How to resample; the default has seed 0.
    look_ahead
        Of the label behind the series, 1 when neighbours share nothing: the shortest mean block.

    Returns
    -------
    Interval
        Contains the estimate. A series that does not vary has the point as interval of its mean, and no IR.

    Raises
    ------
    ConfigError
        When the statistic is unknown or the look-ahead is below one.
    DataError
        When a value is infinite.
    """
    check_look_ahead(look_ahead, "bootstrap_interval.look_ahead")
    (values,) = defined_rows("bootstrap_interval", series)
    smooth = smooth_statistic(values, statistic)
    return studentised_interval(smooth, series.size - values.size, bootstrap or Bootstrap(), look_ahead)


def studentised_interval(smooth: SmoothStatistic, dropped: int, bootstrap: Bootstrap, look_ahead: int) -> Interval:
    """Return the interval of any smooth statistic."""
    estimate, count, nan = smooth.estimate(), smooth.count, float("nan")
    undefined = Interval(estimate, nan, nan, nan, 0, nan, bootstrap.level, 0.0, count, dropped)
    if math.isnan(estimate) or not is_long_enough(count, look_ahead):
        return undefined
    if not varies(smooth.influence, smooth.magnitude):
        return replace(undefined, low=estimate, high=estimate, standard_error=0.0)
    block_length = _block_length(smooth.influence, bootstrap, look_ahead)
    degrees = cosine_degrees(smooth.influence, look_ahead)
    error = float(np.sqrt(long_run_variance(smooth.influence, degrees) / count))
    ratios = _resampled_ratios(smooth, cosine_basis(count, degrees), block_length, bootstrap)
    reach = float(np.sort(ratios)[bootstrap.rank - 1]) * error
    reach = reach if math.isfinite(reach) else nan
    beyond = int((ratios >= abs(estimate) / error).sum())
    return Interval(
        estimate=estimate,
        low=estimate - reach,
        high=estimate + reach,
        standard_error=error,
        degrees=degrees,
        p_value=(1 + beyond) / (bootstrap.repetitions + 1),
        level=bootstrap.level,
        block_length=block_length,
        count=count,
        dropped=dropped,
    )


def drawdown_interval(returns: Doubles, *, bootstrap: Bootstrap | None = None, look_ahead: int = 1) -> Interval:
    """Return a percentile interval for the largest drawdown of summed returns.

    A drawdown is no smooth function of means: resampled paths say what other orders of the same days would have
    brought, and the estimate can lie outside. There is no standard error and no p-value.

    Parameters
    ----------
    returns
        (S,) returns per time, NaN where undefined.
    bootstrap, look_ahead
        As in `bootstrap_interval`.

    Returns
    -------
    Interval
        Values ≤ 0, of the order of `harness.portfolio.risk_analysis` in mode ``sum``.

    Raises
    ------
    ConfigError
        When the look-ahead is below one.
    DataError
        When a value is infinite.
    """
    check_look_ahead(look_ahead, "drawdown_interval.look_ahead")
    bootstrap = bootstrap or Bootstrap()
    (values,) = defined_rows("drawdown_interval", returns)
    count, dropped, nan = values.size, returns.size - values.size, float("nan")
    level = np.cumsum(values)
    estimate = float((level - np.maximum.accumulate(level)).min()) if count else nan
    if not is_long_enough(count, look_ahead) or not varies(values, float(np.abs(values).max())):
        return Interval(estimate, nan, nan, nan, 0, nan, bootstrap.level, 0.0, count, dropped)
    block_length = _block_length(values, bootstrap, look_ahead)
    falls = resampled_drawdowns(
        values, block_length=block_length, repetitions=bootstrap.repetitions, seed=bootstrap.seed
    )
    low, high = np.quantile(falls, ((1.0 - bootstrap.level) / 2.0, (1.0 + bootstrap.level) / 2.0))
    return Interval(estimate, float(low), float(high), nan, 0, nan, bootstrap.level, block_length, count, dropped)


def _block_length(series: Doubles, bootstrap: Bootstrap, look_ahead: int) -> float:
    if bootstrap.block_length is None:
        return automatic_block_length(series, look_ahead)
    return min(bootstrap.block_length, series.size / 3)


def _resampled_ratios(smooth: SmoothStatistic, basis: Doubles, block_length: float, bootstrap: Bootstrap) -> Doubles:
    """Return (R,) |t*|; infinite where a resample does not vary, which can only widen the interval."""
    means, projections = resampled_moments(
        smooth.moments, basis, block_length=block_length, repetitions=bootstrap.repetitions, seed=bootstrap.seed
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = smooth.gradient(means)  # (R, K)
        linear = np.zeros(projections.shape[::2])  # (R, ν)
        for k in range(slopes.shape[1]):
            linear += slopes[:, k, None] * projections[:, k]
        errors = np.sqrt(np.square(linear).mean(axis=1) / basis.shape[0])
        ratios = np.abs(smooth.value(means) - smooth.estimate()) / errors
    return np.where(np.isfinite(ratios), ratios, np.inf)
