"""Intervals by the stationary bootstrap, of a statistic and of its difference to a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from harness.errors import ConfigError
from harness.errors.limits import Count, check_limits
from harness.evaluation.formulas import largest_fall
from harness.evaluation.significance import hac
from harness.evaluation.significance.hac import Doubles, HacTest
from harness.evaluation.significance.resampling import Falls, Moments, Resamples, resample
from harness.execution.progress import Observer
from harness.execution.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class SmoothStatistic:
    """A statistic of a series, ready to be linearised and resampled."""

    moments: Doubles  # (T, K), one row per time
    value: Callable[[Doubles], Doubles]  # (…, K) means of the moments → (…) statistic
    gradient: Callable[[Doubles], Doubles]  # (…, K) means of the moments → (…, K) derivatives
    influence: Doubles  # (T,), whose mean moves as the statistic does, to first order; NaN when undefined
    magnitude: float  # of the numbers that the influence is a difference of: tells rounding errors from variation

    def estimate(self) -> float:
        """Return the statistic of the series itself, NaN when undefined."""
        if self.influence.size == 0 or np.isnan(self.influence).any():
            return float("nan")
        return float(self.value(self.moments.mean(axis=0)))


def smooth_statistic(
    series: Doubles, statistic: str, reference: Doubles | None = None, base: Doubles | None = None
) -> SmoothStatistic:
    """Return the mean, its root, mean over standard deviation (ddof 1), or skill, of a (T,) series without NaN.

    With a reference of the same times: minus that of the reference, both resampled at the same times. A skill is 1
    minus the mean over that of `base`.
    """
    if statistic == "skill" and base is not None:
        return _skill(series, base, 1.0) if reference is None else _skill(series - reference, base, 0.0)
    hac.check_choice("statistic", statistic, _STATISTICS)
    first = _STATISTICS[statistic](series)
    if reference is None:
        return first
    second = _STATISTICS[statistic](reference)
    magnitude = max(first.magnitude, second.magnitude)
    if statistic == "mean":
        return replace(_mean(series - reference), magnitude=magnitude)
    split = first.moments.shape[1]

    def value(means: Doubles) -> Doubles:
        return first.value(means[..., :split]) - second.value(means[..., split:])

    def gradient(means: Doubles) -> Doubles:
        return np.concatenate((first.gradient(means[..., :split]), -second.gradient(means[..., split:])), axis=-1)

    moments = np.concatenate((first.moments, second.moments), axis=1)
    return SmoothStatistic(moments, value, gradient, first.influence - second.influence, magnitude)


def _mean(series: Doubles) -> SmoothStatistic:
    moments = np.ascontiguousarray(series[:, None])
    return SmoothStatistic(moments, lambda means: means[..., 0], np.ones_like, series, hac.largest(series))


def _ir(series: Doubles) -> SmoothStatistic:
    # Squares of deviations, not of values: a series far from zero would lose its variance to rounding.
    count = max(series.size, 1)
    centre, bessel = series.sum() / count, np.sqrt((count - 1) / count)
    deviations = series - centre
    own = float(np.square(deviations).mean()) if series.size else 0.0

    def deviation(means: Doubles) -> Doubles:
        variance = means[..., 1] - means[..., 0] ** 2  # what is left of a very small one is a rounding error
        return np.asarray(np.sqrt(np.where(variance > hac.ROUNDING * own, variance, np.nan)))

    def value(means: Doubles) -> Doubles:
        return np.asarray(bessel * (centre + means[..., 0]) / deviation(means))

    def gradient(means: Doubles) -> Doubles:
        mean, std = centre + means[..., 0], deviation(means)
        first = 1.0 / std + mean * means[..., 0] / std**3
        return np.asarray(bessel * np.stack((first, -mean / (2.0 * std**3)), axis=-1))

    influence = np.full(series.size, np.nan)
    if not hac.is_constant(series, hac.largest(series)):
        std = deviations.std()
        influence = bessel * (deviations / std - centre / (2.0 * std**3) * (deviations**2 - std**2))
    moments = np.stack((deviations, deviations**2), axis=1)
    return SmoothStatistic(moments, value, gradient, influence, hac.largest(influence))


def _root(series: Doubles) -> SmoothStatistic:
    root = math.sqrt(float(series.mean())) if series.size else math.nan
    influence = series / (2.0 * root) if root > 0 else np.full(series.size, np.nan)

    def gradient(means: Doubles) -> Doubles:
        return np.asarray(0.5 / np.sqrt(means))

    moments = np.ascontiguousarray(series[:, None])
    return SmoothStatistic(moments, lambda m: np.sqrt(m[..., 0]), gradient, influence, hac.largest(influence))


def _skill(series: Doubles, base: Doubles, perfect: float) -> SmoothStatistic:
    scale = float(base.mean()) if base.size else 0.0
    ratio = float(series.mean()) / scale if scale else math.nan
    influence = (ratio * base - series) / scale if scale else np.full(series.size, np.nan)

    def gradient(means: Doubles) -> Doubles:
        return np.stack((-1.0 / means[..., 1], means[..., 0] / means[..., 1] ** 2), axis=-1)

    moments = np.stack((series, base), axis=1)
    magnitude = max(hac.largest(series), hac.largest(base)) / scale if scale else math.nan
    return SmoothStatistic(moments, lambda m: perfect - m[..., 0] / m[..., 1], gradient, influence, magnitude)


_STATISTICS = {"mean": _mean, "ir": _ir, "root": _root}
PAIRED = ("mean", "ir", "root", "skill")
"""The statistics whose difference to a reference can be tested."""
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
        check_limits(self, "bootstrap")
        if self.rank > self.repetitions:
            where, expected = "bootstrap.repetitions", f"≥ 1/(1 − level) = {1 / (1 - self.level):.0f}"
            raise ConfigError("The level needs more repetitions.", where=where, got=self.repetitions, expected=expected)

    @property
    def rank(self) -> int:
        """Which of the sorted resampled |t| is the critical value; makes interval and p-value agree exactly."""
        return math.ceil(round((self.repetitions + 1) * self.level, 9))

    def block_length_of(self, series: Doubles, look_ahead: int) -> float:
        """Return the mean length of the blocks for a (T,) series that varies, or (T, M) series: the longest; ≤ T/3.

        Where it is not given, by Politis & White (2004) as corrected by Patton, Politis & White (2009).
        """
        length = self.block_length
        if length is None:
            with one_blas_thread():
                lengths = [chosen_block_length(column) for column in series.reshape(len(series), -1).T]
            length = max(float(np.max(lengths)), look_ahead, 1.0)
        return float(min(length, series.shape[0] / 3))


def chosen_block_length(series: Doubles) -> float:
    """Return the mean block length of the stationary bootstrap that suits the autocorrelation of a (T,) series best.

    Autocovariances count up to twice the lag behind which some in a row are insignificant, by a flat-top window. The
    sums, and so the bits, are those of ``arch.bootstrap.optimal_block_length``, whose import takes two seconds.
    """
    n, centred = series.size, series - series.mean()
    in_a_row = max(5, int(np.log10(n)))
    most = int(np.ceil(np.sqrt(n))) + in_a_row
    products = [centred[lag:] @ centred[: n - lag] for lag in range(most + 1)]
    heads, tails = ([part @ part for part in (centred[at] for at in cut)] for cut in _ends(most))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.abs(products) / np.sqrt(np.multiply(heads, tails))
    small = correlations < 2 * np.sqrt(np.log10(n) / n)
    flat = (lag for lag in range(most + 1 - in_a_row) if small[lag : lag + in_a_row].all())
    width = min(2 * max(next(flat, most), 1), most)
    slope, spectrum = 0.0, products[0] / n
    for lag in range(1, width + 1):
        weight = 1 if lag / width <= 1 / 2 else 2 * (1 - lag / width)
        slope += 2 * weight * lag * (products[lag] / n)
        spectrum += 2 * weight * (products[lag] / n)
    length = (2 * slope**2 / (2 * spectrum**2)) ** (1 / 3) * n ** (1 / 3)
    return float(min(length, np.ceil(min(3 * np.sqrt(n), n / 3))))


def _ends(most: int) -> tuple[list[slice], list[slice]]:
    """Return for each lag the values behind it and those before it from the end, that scale its autocorrelation."""
    lags = range(1, most + 2)
    return [slice(lag, None) for lag in lags], [slice(None, -lag) for lag in lags]


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
        low, high = sorted((self.low * factor, self.high * factor))
        error = self.standard_error * abs(factor)
        return replace(self, estimate=self.estimate * factor, low=low, high=high, standard_error=error)


@dataclass(frozen=True)
class PairedDifference:
    """A difference to a reference, tested in two ways that should agree."""

    bootstrap: Interval  # the t-value against its paired bootstrap distribution

    @property
    def estimate(self) -> float:
        """Statistic of the series minus that of the reference."""
        return self.bootstrap.estimate

    @property
    def hac(self) -> HacTest:
        """The same t-value against Student's t: Diebold–Mariano by the cosine estimator; of the IR, its linearisation.

        Fixed-smoothing critical values are what Coroneo & Iacone (2020, "Comparing predictive accuracy in small samples
        using fixed-smoothing asymptotics") advise.
        """
        known = self.bootstrap
        degrees = 0 if math.isnan(known.low) else known.degrees
        return hac.hac_test(known.estimate, known.standard_error, degrees, known.count, known.dropped)


@dataclass(frozen=True, eq=False)
class Question:
    """A statistic of a series, whose interval is wanted."""

    series: Doubles  # (S,)
    statistic: str  # ``mean``, ``ir``, ``root``, ``skill`` or ``drawdown``
    look_ahead: int  # of the label behind the series
    reference: Doubles | None = None  # (S,) values whose statistic is subtracted
    base: Doubles | None = None  # (S,) values of what a ``skill`` is over


def bootstrap_intervals(
    questions: Sequence[Question], bootstrap: Bootstrap, observer: Observer | None = None
) -> tuple[Interval, ...]:
    """Return the interval of each question; series of equal length are resampled together, which costs far less.

    Every interval has the bits that it has alone. The observer is told of the stage ``significance``.
    """
    plans = [_plan(one, bootstrap) for one in questions]
    wanted = [resamples for resamples, _ in plans if resamples is not None]
    resample(wanted, repetitions=bootstrap.repetitions, seed=bootstrap.seed, observer=observer)
    return tuple(conclude() for _, conclude in plans)


def bootstrap_interval(
    series: Doubles, statistic: str = "mean", *, bootstrap: Bootstrap | None = None, look_ahead: int = 1
) -> Interval:
    """Return a symmetric studentised interval for the mean, or the mean over standard deviation, of a series.

    The statistic is divided by its standard error from the cosine estimator, in the series and in each resample, and
    the critical value is a quantile of |t*|. Under autocorrelation this keeps the promised coverage where percentiles
    do not (Gonçalves & Vogelsang 2011, "Block bootstrap HAC robust tests: the sophistication of the naive bootstrap"):
    in 400 series of 860 values at a nominal 95 %, the percentile interval left the true mean of an AR(1) of 0.9 out
    in 10 %, this one in 5 %; of 240 values, in 25 % and 8.5 %.

    The statistic is ``mean``, or ``ir`` with ddof 1 (as `harness.evaluation.formulas.ir`); the look-ahead is the
    shortest mean block. The interval contains the estimate. A series of equal values has the point as interval of its
    mean, and no IR. Where nearly all values are equal, or the resamples are, nothing is known of the uncertainty: the
    bounds are NaN.

    ``drawdown`` is the largest fall of summed returns (`harness.evaluation.formulas.risk_analysis`, mode
    ``sum``). It is no smooth function of means: the bounds, ≤ 0, are percentiles of resampled paths, which say what
    other orders of the same days would have brought, and the estimate can lie outside. It has no standard error and no
    p-value.
    """
    (found,) = bootstrap_intervals([Question(series, statistic, look_ahead)], bootstrap or Bootstrap())
    return found


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
    asked = Question(series, statistic, look_ahead, reference)
    (found,) = bootstrap_intervals([asked], bootstrap or Bootstrap())
    return PairedDifference(found)


def _plan(asked: Question, bootstrap: Bootstrap) -> tuple[Resamples | None, Callable[[], Interval]]:
    """Return what is to be resampled, if anything, and what makes the interval of it."""
    hac.check_look_ahead(asked.look_ahead)
    beside = {name: rows for name in ("reference", "base") if (rows := getattr(asked, name)) is not None}
    values, *others = hac.defined_rows("series", asked.series, *beside.values())
    smooth = None
    if asked.statistic == "drawdown" and not others:
        estimate, magnitude = float(largest_fall(values)) if values.size else math.nan, hac.largest(values)
    else:
        smooth = smooth_statistic(values, asked.statistic, **dict(zip(beside, others, strict=True)))
        estimate, values, magnitude = smooth.estimate(), smooth.influence, smooth.magnitude
    degrees, error = hac.standard_error(values, magnitude, asked.look_ahead)
    dropped = asked.series.size - values.size
    bound = estimate if smooth and error == 0.0 and float(np.ptp(values)) == 0.0 else math.nan
    known = Interval(estimate, bound, bound, error, degrees, math.nan, bootstrap.level, 0.0, values.size, dropped)
    if smooth is None:
        known = replace(known, standard_error=math.nan, degrees=0)
    if not degrees:
        return None, lambda: known
    sized = replace(known, block_length=bootstrap.block_length_of(values, asked.look_ahead))
    if smooth is None:
        falls = Falls(values, sized.block_length, bootstrap.repetitions)
        return falls, lambda: _percentiles(sized, falls.falls)
    moments = Moments(smooth.moments, degrees, sized.block_length, bootstrap.repetitions)
    return moments, lambda: _studentised(sized, smooth, moments, bootstrap)


def _percentiles(known: Interval, resampled: Doubles) -> Interval:
    if np.isnan(resampled).mean() > 1.0 - known.level:
        return known
    shares = (1.0 - known.level) / 2.0, (1.0 + known.level) / 2.0
    low, high = np.quantile(resampled[~np.isnan(resampled)], shares)
    return replace(known, low=float(low), high=float(high))


def _studentised(known: Interval, smooth: SmoothStatistic, resamples: Moments, bootstrap: Bootstrap) -> Interval:
    estimate, error = known.estimate, known.standard_error
    means, projections = resamples.means, resamples.projections
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = smooth.gradient(means)  # (R, K)
        linear = np.zeros(projections.shape[::2])  # (R, ν)
        for k in range(slopes.shape[1]):
            linear += slopes[:, k, None] * projections[:, k]
        errors = np.sqrt(np.square(linear).mean(axis=1) / smooth.moments.shape[0])
        ratios = np.abs(smooth.value(means) - estimate) / errors  # (R,) |t*|
    # Infinite where a resample does not vary, which can only widen the interval.
    ratios = np.where(np.isfinite(ratios) & (errors > _STILL * error), ratios, np.inf)
    reach = float(np.sort(ratios)[bootstrap.rank - 1]) * error
    if not reach <= _WIDEST * float(np.ptp(smooth.influence)):
        return known
    p_value = (1 + int((ratios >= abs(estimate) / error).sum())) / (bootstrap.repetitions + 1)
    return replace(known, low=estimate - reach, high=estimate + reach, p_value=p_value)
