"""Batches of features are computed in memory that they share, and each is written before another takes its place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.panel import Panel
from harness.run import feature_chunks
from harness.run.feature_chunks import FeatureChunks
from tests.run.test_growth import Team, market, short_chunks

__all__ = ["market", "short_chunks"]


@pytest.mark.parametrize(("held", "buffers"), [(1 << 30, 2), (0, 1)], ids=["two can be held", "one can be held"])
def test_a_batch_is_written_before_the_next_one_in_its_memory_is_computed(
    held: int, buffers: int, market: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_chunks, "_HELD", held)
    write, provide, provided = FeatureChunks._known_of, FeatureChunks._buffers, list[Any]()

    def written_late(self: FeatureChunks, stage: Any) -> Any:
        time.sleep(0.03)  # computing is far ahead
        return write(self, stage)

    def noted(self: FeatureChunks, batches: Any) -> Any:
        provided.append((len(batches), provide(self, batches)))
        return provided[-1][1]

    monkeypatch.setattr(FeatureChunks, "_known_of", written_late)
    monkeypatch.setattr(FeatureChunks, "_buffers", noted)
    chunks = Team(tmp_path, "~features.expressions.smooth").pipeline(market).chunks  # which is computed in one pass
    kept = chunks.cache.get(chunks.stage(3))  # in the middle of a batch, as another run may have left it
    assert np.isfinite(kept.values).any()
    assert chunks.make().dropped == ()
    ((batches, memory),) = provided
    assert len(memory) == buffers < batches
    for k in range(len(chunks.borders)):
        stored = chunks.cache.get(chunks.stage(k)).values
        np.testing.assert_array_equal(stored, chunks._alone(k).values)


def test_two_buffers_are_as_large_as_what_they_hold_by_turns(market: Panel, tmp_path: Path) -> None:
    chunks = Team(tmp_path).pipeline(market).chunks
    batches = {k: (k + 1 + k % 2, 0) for k in (0, 1, 3)}
    rows = [chunks._rows(k, end) for k, (end, _) in batches.items()]
    first, second, third = ((one.stop - one.start) * len(chunks.computed) for one in rows)
    assert [one.size for one in chunks._buffers(batches)] == [second, max(first, third)]
    assert [one.size for one in chunks._buffers({})] == [0, 0]
