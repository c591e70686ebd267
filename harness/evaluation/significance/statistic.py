"""Statistics as smooth functions of the means of a few moments, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.errors import ConfigError, closest
from harness.evaluation.significance.defined import ROUNDING, Doubles, is_constant

Statistic = Literal["mean", "ir"]
_STATISTICS = ("mean", "ir")


@dataclass(frozen=True, eq=False)
class SmoothStatistic:
    """A statistic of a series, ready to be linearised and resampled.

    Attributes
    ----------
    moments
        (T, K) float64, one row per time.
    value
        (…, K) means of the moments → (…) statistic.
    gradient
        (…, K) means of the moments → (…, K) derivatives.
    influence
        (T,) float64, the series whose mean moves as the statistic does, to first order; NaN when undefined.
    magnitude
        Of the numbers that the influence is a difference of, by which rounding errors are told from variation.
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


def smooth_statistic(series: Doubles, statistic: Statistic) -> SmoothStatistic:
    """Return the mean, or mean over standard deviation (ddof 1), of a (T,) series without NaN.

    Raises
    ------
    ConfigError
        When the statistic is unknown.
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


def smooth_difference(left: Doubles, right: Doubles, statistic: Statistic) -> SmoothStatistic:
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
