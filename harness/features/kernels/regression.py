"""Straight lines through a window: regression on time, covariance and correlation of two series."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.features.kernels.compiled import compiled

Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Pair = tuple[Doubles, Doubles]

SLOPE, RSQUARE, RESI = range(3)
COV, CORR = range(2)
_BLOCK = 400  # times per block: its sums fit into the first-level cache, and are not a page apart
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
    sums = np.empty((6, _BLOCK))  # count, gaps from the reference, squared gaps, lags, squared lags, lag × gap
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            sums[:] = 0.0
            _sum_lags(x[row], reference[row], (start, begin, end), window, sums)
            for j in range(end - begin):
                t, n = begin + j, sums[0, j]
                lag, gap = sums[3, j] / n, sums[1, j] / n
                mixed = lag * sums[1, j] - sums[5, j]  # time runs against the lag
                slope = mixed / (sums[4, j] - lag * sums[3, j]) if n > 1.0 else np.nan
                if kind == SLOPE:
                    out[row, t] = slope
                elif kind == RESI:
                    newest = x[row, t] - reference[row, t]
                    out[row, t] = newest - gap - slope * lag if newest == 0.0 else np.nan
                elif guarded and spread[row, t] <= _NO_SPREAD:
                    out[row, t] = np.nan
                else:
                    out[row, t] = slope * mixed / (sums[2, j] - gap * sums[1, j])


@compiled
def _sum_lags(x: Doubles, reference: Doubles, span: tuple[int, int, int], window: int, sums: Doubles) -> None:
    """Add what a straight line needs to the rows of `sums`, over the window's values."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past, origin = x[low - lag : end - lag], reference[low:end]
        count, total, square = sums[0, low - begin :], sums[1, low - begin :], sums[2, low - begin :]
        lags, square_lags, mixed = sums[3, low - begin :], sums[4, low - begin :], sums[5, low - begin :]
        step, square_step = float(lag), float(lag) * float(lag)
        for j in range(end - low):
            gap = past[j] - origin[j]
            finite = gap - gap == 0.0
            gap = gap if finite else 0.0
            count[j] += 1.0 if finite else 0.0
            total[j] += gap
            square[j] += gap * gap
            lags[j] += step if finite else 0.0
            square_lags[j] += square_step if finite else 0.0
            mixed[j] += step * gap


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
    sums = np.empty((6, _BLOCK))  # count, gaps of x and of y from their references, Σxx, Σyy, Σxy of gaps
    for row in range(rows):
        start = starts[row]
        out[row, :start] = np.nan
        for begin in range(start, times, _BLOCK):
            end = min(begin + _BLOCK, times)
            sums[:] = 0.0
            xy, about = (series[0][row], series[1][row]), (references[0][row], references[1][row])
            _sum_products(xy, about, (start, begin, end), window, sums)
            for j in range(end - begin):
                t, n = begin + j, sums[0, j]
                gap_x, gap_y = sums[1, j] / n, sums[2, j] / n
                product = sums[5, j] - gap_x * sums[2, j]
                if not n > 1.0:
                    out[row, t] = np.nan
                elif kind == COV:
                    out[row, t] = product / (n - 1.0)
                elif guarded and (spreads[0][row, t] <= _NO_SPREAD or spreads[1][row, t] <= _NO_SPREAD):
                    out[row, t] = np.nan
                else:
                    square_x, square_y = sums[3, j] - gap_x * sums[1, j], sums[4, j] - gap_y * sums[2, j]
                    out[row, t] = product / (np.sqrt(square_x) * np.sqrt(square_y))


@compiled
def _sum_products(series: Pair, references: Pair, span: tuple[int, int, int], window: int, sums: Doubles) -> None:
    """Add gaps from the references, their squares and products to the rows of `sums`, over the joint values."""
    start, begin, end = span
    for lag in range(min(window, end - start)):
        low = max(begin, start + lag)
        past_x, origin_x = series[0][low - lag : end - lag], references[0][low:end]
        past_y, origin_y = series[1][low - lag : end - lag], references[1][low:end]
        count, total_x, total_y = sums[0, low - begin :], sums[1, low - begin :], sums[2, low - begin :]
        xx, yy, xy = sums[3, low - begin :], sums[4, low - begin :], sums[5, low - begin :]
        for j in range(end - low):
            gap_x, gap_y = past_x[j] - origin_x[j], past_y[j] - origin_y[j]
            finite = (gap_x - gap_x == 0.0) & (gap_y - gap_y == 0.0)
            gap_x, gap_y = gap_x if finite else 0.0, gap_y if finite else 0.0
            count[j] += 1.0 if finite else 0.0
            total_x[j] += gap_x
            total_y[j] += gap_y
            xx[j] += gap_x * gap_x
            yy[j] += gap_y * gap_y
            xy[j] += gap_x * gap_y
