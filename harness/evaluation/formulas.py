"""Signal metrics: pure functions of scores and labels, one value per time, NaN where undefined; and what sums them up.

Shapes: S times, n rows in (time, instrument) order; rows ``offsets[s] … offsets[s + 1]`` belong to time s. Rows whose
score or label is NaN are left out of a pair, never filled. Nothing here knows the calendar, a window, or a portfolio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError

Doubles = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating[Any]]
Offsets = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer[Any]]

_ROUNDING = 1e-14


def ic(score: Values, label: Values, offsets: Offsets) -> Doubles:
    """Return (S,) float64, the Pearson correlation of score and label across instruments at each time.

    NaN where fewer than two pairs exist or one side does not vary (qlib ``calc_ic``).
    """
    return correlation(*_pairs(score, label, offsets))


def rank_ic(score: Values, label: Values, offsets: Offsets) -> Doubles:
    """Return (S,) float64, the Spearman correlation of score and label at each time; ties share their average rank.

    Ranks are taken among the pairs of that time, so that a row without a label moves nothing (qlib ``calc_ic``).
    """
    score, label, offsets = _pairs(score, label, offsets)
    return correlation(ranks(score, offsets), ranks(label, offsets), offsets)


def mse(score: Values, label: Values, offsets: Offsets) -> Doubles:
    """Return (S,) float64, the mean squared difference of score and label at each time."""
    score, label, offsets = _pairs(score, label, offsets)
    return _group_mean((score.astype(np.float64) - label) ** 2, offsets)


def long_average_return(score: Values, label: Values, offsets: Offsets) -> Doubles:
    """Return (S,) float64, the mean label of every scored instrument: what holding all of them alike would earn.

    The order of the scores plays no part, so it is the level that a long-only signal has to beat (the second series of
    qlib's ``calc_long_short_return``).
    """
    _, label, offsets = _pairs(score, label, offsets)
    return _group_mean(label, offsets)


def long_short_return(score: Values, label: Values, offsets: Offsets, quantile: float = 0.2) -> Doubles:
    """Return (S,) float64, half the mean label of the highest scores minus half that of the lowest.

    Half, because the capital is split over both sides (qlib ``calc_long_short_return``). A side holds ⌊quantile · m⌋
    of the m scored rows; they are chosen before the labels are looked at, and averaged over those that have one. Of
    equal scores the earlier row comes first on either side. NaN where all scores are equal: there is no best.
    """
    _check_quantile(quantile)
    keep = ~np.isnan(score)
    score, label, offsets = score[keep], label[keep], offsets_among(offsets, keep)

    def side(ascending: Values) -> Doubles:
        chosen = _first_share(ascending, offsets, quantile) & ~np.isnan(label)
        return _group_mean(label[chosen], offsets_among(offsets, chosen))

    result = (side(-score) - side(score)) / 2.0
    result[~times_that_vary(score, offsets)] = np.nan
    return result


def top_turnover(score: Values, codes: Codes, offsets: Offsets, quantile: float = 0.2, lag: int = 1) -> Doubles:
    """Return (S,) float64, the share of the top-quantile instruments that was not there `lag` times before.

    NaN for the first `lag` times and where one of the two top quantiles is empty, or arbitrary because all scores are
    equal. `codes` are (n,) instrument columns, distinct within a time.
    """
    _check_quantile(quantile)
    keep = ~np.isnan(score)
    score, codes, offsets = score[keep], codes[keep], offsets_among(offsets, keep)
    top = _first_share(-score, offsets, quantile)
    held = np.zeros((offsets.size - 1, int(codes.max(initial=-1)) + 1), dtype=np.bool_)  # (S, N)
    held[times_of(offsets)[top], codes[top]] = True
    held[~times_that_vary(score, offsets)] = False
    size = held.sum(axis=1)
    kept = (held[lag:] & held[:-lag]).sum(axis=1)
    turnover = np.full(size.size, np.nan)
    defined = (size[lag:] > 0) & (size[:-lag] > 0)
    turnover[lag:][defined] = 1.0 - kept[defined] / size[lag:][defined]
    return turnover


def score_autocorrelation(score: Values, codes: Codes, offsets: Offsets, lag: int = 1) -> Doubles:
    """Return (S,) float64, the rank correlation of the scores with those of `lag` times before.

    Over the instruments scored at both times; NaN for the first `lag` times and where fewer than two are common.
    """
    return rank_ic(score, shifted(score, codes, offsets, lag), offsets)


def shifted(values: Values, codes: Codes, offsets: Offsets, lag: int) -> Values:
    """Return (n,) what each row's instrument had `lag` times before, or after where `lag` < 0; NaN where nothing."""
    times = times_of(offsets)
    table = np.full((offsets.size - 1, int(codes.max(initial=-1)) + 1), np.nan, dtype=values.dtype)  # (S, N)
    table[times, codes] = values
    there = times - lag
    inside = (there >= 0) & (there < offsets.size - 1)
    found = np.full_like(values, np.nan)
    found[inside] = table[there[inside], codes[inside]]
    return found


def correlation(x: Values, y: Values, offsets: Offsets) -> Doubles:
    """Return (S,) float64, the Pearson correlation of (n,) values without NaN within each time.

    It is the only correlation of the harness's metrics: within [−1, 1]; NaN where a time has fewer than two rows, x or
    y does not vary, or a value is infinite.
    """
    dx, dy = _deviations(x, offsets), _deviations(y, offsets)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        scale = np.sqrt(_group_sum(dx * dx, offsets)) * np.sqrt(_group_sum(dy * dy, offsets))
        cosine: Doubles = _group_sum(dx * dy, offsets) / scale
    return cosine.clip(-1.0, 1.0)


def ranks(values: Values, offsets: Offsets) -> Doubles:
    """Return (n,) float64, the rank of each value without NaN within its time, from 1; ties share the average."""
    order = order_within(values, offsets)
    times = times_of(offsets)
    ordered = values[order]
    opens = np.append(True, (ordered[1:] != ordered[:-1]) | (times[1:] != times[:-1]))[: ordered.size]
    first = np.flatnonzero(opens)
    length = np.diff(np.append(first, ordered.size))
    average = first - offsets[times[first]] + (length + 1) / 2.0
    result = np.empty(values.size, dtype=np.float64)
    result[order] = np.repeat(average, length)
    return result


def mean(series: Doubles) -> float:
    """Return the mean of the defined values of a (S,) series; NaN when there is none."""
    defined = series[~np.isnan(series)]
    return float(defined.mean()) if defined.size else float("nan")


def ir(series: Doubles) -> float:
    """Return mean over standard deviation (ddof 1) of the defined values: the ICIR of an IC series.

    Not annualised (qlib ``SigAnaRecord``); NaN when fewer than two values are defined or they do not vary.
    """
    defined = series[~np.isnan(series)]
    if defined.size < 2 or np.ptp(defined) == 0:
        return float("nan")
    return float(defined.mean() / defined.std(ddof=1))


def root_mean(series: Doubles) -> float:
    """Return the root of the mean of the defined values of a (S,) series of squares, such as an RMSE; NaN for none."""
    return math.sqrt(mean(series)) if not math.isnan(mean(series)) else math.nan


def skill(series: Doubles, base: Doubles) -> float:
    """Return 1 minus the mean of a (S,) series of losses over that of `base`, where both are defined.

    1 is perfect, 0 as good as what is compared with (Murphy, Weather and Forecasting 1988); NaN when that is perfect.
    """
    both = ~(np.isnan(series) | np.isnan(base))
    loss, reference = mean(series[both]), mean(base[both])
    return 1.0 - loss / reference if reference > 0 else math.nan


def annualise(series: Doubles, periods_per_year: int, horizon: int) -> float:
    """Return the mean of a series of `horizon`-period returns, as a return per year.

    Each value spans `horizon` periods, so the mean return of one period is the mean divided by the horizon. qlib
    leaves the division out, which makes the 20-day label of its workflows 20 times too high.
    """
    if horizon < 1:
        raise ConfigError("A label spans at least one period.", where="horizon", got=horizon, expected="≥ 1")
    return mean(series) / horizon * periods_per_year


@dataclass(frozen=True)
class Risk:
    """Summary of a return series; NaN where it is undefined.

    Attributes:
        mean, std: Per period; std with ddof 1.
        information_ratio: mean / std · √periods.
        max_drawdown: Largest fall from an earlier peak, ≤ 0; the start does not count as a peak.
    """

    mean: float
    std: float
    annualized_return: float
    information_ratio: float
    max_drawdown: float


def risk_analysis(returns: Doubles, periods: int, mode: Literal["sum", "product"] = "sum") -> Risk:
    """Return the risk summary of (S,) returns per period, none missing, and the periods in a year.

    By ``sum`` returns add up, so that drawdowns do not depend on the level; by ``product`` they compound, the mean is
    geometric and the standard deviation that of log returns.

    Raises:
        ConfigError: When the mode is unknown or periods is not positive.
    """
    if mode not in ("sum", "product") or periods < 1:
        got, expected = f"mode={mode!r}, periods={periods}", "mode sum or product, periods ≥ 1"
        raise ConfigError("Returns cannot be summarised this way.", where="risk_analysis", got=got, expected=expected)
    if returns.size == 0:
        return Risk(*[math.nan] * 5)
    if mode == "sum":
        steps, mean = returns, float(returns.mean())
        annualized, drawdown = mean * periods, float(largest_fall(returns))
    else:
        steps, level = np.log1p(returns), (1.0 + returns).cumprod()
        mean = float(level[-1] ** (1.0 / returns.size) - 1.0)
        annualized = float(level[-1] ** (periods / returns.size) - 1.0)
        drawdown = float((level / np.maximum.accumulate(level) - 1.0).min())
    std = float(steps.std(ddof=1)) if returns.size > 1 else math.nan
    varies = std > _ROUNDING * float(np.abs(steps).max())  # what differs by rounding alone does not
    return Risk(mean, std, annualized, mean / std * periods**0.5 if varies else math.nan, drawdown)


def largest_fall(returns: Doubles) -> Doubles:
    """Return (…) float64, the largest fall of summed (…, T) returns from an earlier peak, ≤ 0."""
    level = np.cumsum(returns, axis=-1)
    return np.asarray((level - np.maximum.accumulate(level, axis=-1)).min(axis=-1))


def _pairs(x: Values, y: Values, offsets: Offsets) -> tuple[Values, Values, Offsets]:
    both = ~(np.isnan(x) | np.isnan(y))
    return (x, y, offsets) if both.all() else (x[both], y[both], offsets_among(offsets, both))


def offsets_among(offsets: Offsets, keep: npt.NDArray[np.bool_]) -> Offsets:
    """Return the (S + 1,) offsets of the rows to keep."""
    return np.concatenate([[0], np.cumsum(keep)])[offsets].astype(np.int64)


def times_of(offsets: Offsets) -> npt.NDArray[np.int64]:
    """Return (n,) int64, the time of each row, from 0."""
    return np.repeat(np.arange(offsets.size - 1), np.diff(offsets))


def _group_sum(values: Values, offsets: Offsets) -> Doubles:
    # reduceat repeats a row for an empty group, so that only the others may be named.
    filled = np.diff(offsets) > 0
    sums = np.zeros(filled.size)
    if filled.any():
        sums[filled] = np.add.reduceat(values.astype(np.float64, copy=False), offsets[:-1][filled])
    return sums


def _group_mean(values: Values, offsets: Offsets) -> Doubles:
    counts = np.diff(offsets)
    means = np.full(counts.size, np.nan)
    np.divide(_group_sum(values, offsets), counts, out=means, where=counts > 0)
    return means


def _deviations(values: Values, offsets: Offsets) -> Doubles:
    # Taking a time's first value away first makes the deviations of a constant exactly zero, so that it is undefined.
    counts = np.diff(offsets)
    doubles = values.astype(np.float64)
    first = doubles[offsets[:-1][counts > 0]]
    with np.errstate(invalid="ignore"):
        shifted: Doubles = doubles - np.repeat(first, counts[counts > 0])
        shifted -= np.repeat(_group_mean(shifted, offsets), counts)
    return shifted


def order_within(values: Values, offsets: Offsets) -> npt.NDArray[np.int64]:
    """Return (n,) int64, the rows in the order of their time, then of their value; equal values keep their order."""
    counts = np.diff(offsets)
    filled = np.arange(int(counts.max(initial=0))) < counts[:, None]
    padded: npt.NDArray[Any] = np.full(filled.shape, np.nan, dtype=values.dtype)  # NaN sorts behind everything
    padded[filled] = values
    if values.dtype == np.float32:
        # The bits of a float32, sign folded in, order like the number; with the column in the low half of one integer,
        # a plain sort is a stable argsort, three times faster than NumPy's.
        bits = (padded + np.float32(0.0)).view(np.int32)  # + 0 turns -0 into 0
        keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32
        keys |= np.arange(padded.shape[1])
        keys.sort(axis=1)
        order = keys & 0xFFFFFFFF
    else:
        order = padded.argsort(axis=1, kind="stable")
    rows: npt.NDArray[np.int64] = (order + offsets[:-1, None])[filled]
    return rows


def _first_share(values: Values, offsets: Offsets, quantile: float) -> npt.NDArray[np.bool_]:
    """Return (n,) bool, the ⌊quantile · m⌋ smallest values of each time; of equal values the earlier rows."""
    order = order_within(values, offsets)
    counts = np.diff(offsets)
    rank = np.arange(values.size) - np.repeat(offsets[:-1], counts)
    chosen = np.zeros(values.size, dtype=np.bool_)
    chosen[order[rank < np.repeat((counts * quantile).astype(np.int64), counts)]] = True
    return chosen


def times_that_vary(values: Values, offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Return (S,) bool, whether a time has two values that differ."""
    times = times_of(offsets)
    varied = np.zeros(offsets.size - 1, dtype=np.bool_)
    varied[times[1:][(values[1:] != values[:-1]) & (times[1:] == times[:-1])]] = True
    return varied


def _check_quantile(quantile: float) -> None:
    if not 0.0 < quantile <= 0.5:
        what, expected = "A quantile must leave room for both sides.", "0 < quantile ≤ 0.5"
        raise ConfigError(what, where="evaluation.quantile", got=quantile, expected=expected)
