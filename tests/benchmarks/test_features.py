"""How fast features are: Alpha158 of about 300 instruments × 3,000 days, and pyqlib beside it where it is installed."""

from __future__ import annotations

import json
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.panel import Panel
from harness.features.engine import compute_expression, compute_features
from harness.features.feature_set import Alpha158, Alpha360, ForwardReturn
from harness.samples.table import index_rows
from tests.features.panels import make_panel, random_fields
from tests.parity.oracle import ORACLE, oracle_panel

pytestmark = [pytest.mark.nightly, pytest.mark.benchmark(group="features")]
PEER = "BENCH_PEER_PYTHON"


@lru_cache(maxsize=1)
def market() -> Panel:
    """Return the recorded market (300 × 3,207), or a random one of that size where there is none."""
    if (ORACLE / "README.md").is_file():
        return oracle_panel()
    fields = random_fields(0, times=3000, instruments=300, gaps=0.02)
    return make_panel({**fields, "vwap": fields["open"]}, name="random")


@pytest.mark.parametrize("family", [Alpha158, Alpha360])
def test_all_features_of_a_market(benchmark: Any, family: type[Alpha158]) -> None:
    panel = market()
    index = index_rows(panel)
    features = family().feature_set()
    matrix = benchmark.pedantic(
        compute_features, args=(panel, features, index.offsets, index.codes), rounds=3, warmup_rounds=1
    )
    assert matrix.names == features.names


def test_the_label_of_a_market(benchmark: Any) -> None:
    values = benchmark(compute_expression, market(), ForwardReturn(20).expression_text)
    assert np.isfinite(values).any()


def test_reading_all_expressions(benchmark: Any) -> None:
    assert len(benchmark(lambda: Alpha158().feature_set().parsed())) == 158


def test_alpha158_by_the_peer(benchmark: Any, tmp_path: Path) -> None:
    """Runs pyqlib once; compare its time with `test_all_features_of_a_market`."""
    if PEER not in os.environ:
        pytest.skip(f"{PEER} does not name a Python that has pyqlib")
    panel = market()
    arrays: dict[str, Any] = {name: values for name, values in panel.fields.items() if name != "factor"}
    np.savez(tmp_path / "market.npz", calendar=panel.calendar.times, instruments=np.array(panel.instruments), **arrays)
    features = Alpha158().feature_set()
    (tmp_path / "features.json").write_text(json.dumps(dict(zip(features.names, features.expressions, strict=True))))
    script = Path(__file__).with_name("peer_alpha158.py")
    command = [os.environ[PEER], str(script), str(tmp_path / "market.npz"), str(tmp_path / "features.json")]
    done = benchmark.pedantic(subprocess.run, args=(command,), kwargs={"capture_output": True, "text": True}, rounds=1)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    benchmark.extra_info.update(result)
    assert result["features"] == 158
