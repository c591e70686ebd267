"""Straight lines through a window: regression on time, covariance and correlation of two series."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.features.kernels.compiled import compiled

__all__ = ["CORR", "COV", "RESI", "RSQUARE", "SLOPE", "comovement", "paired", "trend"]

Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Pair = tuple[Doubles, Doubles]

SLOPE, RSQUARE, RESI = range(3)
COV, CORR = range(2)
_BLOCK = 512  # times per block: the block's sums stay in the first-level cache
_NO_SPREAD = 2e-5  # qlib calls a correlation undefined when a standard deviation is at most this


@compiled
def trend(
    x: Doubles, reference: Doubles, spread: Doubles, starts: Positions, how: tuple[int, int, bool], out: Doubles
) -> None:
    """Write slope, R² or last residual of the least-squares line through the window's values against time.

    Missing values are left out, the others keep their times; qlib's ``Slope Rsquare Resi``. `how` is (window, kind,
    guarded); `spread` is the window's standard deviation: if guarded, at most 2e-5 makes R² undefined.
    """
    rows, times = x.shape
    window, kind, guarded = how
    sums = np.empty((6, _BLOCK))  # count, mean, mean lag, Σ(lag − mean)², Σ(mean lag − lag)·gap, Σ gap²
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            sums[:] = 0.0
            _sum_lags(x[row], reference[row], (start, begin, end), window, sums)
            for j in range(end - begin):
                n = sums[0, j]
                sums[1, j] = reference[row, begin + j] + sums[1, j] / n
                sums[2, j] /= n
                sums[3, j] -= n * sums[2, j] * sums[2, j]
            _sum_slopes(x[row], (start, begin, end), window, sums)
            for j in range(end - begin):
                t = begin + j
                slope = sums[4, j] / sums[3, j] if sums[0, j] > 1.0 else np.nan
                if kind == SLOPE:
                    out[row, t] = slope
                elif kind == RESI:
                    gap = x[row, t] - sums[1, j]
                    out[row, t] = gap - slope * sums[2, j] if gap - gap == 0.0 else np.nan
                elif guarded and spread[row, t] <= _NO_SPREAD:
                    out[row, t] = np.nan
                else:
                    out[row, t] = slope * sums[4, j] / sums[5, j]


@compiled
def _sum_lags(x: Doubles, reference: Doubles, span: tuple[int, int, int], window: int, sums: Doubles) -> None:
    """Add, over the window's values: their number, gaps from the reference, lags, and squared lags to rows 0 … 3."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past, origin = x[low - lag : end - lag], reference[low:end]
        count, total = sums[0, low - begin :], sums[1, low - begin :]
        lags, squares = sums[2, low - begin :], sums[3, low - begin :]
        step, square = float(lag), float(lag) * float(lag)
        for j in range(end - low):
            gap = past[j] - origin[j]
            finite = gap - gap == 0.0
            count[j] += 1.0 if finite else 0.0
            total[j] += gap if finite else 0.0
            lags[j] += step if finite else 0.0
            squares[j] += square if finite else 0.0


@compiled
def _sum_slopes(x: Doubles, span: tuple[int, int, int], window: int, sums: Doubles) -> None:
    """Add products of centred time and centred value, and squares of the latter, to rows 4 and 5 of `sums`."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past, mean, middle = x[low - lag : end - lag], sums[1, low - begin :], sums[2, low - begin :]
        product, square = sums[4, low - begin :], sums[5, low - begin :]
        step = float(lag)
        for j in range(end - low):
            gap = past[j] - mean[j]
            gap = gap if gap - gap == 0.0 else 0.0
            product[j] += (middle[j] - step) * gap
            square[j] += gap * gap


@compiled
def paired(x: Doubles, other: Doubles, out: Doubles) -> None:
    """Write `x` where `other` is finite too, NaN elsewhere."""
    rows, times = x.shape
    for row in range(rows):
        for t in range(times):
            out[row, t] = x[row, t] if other[row, t] - other[row, t] == 0.0 else np.nan


@compiled
def comovement(
    series: Pair, references: Pair, spreads: Pair, starts: Positions, how: tuple[int, int, bool], out: Doubles
) -> None:
    """Write covariance (ddof 1) or correlation of two series over the times at which both are known.

    `series` come from `paired`, `references` from `carry`. `how` is (window, kind, guarded); `spreads` are the standard
    deviations of either series alone: if guarded, at most 2e-5 makes a correlation undefined, as in qlib's ``Corr``.
    """
    rows, times = series[0].shape
    window, kind, guarded = how
    sums = np.empty((6, _BLOCK))  # count, both means, Σxx, Σyy, Σxy about the means
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            sums[:] = 0.0
            rows_xy = (series[0][row], series[1][row])
            _sum_both(rows_xy, (references[0][row], references[1][row]), (start, begin, end), window, sums)
            for j in range(end - begin):
                for k in range(2):
                    sums[1 + k, j] = references[k][row, begin + j] + sums[1 + k, j] / sums[0, j]
            _sum_products(rows_xy, (start, begin, end), window, sums)
            for j in range(end - begin):
                t = begin + j
                if not sums[0, j] > 1.0:
                    out[row, t] = np.nan
                elif kind == COV:
                    out[row, t] = sums[5, j] / (sums[0, j] - 1.0)
                elif guarded and (spreads[0][row, t] <= _NO_SPREAD or spreads[1][row, t] <= _NO_SPREAD):
                    out[row, t] = np.nan
                else:
                    out[row, t] = sums[5, j] / (np.sqrt(sums[3, j]) * np.sqrt(sums[4, j]))


@compiled
def _sum_both(series: Pair, references: Pair, span: tuple[int, int, int], window: int, sums: Doubles) -> None:
    """Add the number of joint values and their gaps from the references to rows 0 … 2 of `sums`."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past_x, origin_x = series[0][low - lag : end - lag], references[0][low:end]
        past_y, origin_y = series[1][low - lag : end - lag], references[1][low:end]
        count, total_x, total_y = sums[0, low - begin :], sums[1, low - begin :], sums[2, low - begin :]
        for j in range(end - low):
            gap_x, gap_y = past_x[j] - origin_x[j], past_y[j] - origin_y[j]
            finite = (gap_x - gap_x == 0.0) & (gap_y - gap_y == 0.0)
            count[j] += 1.0 if finite else 0.0
            total_x[j] += gap_x if finite else 0.0
            total_y[j] += gap_y if finite else 0.0


@compiled
def _sum_products(series: Pair, span: tuple[int, int, int], window: int, sums: Doubles) -> None:
    """Add squares and products of deviations from the means (rows 1 and 2) to rows 3 … 5 of `sums`."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past_x, past_y = series[0][low - lag : end - lag], series[1][low - lag : end - lag]
        mean_x, mean_y = sums[1, low - begin :], sums[2, low - begin :]
        xx, yy, xy = sums[3, low - begin :], sums[4, low - begin :], sums[5, low - begin :]
        for j in range(end - low):
            gap_x, gap_y = past_x[j] - mean_x[j], past_y[j] - mean_y[j]
            finite = (gap_x - gap_x == 0.0) & (gap_y - gap_y == 0.0)
            gap_x, gap_y = gap_x if finite else 0.0, gap_y if finite else 0.0
            xx[j] += gap_x * gap_x
            yy[j] += gap_y * gap_y
            xy[j] += gap_x * gap_y
