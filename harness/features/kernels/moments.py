"""Moments of one series over a window: sum, mean, variance, skewness, kurtosis, mean absolute deviation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.features.kernels.compiled import compiled

Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

SUM, MEAN, VAR, STD, MAD, SKEW, KURT = range(7)
_BLOCK = 400  # times per block: its sums fit into the first-level cache, and are not a page apart
_NO_VARIANCE = 1e-14  # pandas calls skewness and kurtosis undefined at or below this variance


@compiled
def carry(x: Doubles, starts: Positions, out: Doubles) -> None:
    """Write the last finite value at or before each time: a reference near the values of any window that ends there.

    When the last finite value is older than a window, the window is empty and its reference without effect.
    """
    rows, times = x.shape
    for row in range(rows):
        last = np.nan
        out[row, : starts[row]] = np.nan
        for t in range(starts[row], times):
            value = x[row, t]
            if value - value == 0.0:
                last = value
            out[row, t] = last


@compiled
def moments(x: Doubles, reference: Doubles, starts: Positions, window: int, kind: int, out: Doubles) -> None:
    """Write one statistic (`kind`) of every window of `x`; `reference` comes from `carry`.

    Follows pandas' rolling ``sum mean var std skew kurt`` (ddof 1, bias-corrected) and qlib's ``Mad``. Variances are
    taken about the reference; what needs higher moments, about the mean in a second pass.
    """
    rows, times = x.shape
    sums = np.empty((5, _BLOCK))  # count, gaps from the reference or mean, then second, third and fourth powers
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            sums[:] = 0.0
            _sum_gaps(x[row], reference[row], (start, begin, end), window, kind, sums)
            if kind > STD:
                for j in range(end - begin):
                    sums[1, j] = reference[row, begin + j] + sums[1, j] / sums[0, j]
                _sum_powers(x[row], (start, begin, end), window, kind, sums)
            for j in range(end - begin):
                about, n, total = reference[row, begin + j], sums[0, j], sums[1, j]
                if kind == SUM:
                    out[row, begin + j] = total + n * about if n > 0.0 else np.nan
                elif kind == MEAN:
                    out[row, begin + j] = about + total / n
                elif kind <= STD:
                    variance = max(sums[2, j] - total * total / n, 0.0) / (n - 1.0) if n > 1.0 else np.nan
                    out[row, begin + j] = variance if kind == VAR else np.sqrt(variance)
                else:
                    out[row, begin + j] = _central(kind, n, sums[2, j], sums[3, j], sums[4, j])


@compiled
def _sum_gaps(
    x: Doubles, reference: Doubles, span: tuple[int, int, int], window: int, kind: int, sums: Doubles
) -> None:
    """Add the number of values and their gaps from the reference to rows 0 and 1 of `sums`, squared gaps to row 2."""
    start, begin, end = span
    squared = kind == VAR or kind == STD
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past, origin = x[low - lag : end - lag], reference[low:end]
        count, total, second = sums[0, low - begin :], sums[1, low - begin :], sums[2, low - begin :]
        if squared:
            for j in range(end - low):
                gap = past[j] - origin[j]
                finite = gap - gap == 0.0
                count[j] += 1.0 if finite else 0.0
                total[j] += gap if finite else 0.0
                second[j] += gap * gap if finite else 0.0
        else:
            for j in range(end - low):
                gap = past[j] - origin[j]
                finite = gap - gap == 0.0
                count[j] += 1.0 if finite else 0.0
                total[j] += gap if finite else 0.0


@compiled
def _sum_powers(x: Doubles, span: tuple[int, int, int], window: int, kind: int, sums: Doubles) -> None:
    """Add powers of deviations from the mean (row 1 of `sums`) to rows 2 … 4; absolute deviations for `MAD`."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past, mean = x[low - lag : end - lag], sums[1, low - begin :]
        second, third, fourth = sums[2, low - begin :], sums[3, low - begin :], sums[4, low - begin :]
        for j in range(end - low):
            gap = past[j] - mean[j]
            gap = gap if gap - gap == 0.0 else 0.0
            second[j] += abs(gap) if kind == MAD else gap * gap
            third[j] += gap * gap * gap
            fourth[j] += gap * gap * gap * gap


@compiled
def _central(kind: int, n: float, second: float, third: float, fourth: float) -> float:
    """Return a statistic from the number of values and sums of powers of deviations from their mean."""
    variance = second / n
    result = np.nan
    if kind == MAD:
        result = variance
    elif kind == SKEW and n >= 3.0 and second == 0.0:
        result = 0.0
    elif kind == SKEW and n >= 3.0 and variance > _NO_VARIANCE:
        result = np.sqrt(n * (n - 1.0)) / (n - 2.0) * (third / n) / variance**1.5
    elif kind == KURT and n >= 4.0 and second == 0.0:
        result = -3.0
    elif kind == KURT and n >= 4.0 and variance > _NO_VARIANCE:
        ratio = (n * n - 1.0) * (fourth / n) / (variance * variance)
        result = (ratio - 3.0 * (n - 1.0) ** 2) / ((n - 2.0) * (n - 3.0))
    return result


@compiled
def weighted_mean(x: Doubles, starts: Positions, window: int, out: Doubles) -> None:
    """Write qlib's ``WMA``: weights 1, 2, … up to now, normalised to sum 1, then the *mean* of weight × value.

    That is the textbook weighted average divided by the number of values in the window; kept, because factors written
    for qlib expect it.
    """
    rows, times = x.shape
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for t in range(start, times):
            length = min(window, t - start + 1)
            total, count = 0.0, 0
            for lag in range(length):
                value = x[row, t - lag]
                if value - value == 0.0:
                    total += (length - lag) * value
                    count += 1
            out[row, t] = total / (0.5 * length * (length + 1)) / count if count else np.nan


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
