"""Exponentially weighted means: the only kernels with a memory, which fades."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.features.kernels.compiled import compiled

Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


@compiled
def exponential_mean(x: Doubles, starts: Positions, alpha: float, out: Doubles) -> None:
    """Write the mean of all values so far, weighted (1 − alpha)^age; a missing value ages the others.

    qlib's ``EMA`` with a span or a smoothing factor (pandas: ``ewm(adjust=True, ignore_na=False)``). The mean is moved
    towards each new value, so that it keeps no growing sums.
    """
    rows, times = x.shape
    for row in range(rows):
        out[row, : starts[row]] = np.nan
        mean, weight = np.nan, 0.0
        for t in range(starts[row], times):
            weight *= 1.0 - alpha
            value = x[row, t]
            if value - value == 0.0:
                weight += 1.0
                mean = value if mean != mean else mean + (value - mean) / weight
            out[row, t] = mean


@compiled
def exponential_mean_expanding(x: Doubles, starts: Positions, out: Doubles) -> None:
    """Write qlib's ``EMA(series, 0)``: weights a^age with a = 1 − 2 / (1 + n) at the n-th time.

    As in qlib, a missing value counts as a zero: weights are normalised over all n times. NaN until the first value.
    """
    rows, times = x.shape
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        known = False
        for t in range(start, times):
            fade = 1.0 - 2.0 / (2.0 + t - start)
            total, weights = 0.0, 0.0
            for s in range(start, t + 1):
                value = x[row, s]
                finite = value - value == 0.0
                known = known or finite
                total = total * fade + (value if finite else 0.0)
                weights = weights * fade + 1.0
            out[row, t] = total / weights if known else np.nan
