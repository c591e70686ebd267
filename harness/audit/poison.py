"""Another future: a panel whose every raw value after a cut is replaced by an unrelated one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.data.panel import Benchmark, Panel
from harness.data.source import Source, at_the_root
from harness.data.validation import PRICES, check_panel
from harness.errors import ConfigError
from harness.store.code_digest import code_digest

Floats = npt.NDArray[np.float32]

_PRESENT, _MEMBER = 0.85, 0.7
_MOVE = 0.03  # standard deviation of a step's log return
_RANGE = 0.01  # of the log distance of high and low from open and close
_POSITIVE = (*PRICES, "factor")


@dataclass(frozen=True)
class PoisonedSource:
    """A source whose future after calendar position `cut` ≥ 0 is another one; the calendar and the instruments stay."""

    inner: Source
    cut: int
    seed: int

    def __post_init__(self) -> None:
        if self.cut < 0:
            raise ConfigError("A cut must be a position of the calendar.", where="cut", got=self.cut, expected="≥ 0")

    def load(self) -> Panel:
        panel = poison(self.inner.load(), self.cut, self.seed)
        return check_panel(panel, where=f"the panel poisoned after position {self.cut}")

    def inputs(self) -> dict[str, str]:
        return {**self.inner.inputs(), "inner source": code_digest(type(self.inner).__module__)}


class LoadedOnce:
    """A source that reads its files once, however often its panel is asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @cached_property
    def _panel(self) -> Panel:
        return self.source.load()

    def load(self) -> Panel:
        return self._panel

    def inputs(self) -> dict[str, str]:
        return self.source.inputs()


def poisoned(source: Source, cut: int, seed: int) -> Source:
    """Return `source` with its raw data poisoned after `cut`.

    A source that transforms another one (a field that is a source) is poisoned at its root, so that the transformation
    is audited too.
    """
    return at_the_root(source, lambda root: PoisonedSource(root, cut, seed))


def poison(panel: Panel, cut: int, seed: int) -> Panel:
    """Return the panel with everything after calendar position `cut` replaced.

    Prices become random walks from a level that belonged to any instrument, with high ≥ low; other fields are drawn
    from what any instrument showed up to the cut, and moved a little. Nothing after the cut depends on the instrument,
    so that what is computed from it alone knows nothing of the real market. Which instruments trade and which are
    members is drawn anew, NaN and row existence with it; the benchmark is another random walk; a simulator's truth is
    left out.
    """
    rng = np.random.Generator(np.random.PCG64([seed, cut]))
    start = cut + 1
    shape = (len(panel.calendar) - start, len(panel.instruments))
    present = rng.random(shape) < _PRESENT
    bars = _bars(panel, start, shape, rng)
    fields = {}
    for name, values in panel.fields.items():
        future = bars[name] if name in bars else _drawn(values[:start], name, shape, rng)
        fields[name] = np.concatenate([values[:start], np.where(present, future, np.float32(np.nan))])
    membership = np.array(panel.membership)
    membership[start:] = rng.random(shape) < _MEMBER
    benchmark = None if panel.benchmark is None else _benchmark(panel.benchmark, start, rng)
    return replace(panel, fields=fields, membership=membership, benchmark=benchmark, truth=None)


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


def _benchmark(benchmark: Benchmark, start: int, rng: np.random.Generator) -> Benchmark:
    close = np.array(benchmark.close)
    known = close[:start][np.isfinite(close[:start])]
    level = float(known[-1]) if known.size else 1000.0
    walk = np.clip(np.cumsum(rng.normal(0.0, 0.01, size=close.size - start)), -5.0, 5.0)
    close[start:] = level * np.exp(walk)
    return replace(benchmark, close=close)
