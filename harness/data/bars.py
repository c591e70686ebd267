"""Bars that show hidden characteristics: open, high, low, vwap and volume around a given path of closes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.portable import portable

Doubles = npt.NDArray[np.float64]

CHARACTERISTICS = ("body", "shadow", "vwap", "range", "volume")
"""The characteristics in the order of the exposures, named after where a bar shows them."""

_WIDEST_RANGE = 0.3
_WIDEST_BODY = 0.9
_RANGE_PER_VOLATILITY = 1.2
_TURNOVER = 0.008


@dataclass(frozen=True, eq=False)
class Closes:
    """Closes and what moved them; T times, N instruments.

    Attributes
    ----------
    price
        (T, N) float64 closing prices.
    surprise
        (T, N) float64 return of the step in units of its volatility.
    volatility
        (T, N) float64 volatility of the step.
    shares
        (N,) float64 shares outstanding, in units that match the price.
    """

    price: Doubles
    surprise: Doubles
    volatility: Doubles
    shares: Doubles


def draw_bars(closes: Closes, exposures: Doubles, noise: float, rng: np.random.Generator) -> dict[str, Doubles]:
    """Return open, high, low, close, vwap and volume, each (T, N) float64, with low ≤ open, close, vwap ≤ high.

    Characteristic j is seen as o = x_j + noise · e, e standard normal:

    * body: (close − open) / (high − low) = 0.9 · tanh(0.6 o + 0.2 surprise), the overnight gap is the rest;
    * shadow: the upper share of the two shadows is σ(1.2 o), σ the logistic function;
    * vwap: (vwap − low) / (high − low) = σ(1.2 o);
    * range: (high − low) / close = 1.2 · volatility · exp(0.4 o), at most 0.3;
    * volume: a turnover of 0.8 % · exp(0.5 o + 0.15 |surprise|).

    Parameters
    ----------
    closes
        The closing prices and what moved them.
    exposures
        (5, T, N) float64 characteristics x in the order of `CHARACTERISTICS`.
    noise
        Standard deviation of the observation noise.
    rng
        Its randomness.
    """
    body_seen, shadow_seen, vwap_seen, range_seen, volume_seen = exposures + noise * rng.standard_normal(
        exposures.shape
    )
    close = closes.price
    width = close * np.minimum(
        _RANGE_PER_VOLATILITY * closes.volatility * portable(np.exp(0.4 * range_seen)), _WIDEST_RANGE
    )
    body = _WIDEST_BODY * portable(np.tanh(0.6 * body_seen + 0.2 * closes.surprise))
    shadows = (1.0 - np.abs(body)) * width
    upper = _logistic(1.2 * shadow_seen)
    opened = close - body * width
    high = np.maximum(opened, close) + upper * shadows
    low = np.minimum(opened, close) - (1.0 - upper) * shadows
    turnover = _TURNOVER * portable(np.exp(0.5 * volume_seen + 0.15 * np.abs(closes.surprise)))
    return {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "vwap": np.clip(low + _logistic(1.2 * vwap_seen) * (high - low), low, high),
        "volume": closes.shares * turnover,
    }


def _logistic(x: Doubles) -> Doubles:
    return 1.0 / (1.0 + portable(np.exp(-x)))
