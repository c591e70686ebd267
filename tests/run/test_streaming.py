"""A run that holds no table of its rows publishes the bytes of one that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from baselines.models import lightgbm
from harness.data.panel import Panel
from harness.run import feature_chunks
from harness.samples import preprocess
from harness.samples.chunks import LazyRows
from tests.run.test_growth import KINDS, Team, market, short_chunks

__all__ = ["market", "short_chunks"]


@pytest.mark.parametrize(
    "kind", ["linear", "ddgda", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("trees", "per_window"))]
)
def test_nothing_shows_whether_rows_were_held(
    kind: str, market: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Team(tmp_path / "held", *KINDS[kind]).run(market)
    monkeypatch.setattr(preprocess, "IN_MEMORY", 0)
    monkeypatch.setattr(lightgbm, "_IN_MEMORY", 0)
    monkeypatch.setattr(feature_chunks, "_HELD", 0)  # one chunk at a time
    team = Team(tmp_path / "streamed", *KINDS[kind])
    assert team.run(market) == held
    pipeline = team.pipeline(market)
    if kind != "per_window":
        processed: object = pipeline.cache.get(pipeline.walk.processed)[0].features
        assert isinstance(processed, LazyRows)
