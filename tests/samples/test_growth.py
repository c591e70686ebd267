"""Chained digests: what they are of, spelt out, and that threads and blocks change none."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.samples.growth import chained_digests
from harness.samples.table import index_rows


def panel_of(days: int, seed: int) -> Panel:
    """Return a panel with gaps, an instrument that never trades, a day without any, −0.0 and infinities."""
    rng = np.random.default_rng(seed)
    close, volume = rng.standard_normal((2, days, 7)).astype(np.float32)
    close[rng.random(close.shape) < 0.3], volume[rng.random(close.shape) < 0.3] = np.nan, -0.0
    close[:, 2] = volume[:, 2] = np.nan
    close[days // 2] = volume[days // 2] = np.nan
    volume[rng.random(volume.shape) < 0.1] = np.inf
    times = np.datetime64("2001-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
    members = rng.random(close.shape) < 0.8
    return Panel(Calendar(times), tuple("ABCDEFG"), {"close": close, "volume": volume}, members)


def framed(before: bytes, *parts: bytes) -> bytes:
    text = before + b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return hashlib.blake2b(text, digest_size=16).digest()


@pytest.mark.parametrize("days", [2, 64, 65, 200])
def test_digests_are_the_chain_that_their_definition_says(days: int) -> None:
    panel = panel_of(days, days)
    index = index_rows(panel)
    level = np.where(np.arange(days) % 5 == 0, np.nan, np.arange(days)).astype(np.float32)
    codes = [framed(b"", name.encode()) for name in panel.instruments]
    chain = [framed(b"", b"close", b"volume", b"level")]
    for at in range(days):
        fields = np.stack([panel.fields[name][at] for name in ("close", "volume")]) + np.float32(0.0)
        fields[np.isnan(fields)] = np.nan
        known = [column for column in range(7) if not np.isnan(fields[:, column]).all()]
        rows = index.codes[index.offsets[at] : index.offsets[at + 1]]
        alone = np.array([level[at] if level[at] == level[at] else np.nan], "<f4")
        parts = [panel.calendar.times[at : at + 1].astype("<i8").tobytes(), b"".join(codes[row] for row in rows)]
        parts += [b"".join(codes[column] for column in known), fields[:, known].T.astype("<f4").tobytes()]
        chain.append(framed(chain[-1], *parts, alone.tobytes()))
    found = chained_digests(panel, index, ["volume", "close", "absent"], {"level": level})
    assert found == tuple(digest.hex() for digest in chain)


def test_days_that_are_appended_leave_every_earlier_digest_as_it_is() -> None:
    panel = panel_of(150, 3)
    whole = chained_digests(panel, index_rows(panel), ["close"])
    for days in (10, 64, 149):
        fields = {name: values[:days] for name, values in panel.fields.items()}
        short = Panel(Calendar(panel.calendar.times[:days]), panel.instruments, fields, panel.membership[:days])
        assert chained_digests(short, index_rows(short), ["close"]) == whole[: days + 1]
