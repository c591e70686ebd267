"""Intervals by the stationary bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from harness.errors import ConfigError, closest
from harness.errors.limits import Count, check_limits
from harness.evaluation.significance.hac import (
    ROUNDING,
    Doubles,
    check_look_ahead,
    cosine_degrees,
    defined_rows,
    is_constant,
    is_long_enough,
    long_run_variance,
    varies,
)
from harness.evaluation.significance.resampling import (
    Falls,
    Moments,
    Resamples,
    automatic_block_length,
    pieces_of,
    resample,
)
from harness.execution.progress import Observer, Silent

Statistic = Literal["mean", "ir"]
_STATISTICS = ("mean", "ir")


@dataclass(frozen=True, eq=False)
class SmoothStatistic:
    """A statistic of a series, ready to be linearised and resampled.

    Attributes:
        moments: (T, K) float64, one row per time.
        value: (…, K) means of the moments → (…) statistic.
        gradient: (…, K) means of the moments → (…, K) derivatives.
        influence: (T,) float64, the series whose mean moves as the statistic does, to first order; NaN when undefined.
        magnitude: Of the numbers that the influence is a difference of, by which rounding errors are told from
            variation.
    """

    moments: Doubles
    value: Callable[[Doubles], Doubles]
    gradient: Callable[[Doubles], Doubles]
    influence: Doubles
    magnitude: float

    @property
    def count(self) -> int:
        """T, the number of times."""
        return int(self.moments.shape[0])

    def estimate(self) -> float:
        """Return the statistic of the series itself, NaN when undefined."""
        if self.count == 0 or np.isnan(self.influence).any():
            return float("nan")
        return float(self.value(self.moments.mean(axis=0)))


def smooth_statistic(series: Doubles, statistic: str) -> SmoothStatistic:
    """Return the mean, or mean over standard deviation (ddof 1), of a (T,) series without NaN.

    Raises:
        ConfigError: When the statistic is unknown.
    """
    if statistic not in _STATISTICS:
        raise ConfigError(
            "Unknown statistic.",
            where="statistic",
            got=statistic,
            expected=" | ".join(_STATISTICS),
            hint=closest(statistic, _STATISTICS),
        )
    return _mean(series) if statistic == "mean" else _ir(series)


def smooth_difference(left: Doubles, right: Doubles, statistic: str) -> SmoothStatistic:
    """Return the statistic of one (T,) series minus that of another, both resampled at the same times."""
    first, second = smooth_statistic(left, statistic), smooth_statistic(right, statistic)
    magnitude = max(first.magnitude, second.magnitude)
    if statistic == "mean":
        return replace(_mean(left - right), magnitude=magnitude)
    split = first.moments.shape[1]

    def value(means: Doubles) -> Doubles:
        return first.value(means[..., :split]) - second.value(means[..., split:])

    def gradient(means: Doubles) -> Doubles:
        parts = (first.gradient(means[..., :split]), -second.gradient(means[..., split:]))
        return np.concatenate(parts, axis=-1)

    moments = np.concatenate((first.moments, second.moments), axis=1)
    return SmoothStatistic(moments, value, gradient, first.influence - second.influence, magnitude)


def _mean(series: Doubles) -> SmoothStatistic:
    return SmoothStatistic(
        moments=np.ascontiguousarray(series[:, None]),
        value=lambda means: means[..., 0],
        gradient=np.ones_like,
        influence=series,
        magnitude=_largest(series),
    )


def _ir(series: Doubles) -> SmoothStatistic:
    # Squares of deviations, not of values: a series far from zero would lose its variance to rounding.
    count = max(series.size, 1)
    centre = series.sum() / count
    deviations = series - centre
    bessel = np.sqrt((count - 1) / count)

    own = float(np.square(deviations).mean()) if series.size else 0.0

    def deviation(means: Doubles) -> Doubles:
        variance = means[..., 1] - means[..., 0] ** 2
        # What is left of a variance that is this small is a rounding error.
        result: Doubles = np.sqrt(np.where(variance > ROUNDING * own, variance, np.nan))
        return result

    def value(means: Doubles) -> Doubles:
        ratio: Doubles = bessel * (centre + means[..., 0]) / deviation(means)
        return ratio

    def gradient(means: Doubles) -> Doubles:
        mean, std = centre + means[..., 0], deviation(means)
        first = 1.0 / std + mean * means[..., 0] / std**3
        slopes: Doubles = bessel * np.stack((first, -mean / (2.0 * std**3)), axis=-1)
        return slopes

    influence = np.full(series.size, np.nan)
    if not is_constant(series, _largest(series)):
        std = deviations.std()
        influence = bessel * (deviations / std - centre / (2.0 * std**3) * (deviations**2 - std**2))
    return SmoothStatistic(
        moments=np.stack((deviations, deviations**2), axis=1),
        value=value,
        gradient=gradient,
        influence=influence,
        magnitude=_largest(influence),
    )


def _largest(values: Doubles) -> float:
    return float(np.abs(values).max(initial=0.0))


STAGE = "significance"
_WIDEST = 3.0  # an interval that reaches over more than three times the range of the values says nothing
_STILL = 1e-9  # a resample does not vary when its standard error is that share of the series' own


@dataclass(frozen=True)
class Bootstrap:
    """How series are resampled.

    Attributes:
        seed: Of the draws; equal seeds and series of equal length and block length share their draws.
        repetitions: Resamples.
        level: Coverage of the intervals.
        block_length: Mean length of the blocks, at most a third of the series; None lets the data choose, from the
            look-ahead on.

    Raises:
        ConfigError: When a number is impossible, or the level needs more repetitions.
    """

    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    repetitions: Count = 1000
    level: Annotated[float, Gt(0), Lt(1)] = 0.95
    block_length: Annotated[float, Ge(1), Le(1e9)] | None = None

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        check_limits(self, "bootstrap")
        if self.rank > self.repetitions:
            raise ConfigError(
                "The level needs more repetitions.",
                where="bootstrap.repetitions",
                got=self.repetitions,
                expected=f"≥ 1/(1 − level) = {1 / (1 - self.level):.0f}",
            )

    @property
    def rank(self) -> int:
        """Which of the sorted resampled |t| is the critical value; makes interval and p-value agree exactly."""
        return math.ceil(round((self.repetitions + 1) * self.level, 9))


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes:
        estimate: NaN when undefined.
        low, high: The bounds; NaN when the series is too short for its overlap, or too nearly constant.
        standard_error: From the cosine estimator, not from the bootstrap; NaN when undefined.
        degrees: Cosines in the standard error, 0 when there is none.
        p_value: Two-sided, of a true value of zero; at most 1 − level exactly when the interval leaves zero out.
        level: Nominal coverage.
        block_length: Mean length of the blocks, 0 when nothing was resampled.
        count, dropped: Defined and undefined values.
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


@dataclass(frozen=True, eq=False)
class Question:
    """A statistic of a series, whose interval is wanted.

    Attributes:
        subject: A smooth statistic; or (T,) returns, whose largest drawdown is meant.
        dropped: Undefined values that the series had.
        look_ahead: Of the label behind the series, 1 when neighbours share nothing.
    """

    subject: SmoothStatistic | Doubles
    dropped: int
    look_ahead: int


def question(series: Doubles, statistic: str, look_ahead: int) -> Question:
    """Return what `bootstrap_intervals` answers for a (S,) series, NaN where undefined.

    Raises:
        ConfigError: When the statistic is unknown or the look-ahead is below one.
        DataError: When a value is infinite.
    """
    check_look_ahead(look_ahead, "look_ahead")
    (values,) = defined_rows("series", series)
    subject = values if statistic == "drawdown" else smooth_statistic(values, statistic)
    return Question(subject, series.size - values.size, look_ahead)


def bootstrap_intervals(
    questions: Sequence[Question], bootstrap: Bootstrap, observer: Observer | None = None
) -> tuple[Interval, ...]:
    """Return the interval of each question; series of equal length are resampled together, which costs far less.

    Every interval has the bits that it has alone, as `bootstrap_interval` or `drawdown_interval`. The observer is told
    of the stage ``significance``.
    """
    observer = observer or Silent()
    plans = [_plan(one, bootstrap) for one in questions]
    wanted = [plan.resamples for plan in plans if plan.resamples is not None]
    observer.start(STAGE, pieces_of(wanted, bootstrap.repetitions))
    resample(wanted, repetitions=bootstrap.repetitions, seed=bootstrap.seed, advance=lambda: observer.advance(STAGE))
    observer.finish(STAGE)
    return tuple(plan.interval(bootstrap) for plan in plans)


def bootstrap_interval(
    series: Doubles, statistic: Statistic = "mean", *, bootstrap: Bootstrap | None = None, look_ahead: int = 1
) -> Interval:
    """Return a symmetric studentised interval for the mean, or the mean over standard deviation, of a series.

    The statistic is divided by its standard error from the cosine estimator, in the series and in each resample, and
    the critical value is a quantile of |t*|. Under autocorrelation this keeps the promised coverage where percentiles
    do not (Gonçalves & Vogelsang 2011, "Block bootstrap HAC robust tests: the sophistication of the naive bootstrap"):
    in 400 series of 860 values at a nominal 95 %, the percentile interval left the true mean of an AR(1) of 0.9 out
    in 10 %, this one in 5 %; of 240 values, in 25 % and 8.5 %.

    Args:
        series: (S,) values, NaN where undefined; such times are dropped and the rest treated as consecutive.
        statistic: ``mean``, or ``ir`` with ddof 1 (as `harness.evaluation.formulas.ir`).
        bootstrap: How to resample; the default has seed 0.
        look_ahead: Of the label behind the series, 1 when neighbours share nothing: the shortest mean block.

    Returns:
        Interval: Contains the estimate. A series of equal values has the point as interval of its mean, and no IR.
            Where nearly all values are equal, or the resamples are, nothing is known of the uncertainty: the bounds are
            NaN.

    Raises:
        ConfigError: When the statistic is unknown or the look-ahead is below one.
        DataError: When a value is infinite.
    """
    (found,) = bootstrap_intervals([question(series, statistic, look_ahead)], bootstrap or Bootstrap())
    return found


def drawdown_interval(returns: Doubles, *, bootstrap: Bootstrap | None = None, look_ahead: int = 1) -> Interval:
    """Return a percentile interval for the largest drawdown of summed returns.

    A drawdown is no smooth function of means: resampled paths say what other orders of the same days would have
    brought, and the estimate can lie outside. There is no standard error and no p-value.

    Args:
        returns: (S,) returns per time, NaN where undefined.
        bootstrap, look_ahead: As in `bootstrap_interval`.

    Returns:
        Interval: Values ≤ 0, of the order of `harness.evaluation.portfolio.risk_analysis` in mode ``sum``.

    Raises:
        ConfigError: When the look-ahead is below one.
        DataError: When a value is infinite.
    """
    (found,) = bootstrap_intervals([question(returns, "drawdown", look_ahead)], bootstrap or Bootstrap())
    return found


class _Plan(Protocol):
    """An interval before its series was resampled."""

    @property
    def resamples(self) -> Resamples | None:
        """What is needed of the resamples; None when the interval is known without them."""
        ...

    def interval(self, bootstrap: Bootstrap) -> Interval:
        """Return the interval, once the resamples are made."""
        ...


@dataclass(frozen=True)
class _Known:
    """An interval that needs no resamples: of a series that is too short, or does not vary."""

    known: Interval
    resamples: None = None

    def interval(self, bootstrap: Bootstrap) -> Interval:
        return self.known


@dataclass(frozen=True, eq=False)
class _Studentised:
    """The symmetric interval of a smooth statistic."""

    smooth: SmoothStatistic
    without: Interval  # with everything that is known before the resamples are made
    resamples: Moments

    def interval(self, bootstrap: Bootstrap) -> Interval:
        estimate, error = self.without.estimate, self.without.standard_error
        ratios = self._ratios(error)
        reach = float(np.sort(ratios)[bootstrap.rank - 1]) * error
        if not reach <= _WIDEST * float(np.ptp(self.smooth.influence)):
            return self.without
        beyond = int((ratios >= abs(estimate) / error).sum())
        p_value = (1 + beyond) / (bootstrap.repetitions + 1)
        return replace(self.without, low=estimate - reach, high=estimate + reach, p_value=p_value)

    def _ratios(self, error: float) -> Doubles:
        """Return (R,) |t*|; infinite where a resample does not vary, which can only widen the interval."""
        means, projections = self.resamples.means, self.resamples.projections
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = self.smooth.gradient(means)  # (R, K)
            linear = np.zeros(projections.shape[::2])  # (R, ν)
            for k in range(slopes.shape[1]):
                linear += slopes[:, k, None] * projections[:, k]
            errors = np.sqrt(np.square(linear).mean(axis=1) / self.smooth.count)
            ratios = np.abs(self.smooth.value(means) - self.without.estimate) / errors
        return np.where(np.isfinite(ratios) & (errors > _STILL * error), ratios, np.inf)


@dataclass(frozen=True, eq=False)
class _Fallen:
    """The percentile interval of a largest drawdown."""

    without: Interval
    resamples: Falls

    def interval(self, bootstrap: Bootstrap) -> Interval:
        falls = self.resamples.falls
        if np.isnan(falls).mean() > 1.0 - bootstrap.level:
            return self.without
        tails = ((1.0 - bootstrap.level) / 2.0, (1.0 + bootstrap.level) / 2.0)
        low, high = np.quantile(falls[~np.isnan(falls)], tails)
        return replace(self.without, low=float(low), high=float(high))


def _plan(asked: Question, bootstrap: Bootstrap) -> _Plan:
    if isinstance(asked.subject, SmoothStatistic):
        return _smooth_plan(asked.subject, asked, bootstrap)
    values, level = asked.subject, np.cumsum(asked.subject)
    estimate = float((level - np.maximum.accumulate(level)).min()) if values.size else float("nan")
    undefined = _undefined(estimate, values.size, asked, bootstrap)
    if not is_long_enough(values.size, asked.look_ahead) or not varies(values, float(np.abs(values).max())):
        return _Known(undefined)
    block_length = _block_length(values, bootstrap, asked.look_ahead)
    return _Fallen(replace(undefined, block_length=block_length), Falls(values, block_length))


def _smooth_plan(smooth: SmoothStatistic, asked: Question, bootstrap: Bootstrap) -> _Plan:
    estimate, count, influence = smooth.estimate(), smooth.count, smooth.influence
    undefined = _undefined(estimate, count, asked, bootstrap)
    if math.isnan(estimate) or not is_long_enough(count, asked.look_ahead):
        return _Known(undefined)
    if is_constant(influence, smooth.magnitude):
        same = float(np.ptp(influence)) == 0.0
        bounds = (estimate, estimate) if same else (float("nan"), float("nan"))
        return _Known(replace(undefined, low=bounds[0], high=bounds[1], standard_error=0.0))
    if not varies(influence, smooth.magnitude):
        return _Known(undefined)
    block_length = _block_length(influence, bootstrap, asked.look_ahead)
    degrees = cosine_degrees(influence, asked.look_ahead)
    error = float(np.sqrt(long_run_variance(influence, degrees) / count))
    without = replace(undefined, standard_error=error, degrees=degrees, block_length=block_length)
    return _Studentised(smooth, without, Moments(smooth.moments, degrees, block_length))


def _undefined(estimate: float, count: int, asked: Question, bootstrap: Bootstrap) -> Interval:
    nan = float("nan")
    return Interval(estimate, nan, nan, nan, 0, nan, bootstrap.level, 0.0, count, asked.dropped)


def _block_length(series: Doubles, bootstrap: Bootstrap, look_ahead: int) -> float:
    if bootstrap.block_length is None:
        return automatic_block_length(series, look_ahead)
    return min(bootstrap.block_length, series.size / 3)
