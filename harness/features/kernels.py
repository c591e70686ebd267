"""Compiled kernels over (rows, times) arrays: one row per instrument, times contiguous.

Conventions shared by all of them:

- float64 in, float64 out; before ``starts[row]``, the instrument's first time, a row is neither read nor written.
- A window of w covers the w times up to t, fewer near the start (qlib: ``min_periods=1``); an expanding one is longer
  than any calendar. Values that are not finite are missing, as pandas has it in rolling windows.
- A result is computed from the values of its own window alone, in a fixed order. Nothing but counts, which are exact,
  is carried from window to window, so neither a missing nor a huge value long ago can leave a trace, and equal windows
  give equal bits.
- The loop over times is inside the loop over the window, where neighbouring results can be computed at once.
- Those with `windows` write K results of the same series to ``out[k]``, in ascending order of windows: sums begin with
  the newest value, so that a window's are a stage of a longer window's, with the same bits.
- Moments are taken about a reference, the newest of the window's own values. No value lies further than √n standard
  deviations from the mean of its n, so that one pass loses at most a factor n of precision, whatever the level.
- Where neighbouring results can be computed at once, a loop counts from zero over slices: an index that could be
  negative is checked for it, and then they are computed one by one.
- Loops stand for ``any``, ``max`` and ``isnan`` of arrays, with which every run would import SciPy's linear algebra.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from harness.store.compiled import compiled as _compiled

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Pair = tuple[Doubles, Doubles]
Span = tuple[int, int, int]

SUM, MEAN, VAR, STD, MAD, SKEW, KURT = range(7)
SLOPE, RSQUARE, RESI = range(3)
COV, CORR = range(2)
_BLOCK = 400  # times per block: its sums fit into the first-level cache, and are not a page apart
_NO_VARIANCE = 1e-14  # pandas calls skewness and kurtosis undefined at or below this variance
NO_SPREAD = 2e-5  # qlib calls R² and a correlation undefined when a standard deviation is at most this

compiled = _compiled(error_model="numpy")  # a division by zero gives infinity or NaN


@compiled
def _blocks(starts: Positions, times: int) -> Iterator[tuple[int, Span]]:
    """Yield each row's blocks of times, as (first time of the row, begin, end)."""
    for row in range(starts.size):
        for begin in range(starts[row], times, _BLOCK):
            yield row, (starts[row], begin, min(begin + _BLOCK, times))


@compiled
def _lags(span: Span, since: int, window: int) -> Iterator[tuple[int, int]]:
    """Yield each lag from `since` within the window, and the first time of the block that has a value so long ago."""
    start, begin, end = span
    for lag in range(since, min(window, end - start)):
        yield lag, max(begin, start + lag)


@compiled
def blank(values: Doubles, starts: Positions) -> None:
    """Make each row NaN before its start; float32 or float64."""
    for row in range(starts.size):
        values[row, : starts[row]] = np.nan


@compiled
def carry(x: Doubles, starts: Positions, out: Doubles) -> None:
    """Write the last finite value at or before each time: a reference near the values of any window that ends there.

    When the last finite value is older than a window, the window is empty and its reference without effect.
    """
    for row in range(starts.size):
        values, found, last = x[row, starts[row] :], out[row, starts[row] :], np.nan
        for j in range(values.size):
            last = values[j] if values[j] - values[j] == 0.0 else last
            found[j] = last


@compiled
def moments(
    x: Doubles, reference: Doubles, starts: Positions, windows: Positions, kinds: Positions, out: Doubles
) -> None:
    """Write a statistic of every window of `x`, for each of `windows` and `kinds`; `reference` comes from `carry`.

    Follows pandas' rolling ``sum mean var std skew kurt`` (ddof 1, bias-corrected) and qlib's ``Mad``. Variances are
    taken about the reference; what needs higher moments, about the mean in a second pass.
    """
    sums = np.empty((7, _BLOCK))  # count, gaps and squared gaps from the reference; the mean, powers of gaps from it
    squared = False
    for kind in kinds:
        squared = squared or kind == VAR or kind == STD
    for row, span in _blocks(starts, out.shape[2]):
        sums[:3] = 0.0
        for k, window in enumerate(windows):
            since = windows[k - 1] if k else 0
            _sum_gaps(x[row], reference[row], span, since, window, squared, sums)
            if kinds[k] > STD:
                _sum_powers(x[row], reference[row], span, window, kinds[k], sums)
            _moment(reference[row, span[1] : span[2]], kinds[k], sums, out[k, row, span[1] : span[2]])


@compiled
def _sum_gaps(
    x: Doubles, reference: Doubles, span: Span, since: int, window: int, squared: bool, sums: Doubles
) -> None:
    """Add the number of values and their gaps from the reference to rows 0 and 1 of `sums`, squared gaps to row 2."""
    _, begin, end = span
    for lag, low in _lags(span, since, window):
        past, origin = x[low - lag : end - lag], reference[low:end]
        count, total, second = sums[0, low - begin :], sums[1, low - begin :], sums[2, low - begin :]
        for j in range(end - low):
            gap = past[j] - origin[j]
            finite = gap - gap == 0.0
            count[j] += 1.0 if finite else 0.0
            total[j] += gap if finite else 0.0
            if squared:
                second[j] += gap * gap if finite else 0.0


@compiled
def _sum_powers(x: Doubles, reference: Doubles, span: Span, window: int, kind: int, sums: Doubles) -> None:
    """Write the mean and sums of powers of deviations from it to rows 3 … 6; of absolute deviations for `MAD`."""
    _, begin, end = span
    about = reference[begin:end]
    for j in range(about.size):
        sums[3, j] = about[j] + sums[1, j] / sums[0, j]
    sums[4:] = 0.0
    for lag, low in _lags(span, 0, window):
        past, mean = x[low - lag : end - lag], sums[3, low - begin :]
        second, third, fourth = sums[4, low - begin :], sums[5, low - begin :], sums[6, low - begin :]
        for j in range(end - low):
            gap = past[j] - mean[j]
            gap = gap if gap - gap == 0.0 else 0.0
            second[j] += abs(gap) if kind == MAD else gap * gap
            third[j] += gap * gap * gap
            fourth[j] += gap * gap * gap * gap


@compiled
def _moment(about: Doubles, kind: int, sums: Doubles, out: Doubles) -> None:
    """Write one statistic of a block of windows from their sums and references."""
    count, total, square = sums[0], sums[1], sums[2]
    if kind == SUM:
        for j in range(out.size):
            out[j] = total[j] + count[j] * about[j] if count[j] > 0.0 else np.nan
    elif kind == MEAN:
        for j in range(out.size):
            out[j] = about[j] + total[j] / count[j]
    elif kind <= STD:
        for j in range(out.size):
            variance = max(square[j] - total[j] * total[j] / count[j], 0.0) / (count[j] - 1.0)
            out[j] = variance if count[j] > 1.0 else np.nan
        if kind == STD:
            for j in range(out.size):
                out[j] = np.sqrt(out[j])
    else:
        for j in range(out.size):
            out[j] = _central(kind, count[j], sums[4, j], sums[5, j], sums[6, j])


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
def occurrences(
    x: npt.NDArray[np.bool_], starts: Positions, windows: Positions, kinds: Positions, out: Doubles
) -> None:
    """Write in how many times of each window a condition holds (`SUM`), or in what share (`MEAN`), as `moments` does.

    Whole numbers: what is carried from window to window is exact.
    """
    _, rows, times = out.shape
    before = np.zeros(times + 1)  # how many times in all that came before each
    for row in range(rows):
        held, so_far = x[row, starts[row] :], 0.0
        for j in range(held.size):
            so_far += 1.0 if held[j] else 0.0
            before[j + 1] = so_far
        for k, window in enumerate(windows):
            found, young = out[k, row, starts[row] :], min(window, held.size)
            until, older = before[young + 1 :], before[1 : held.size - young + 1]
            for j in range(young):
                found[j] = before[j + 1]
            for j in range(older.size):
                found[young + j] = until[j] - older[j]
            if kinds[k] == MEAN:
                for j in range(held.size):
                    about, n = 1.0 if held[j] else 0.0, min(float(window), j + 1.0)
                    found[j] = about + (found[j] - n * about) / n


@compiled
def weighted_mean(x: Doubles, starts: Positions, window: int, out: Doubles) -> None:
    """Write qlib's ``WMA``: weights 1, 2, … up to now, normalised to sum 1, then the *mean* of weight × value.

    That is the textbook weighted average divided by the number of values in the window; kept, because factors written
    for qlib expect it.
    """
    rows, times = x.shape
    for row in range(rows):
        start = starts[row]
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


@compiled
def trend(
    x: Doubles, reference: Doubles, starts: Positions, windows: Positions, kinds: Positions, out: Doubles
) -> None:
    """Write slope, R² or last residual of the least-squares line through the window's values against time.

    Missing values are left out, the others keep their times; qlib's ``Slope Rsquare Resi``.
    """
    clock = np.arange(float(x.shape[1]))  # about now: minus the lag
    sums = np.empty((6, _BLOCK))
    for row, span in _blocks(starts, out.shape[2]):
        _, begin, end = span
        sums[:] = 0.0
        for k, window in enumerate(windows):
            since, kind = windows[k - 1] if k else 0, kinds[k]
            _sum_products((x[row], clock), (reference[row], clock), span, since, window, sums)
            newest, about, found = x[row, begin:end], reference[row, begin:end], out[k, row, begin:end]
            for j in range(found.size):
                n = sums[0, j]
                now, gap = sums[2, j] / n, sums[1, j] / n
                mixed = sums[5, j] - now * sums[1, j]
                slope = mixed / (sums[4, j] - now * sums[2, j]) if n > 1.0 else np.nan
                if kind == SLOPE:
                    found[j] = slope
                elif kind == RESI:
                    last = newest[j] - about[j]
                    found[j] = last - gap + slope * now if last == 0.0 else np.nan
                else:
                    found[j] = slope * mixed / (sums[3, j] - gap * sums[1, j])


@compiled
def comovement(
    series: Pair, references: Pair, starts: Positions, windows: Positions, kinds: Positions, out: Doubles
) -> None:
    """Write covariance (ddof 1) or correlation of two series over the times at which both are known.

    `series` are NaN where the other one is not finite, `references` come from `carry`.
    """
    sums = np.empty((6, _BLOCK))
    for row, span in _blocks(starts, out.shape[2]):
        _, begin, end = span
        sums[:] = 0.0
        xy, about = (series[0][row], series[1][row]), (references[0][row], references[1][row])
        for k, window in enumerate(windows):
            _sum_products(xy, about, span, windows[k - 1] if k else 0, window, sums)
            found, kind = out[k, row, begin:end], kinds[k]
            for j in range(found.size):
                n = sums[0, j]
                gap_x, gap_y = sums[1, j] / n, sums[2, j] / n
                product = sums[5, j] - gap_x * sums[2, j]
                if not n > 1.0:
                    found[j] = np.nan
                elif kind == COV:
                    found[j] = product / (n - 1.0)
                else:
                    square_x, square_y = sums[3, j] - gap_x * sums[1, j], sums[4, j] - gap_y * sums[2, j]
                    found[j] = product / (np.sqrt(square_x) * np.sqrt(square_y))


@compiled
def _sum_products(series: Pair, references: Pair, span: Span, since: int, window: int, sums: Doubles) -> None:
    """Add up over the joint values: count, gaps of x and of y from their references, Σxx, Σyy, Σxy of gaps."""
    _, begin, end = span
    for lag, low in _lags(span, since, window):
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


@compiled
def guarded(x: Doubles, spread: Doubles, starts: Positions, out: Doubles) -> None:
    """Write the values, NaN where their standard deviation is so small that qlib calls them undefined."""
    for row in range(starts.size):
        values, widths, found = x[row, starts[row] :], spread[row, starts[row] :], out[row, starts[row] :]
        for j in range(found.size):
            found[j] = np.nan if widths[j] <= NO_SPREAD else values[j]


@compiled
def rank(x: Doubles, starts: Positions, windows: Positions, out: Doubles) -> None:
    """Write the newest value's rank among the window's values, in (0, 1]; equals share their mean rank."""
    count, less, equal = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    for row, span in _blocks(starts, out.shape[2]):
        _, begin, end = span
        count[:], less[:], equal[:] = 0.0, 0.0, 0.0
        for k, window in enumerate(windows):
            for lag, low in _lags(span, windows[k - 1] if k else 0, window):
                past, newest = x[row, low - lag : end - lag], x[row, low:end]
                counted, below, same = count[low - begin :], less[low - begin :], equal[low - begin :]
                for j in range(end - low):
                    finite = past[j] - past[j] == 0.0
                    counted[j] += 1.0 if finite else 0.0
                    below[j] += 1.0 if finite & (past[j] < newest[j]) else 0.0
                    same[j] += 1.0 if finite & (past[j] == newest[j]) else 0.0
            last, found = x[row, begin:end], out[k, row, begin:end]
            for j in range(found.size):
                finite = last[j] - last[j] == 0.0
                found[j] = (less[j] + 0.5 * (equal[j] + 1.0)) / count[j] if finite else np.nan


@compiled
def scatter(block: Floats, rows: npt.NDArray[np.int64], matrix: Floats, known: npt.NDArray[np.bool_]) -> None:
    """Write ``block[f, i, t]`` to ``matrix[rows[i, t], f]`` where ``rows[i, t]`` ≥ 0.

    `known` notes which features have a value anywhere; several threads may write to it.
    """
    features, instruments, times = block.shape
    for i in range(instruments):
        for t in range(times):
            row = rows[i, t]
            if row >= 0:
                for f in range(features):
                    matrix[row, f] = block[f, i, t]
    for f in range(features):
        for i in range(instruments):
            for t in range(times):
                if known[f]:
                    break
                if rows[i, t] >= 0 and not np.isnan(block[f, i, t]):
                    known[f] = True


@compiled
def round_to(values: npt.NDArray[np.generic], starts: Positions, out: Floats) -> None:
    """Write values as float32, NaN before each row's start; all NaNs are one, whatever made them."""
    for row in range(starts.size):
        out[row, : starts[row]] = np.nan
        given, found = values[row, starts[row] :], out[row, starts[row] :]
        for j in range(found.size):
            value = np.float32(given[j])
            found[j] = value if value == value else np.float32(np.nan)
