"""Another future: a panel whose every raw value after a cut is replaced by an unrelated one, and its sample table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel
from harness.data.source import Source, at_the_root
from harness.data.validation import PRICES, check_panel
from harness.errors import ConfigError, DataError
from harness.features.engine import compute_expression, compute_features
from harness.samples.table import RowIndex, SampleTable, index_rows
from harness.store.code_digest import code_digest

Floats = npt.NDArray[np.float32]

_PRESENT, _MEMBER = 0.85, 0.7
_MOVE = 0.03  # standard deviation of a step's log return
_RANGE = 0.01  # of the log distance of high and low from open and close
_POSITIVE = (*PRICES, "factor")
_COPY = 0.9999  # correlation beyond which a field is the price field under another name
_MARGIN = 250  # times computed before those that are wanted, so that windows are full


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
        future = np.where(present, future, np.float32(np.nan))
        lead = panel.known_ahead.get(name, 0)
        if lead and not is_copy(values[:start], panel.fields[panel.price_field][:start]):
            future[:lead] = values[start : start + lead]
        fields[name] = np.concatenate([values[:start], future])
    membership = np.array(panel.membership)
    membership[start:] = rng.random(shape) < _MEMBER
    benchmark = None if panel.benchmark is None else _benchmark(panel.benchmark, start, rng)
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


def _benchmark(benchmark: Benchmark, start: int, rng: np.random.Generator) -> Benchmark:
    close = np.array(benchmark.close)
    known = close[:start][np.isfinite(close[:start])]
    level = float(known[-1]) if known.size else 1000.0
    walk = np.clip(np.cumsum(rng.normal(0.0, 0.01, size=close.size - start)), -5.0, 5.0)
    close[start:] = level * np.exp(walk)
    return replace(benchmark, close=close)


def differ(left: Floats, right: Floats) -> npt.NDArray[np.bool_]:
    """Return where two arrays of one shape are not the same bits; every NaN counts as the same."""
    different: npt.NDArray[np.bool_] = left.view(np.uint32) != right.view(np.uint32)
    return different & ~(np.isnan(left) & np.isnan(right))


def label_of(panel: Panel, expression: str, times: npt.NDArray[np.int64], codes: npt.NDArray[np.int32]) -> Floats:
    """Return (n,) float32, the label of every row (time, instrument) from the panel alone; NaN where there is none."""
    label = compute_expression(panel, expression)[times, codes]
    return np.where(np.isfinite(label), label, np.float32(np.nan))


@dataclass(eq=False)
class Splice:
    """Makes the table of a poisoned panel from `panel` and `table`, the real ones.

    The features of times up to a cut are taken from the real table only once they have been reproduced, bit for bit,
    by a computation that was handed nothing beyond the cut: the panel truncated there, not a poisoned one. So they are
    a function of data that the poison left as they are. What cannot be proved that way is not spliced.
    """

    config: ExperimentConfig
    panel: Panel
    table: SampleTable
    _proved: int | None = 0  # None: refuted

    def of(self, panel: Panel, cut: int) -> SampleTable | None:
        """Return the table of `panel`, whose future after position `cut` is another one.

        None when its past differs from the real one, or when the real table's past is not proved to be made of the
        past alone: then the table must be computed from the poisoned panel, and shows what it shows.
        """
        start = cut + 1
        if start >= len(panel.calendar) or not _same_past(self.panel, panel, start) or not self._is_causal(start):
            return None
        index, real = index_rows(panel, listed=self.config.samples.rows == "listed"), self.table.index
        kept = int(real.offsets[start])
        past = ((index.offsets[: start + 1], real.offsets[: start + 1]), (index.codes[:kept], real.codes[:kept]))
        if not all(np.array_equal(*sides) for sides in past):
            return None
        future = self._features(panel, index, start, len(panel.calendar))
        if future is None:
            return None
        features = np.concatenate([self.table.features[:kept], future])
        times = index.times(0, len(panel.calendar))
        label = label_of(panel, self.config.label.expression_text, times, index.codes)
        return replace(self.table, index=index, features=features, label=label)

    def _is_causal(self, stop: int) -> bool:
        """Whether the real features before `stop` are reproduced from panels that end there; earlier proofs count."""
        if self._proved is not None and stop > self._proved:
            # From the last proof on is enough where windows are short; else from the first time.
            proved = any(self._reproduced(start, stop) for start in dict.fromkeys((self._proved, 0)))
            self._proved = stop if proved else None
        return self._proved is not None

    def _reproduced(self, start: int, stop: int) -> bool:
        again = self._features(_truncated(self.panel, 0, stop), self.table.index, start, stop)
        return again is not None and not differ(again, self.table.features[self.table.index.rows(start, stop)]).any()

    def _features(self, panel: Panel, index: RowIndex, start: int, stop: int) -> Floats | None:
        """Return the features of positions [start, stop) in the real table's columns; None when others have values."""
        names, first, rows = self.table.feature_names, max(start - _MARGIN, 0), index.rows(start, stop)
        values = np.full((rows.stop - rows.start, len(names)), np.nan, dtype=np.float32)
        if not len(values):
            return values
        offsets = np.concatenate([np.zeros(start - first, dtype=np.int64), index.local_offsets(start, stop)])
        features = self.config.features.feature_set()
        try:
            made = compute_features(_truncated(panel, first, stop), features, offsets, index.codes[rows])
        except DataError:
            return None
        if not set(made.names) <= set(names):
            return None
        values[:, [names.index(name) for name in made.names]] = made.values
        return values


def _truncated(panel: Panel, start: int, stop: int) -> Panel:
    """Return the panel of positions [start, stop): what lies outside is not in it."""
    if (start, stop) == (0, len(panel.calendar)):
        return panel
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[start:stop]),
        fields={name: np.array(values[start:stop]) for name, values in panel.fields.items()},
        membership=np.array(panel.membership[start:stop]),
        benchmark=None,
        truth=None,
    )


def _same_past(left: Panel, right: Panel, stop: int) -> bool:
    return (
        left.instruments == right.instruments
        and left.fields.keys() == right.fields.keys()
        and np.array_equal(left.calendar.times, right.calendar.times)
        and np.array_equal(left.membership[:stop], right.membership[:stop])
        and not any(differ(values[:stop], right.fields[name][:stop]).any() for name, values in left.fields.items())
    )
