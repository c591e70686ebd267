"""A panel small enough to read: what the tests of the data floor share."""

from __future__ import annotations

import numpy as np

from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel

CODES = ("SH600000", "SH600004", "SZ000001")


def small_panel(times: int = 6, *, hourly: bool = False, benchmark: bool = True) -> Panel:
    """Return 3 instruments: the second is suspended at position 2, the third is listed and a member from 3 on."""
    start = np.datetime64("2020-01-01T09", "h") if hourly else np.datetime64("2020-01-01", "D")
    rng = np.random.default_rng(0)
    close = (10.0 + rng.random((times, 3))).astype(np.float32)
    close[2, 1] = np.nan
    close[:3, 2] = np.nan
    fields = {
        "open": close * np.float32(0.99),
        "high": close * np.float32(1.02),
        "low": close * np.float32(0.98),
        "close": close,
        "volume": np.where(np.isnan(close), np.nan, 1e6).astype(np.float32),
    }
    membership = np.ones((times, 3), dtype=bool)
    membership[:3, 2] = False
    membership[1, 0] = False
    level = (1000.0 + np.arange(times)).astype(np.float32)
    return Panel(
        calendar=Calendar(start + np.arange(times)),
        instruments=CODES,
        fields=fields,
        membership=membership,
        benchmark=Benchmark("SH000300", level) if benchmark else None,
    )
