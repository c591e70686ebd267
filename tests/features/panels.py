"""Small panels with everything that real ones have: late listings, suspended days, ties, flat stretches, no volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.panel import Panel

Floats = npt.NDArray[np.float32]


def make_panel(fields: dict[str, npt.NDArray[np.floating]], name: str = "test") -> Panel:
    arrays = {key: np.ascontiguousarray(values, dtype=np.float32) for key, values in fields.items()}
    times, instruments = next(iter(arrays.values())).shape
    return Panel(
        calendar=Calendar(np.datetime64("2020-01-01") + np.arange(times)),
        instruments=tuple(f"I{i:03d}" for i in range(instruments)),
        fields=arrays,
        membership=np.ones((times, instruments), dtype=bool),
        price_field=next(iter(arrays)),
        name=name,
    )


def random_fields(seed: int, times: int = 90, instruments: int = 3, gaps: float = 0.1) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    shape = (times, instruments)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    flat = close.copy()
    flat[times // 3 : times // 2] = 7.3
    fields = {
        "close": close,
        "open": close * np.exp(rng.normal(0, 0.01, shape)),
        "high": close * np.exp(abs(rng.normal(0, 0.01, shape))),
        "low": close * np.exp(-abs(rng.normal(0, 0.01, shape))),
        "volume": np.where(rng.random(shape) < 0.03, 0.0, np.exp(rng.normal(12, 1, shape))),
        "tied": np.round(2 * rng.normal(0, 1, shape)),
        "flat": flat,
    }
    missing = rng.random(shape) < gaps
    starts = rng.integers(0, times // 4, instruments)
    starts[0] = 0
    for i, start in enumerate(starts):
        missing[:start, i] = True
        missing[start, i] = False
    return {name: np.where(missing, np.nan, values).astype(np.float32) for name, values in fields.items()}


def first_times(fields: dict[str, Floats]) -> list[int]:
    present = np.any([~np.isnan(values) for values in fields.values()], axis=0)
    return [int(column.argmax()) for column in present.T]


def all_rows(panel: Panel) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return offsets and codes of the (time, instrument) pairs that have a price."""
    times, codes = np.nonzero(panel.traded)
    counts = np.bincount(times, minlength=len(panel.calendar))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), codes.astype(np.int32)


def bits(values: Floats) -> npt.NDArray[np.uint32]:
    """All NaNs are one: which of them an operation gives is the processor's affair."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)
