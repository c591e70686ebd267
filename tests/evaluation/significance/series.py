"""Series whose truth is known: autocorrelated noise, and the ICs of signals that know nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from harness.evaluation import formulas as metrics

Doubles = npt.NDArray[np.float64]

HORIZON = 20
LOOK_AHEAD = HORIZON + 1


def autoregressive(generator: np.random.Generator, shape: tuple[int, int], persistence: float) -> Doubles:
    """(R, T) AR(1) of unit innovations, stationary from the start; long-run variance 1/(1 − ρ)²."""
    noise = generator.standard_normal(shape)
    noise[:, 0] /= np.sqrt(1 - persistence**2)
    for t in range(1, shape[1]):
        noise[:, t] += persistence * noise[:, t - 1]
    return noise


def overlapping(generator: np.random.Generator, shape: tuple[int, int], horizon: int = HORIZON) -> Doubles:
    """(R, T) sums of `horizon` unit innovations; long-run variance horizon²."""
    noise = generator.standard_normal((shape[0], shape[1] + horizon))
    return rolling_sums(noise.T, horizon).T[:, : shape[1]]


def rolling_sums(values: Doubles, horizon: int) -> Doubles:
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return total[horizon:] - total[:-horizon]


def ics_of_nothing(generator: np.random.Generator, count: int, instruments: int = 40) -> tuple[Doubles, Doubles]:
    """ICs of two persistent scores, drawn without a look at anything, with the same overlapping labels."""
    returns = generator.standard_normal((count + HORIZON - 1, instruments))
    label = rolling_sums(returns, HORIZON).ravel()
    offsets = np.arange(0, count * instruments + 1, instruments)
    first, second = (
        metrics.ic(autoregressive(generator, (instruments, count), 0.97).T.ravel(), label, offsets) for _ in range(2)
    )
    return first, second


def plausible(nominal_low: float, nominal_high: float, repetitions: int) -> tuple[float, float]:
    """Rejection rates that a test of a size within the bounds shows with 99.9 % probability on either side."""
    low, high = binom.ppf(0.001, repetitions, nominal_low), binom.ppf(0.999, repetitions, nominal_high)
    return float(low / repetitions), float(high / repetitions)
