"""Another future: a panel whose every raw value after a cut is replaced by an unrelated one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from harness.data.panel import Benchmark, Panel
from harness.data.validation import PRICES
from harness.features.engine import compute_expression

Floats = npt.NDArray[np.float32]

_PRESENT, _MEMBER = 0.85, 0.7
_MOVE = 0.03  # standard deviation of a step's log return
_JUMP = 0.7  # and of the log of an index's other level
_RANGE = 0.01  # of the log distance of high and low from open and close
_POSITIVE = (*PRICES, "factor")
_COPY = 0.9999  # correlation beyond which a field is the price field under another name


def poison(panel: Panel, cut: int, seed: int, known_ahead: Mapping[str, int] = MappingProxyType({})) -> Panel:
    """Return the panel with everything after calendar position `cut` replaced, see `other_future`."""
    return followed_by(panel, other_future(panel, cut, seed), cut, known_ahead)


def other_future(panel: Panel, cut: int, seed: int) -> Panel:
    """Return another market from calendar position `cut` on.

    Prices become random walks from a level that belonged to any instrument, with high ≥ low; other fields are drawn
    from what any instrument showed up to the cut, and moved a little. Nothing after the cut depends on the instrument,
    so that what is computed from it alone knows nothing of the real market. Which instruments trade and which are
    members is drawn anew, NaN and row existence with it; the benchmark is another random walk, from another level.
    """
    rng = np.random.Generator(np.random.PCG64([seed, cut + 1]))
    start = cut + 1
    shape = (len(panel.calendar) - start, len(panel.instruments))
    present = rng.random(shape) < _PRESENT
    bars = _bars(panel, start, shape, rng)
    fields = {}
    for name, values in panel.fields.items():
        future = bars[name] if name in bars else _drawn(values[:start], name, shape, rng)
        future = np.where(present, future, np.float32(np.nan))
        fields[name] = np.concatenate([values[:start], future])
    membership = np.array(panel.membership)
    membership[start:] = rng.random(shape) < _MEMBER
    benchmark = None if panel.benchmark is None else _benchmark(panel.benchmark, start, seed)
    return replace(panel, fields=fields, membership=membership, benchmark=benchmark)


def followed_by(panel: Panel, other: Panel, cut: int, known_ahead: Mapping[str, int]) -> Panel:
    """Return the panel up to calendar position `cut`, and another market after it, but for what is known ahead.

    A simulator's truth is left out.
    """
    start, fields, price = cut + 1, dict[str, Floats](), panel.price_field
    for name, values in panel.fields.items():
        lead = max(panel.known_ahead.get(name, 0), 0 if name == price else known_ahead.get(name, 0))
        stop = start + (0 if lead and is_copy(values[:start], panel.fields[price][:start]) else lead)
        fields[name] = np.concatenate([values[:stop], other.fields[name][stop:]])
    membership = np.concatenate([panel.membership[:start], other.membership[start:]])
    benchmark = panel.benchmark
    if benchmark is not None and other.benchmark is not None:
        close = np.concatenate([benchmark.close[:start], other.benchmark.close[start:]])
        benchmark = replace(benchmark, close=close)
    return replace(panel, fields=fields, membership=membership, benchmark=benchmark, truth=None)


def is_copy(values: Floats, of: Floats) -> bool:
    """Whether a field is another one in another unit: they are correlated all but perfectly."""
    both = np.isfinite(values) & np.isfinite(of)
    left, right = values[both].astype(np.float64), of[both].astype(np.float64)
    if left.size < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return False
    return bool(abs(np.corrcoef(left, right)[0, 1]) > _COPY)


def _bars(panel: Panel, start: int, shape: tuple[int, int], rng: np.random.Generator) -> dict[str, Floats]:
    """Return the price fields of the future, ordered low ≤ open, close, vwap ≤ high."""
    names = [name for name in PRICES if name in panel.fields]
    if not names:
        return {}
    past = panel.fields[panel.price_field if panel.price_field in names else names[0]][:start]
    level = _pool(past, rng, shape[1])
    walk = np.cumsum(rng.normal(0.0, _MOVE, size=shape), axis=0)
    close = np.maximum(level, np.float32(1e-3)) * np.exp(np.clip(walk, -5.0, 5.0))
    other = close * np.exp(rng.normal(0.0, _RANGE, size=shape))
    up, down = (np.exp(np.abs(rng.normal(0.0, _RANGE, size=shape))) for _ in range(2))
    high, low = np.maximum(close, other) * up, np.minimum(close, other) / down
    vwap = low + (high - low) * rng.uniform(0.2, 0.8, size=shape)
    bars = {"open": other, "high": high, "low": low, "close": close, "vwap": vwap}
    return {name: bars[name].astype(np.float32) for name in names}


def _drawn(past: Floats, name: str, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return values of any instrument and time of the past, each moved by about a hundredth of their spread."""
    values = _pool(past, rng, shape)
    spread = float(np.std(values)) if values.size else 0.0
    moved = values + rng.normal(0.0, 0.01 * spread or 0.01, size=shape)
    if name in _POSITIVE or name == "volume":
        # Reflected, as a price, factor or volume below 0 would be refused.
        smallest = 1e-6 if name in _POSITIVE else 0.0
        moved = np.maximum(np.abs(moved), smallest)
    return moved.astype(np.float32)


def _pool(past: Floats, rng: np.random.Generator, size: int | tuple[int, int]) -> Floats:
    known = past[np.isfinite(past)]
    return rng.choice(known, size=size) if known.size else np.ones(size, dtype=np.float32)


def _benchmark(benchmark: Benchmark, start: int, seed: int) -> Benchmark:
    """Return an index that goes on from another level, as prices do; two that differ go on apart from each other."""
    close = np.array(benchmark.close)
    known = close[:start][np.isfinite(close[:start])]
    level = float(known[-1]) if known.size else 1000.0
    rng = np.random.Generator(np.random.PCG64([seed, start, zlib.crc32(known.tobytes())]))
    walk = np.clip(np.cumsum(rng.normal(0.0, 0.01, size=close.size - start)), -5.0, 5.0)
    close[start:] = level * np.exp(rng.normal(0.0, _JUMP) + walk)
    return replace(benchmark, close=close)


def differ(left: Floats, right: Floats) -> npt.NDArray[np.bool_]:
    """Return where two arrays of one shape are not the same bits; every NaN counts as the same."""
    different: npt.NDArray[np.bool_] = left.view(np.uint32) != right.view(np.uint32)
    return different & ~(np.isnan(left) & np.isnan(right))


def label_of(panel: Panel, expression: str, times: npt.NDArray[np.int64], codes: npt.NDArray[np.int32]) -> Floats:
    """Return (n,) float32, the label of every row (time, instrument) from the panel alone; NaN where there is none."""
    label = compute_expression(panel, expression)[times, codes]
    return np.where(np.isfinite(label), label, np.float32(np.nan))
