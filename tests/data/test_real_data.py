"""The real panels beside the project load, pass validation, and hold what their README says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from harness.config import compose_config
from harness.config.instantiate import build
from harness.data.validation import describe, validate

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data are not beside this checkout (../shared/data)"
)


def _load(name, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(SHARED))
    node = OmegaConf.load(CONF / f"{name}.yaml")
    assert isinstance(node, DictConfig)
    source: Any = build(OmegaConf.to_container(node.get("data", node), resolve=True), "data")
    return source.load()


@pytest.mark.parametrize(("universe", "rows", "median"), [("honest", 1_105_023, 290), ("qlib", 1_099_078, 288)])
def test_cn_csi300_holds_2_518_801_prices_of_837_instruments(universe, rows, median, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(SHARED))
    panel = compose_config(["data=cn_csi300", f"universe={universe}"]).data.load()
    told: dict[str, Any] = describe(panel)
    assert (told["prices"], told["instruments"], told["times"]) == (2_518_801, 837, 3889)
    assert (told["first"], told["last"]) == ("2005-01-04", "2020-12-31")
    assert (told["rows"], told["members_per_time"]["median"]) == (rows, median)
    assert panel.membership.sum(axis=1).max() == (300 if universe == "honest" else 301)
    assert panel.benchmark is not None
    assert np.isfinite(panel.benchmark.close).all()
    odd = {finding.what: finding.count for finding in validate(panel)}
    assert odd.pop("members have no price at that time") > 0
    assert odd == {"moves exceed ±50 %": 28, "`vwap` lies outside low … high": 12}


def test_electricity_is_hourly_and_holds_647_347_loads_of_7_zones(monkeypatch):
    told: dict[str, Any] = describe(_load("electricity", monkeypatch))
    assert (told["prices"], told["instruments"], told["frequency"]) == (647_347, 7, "hourly, every day")


def test_solar_holds_59_112_values_of_3_zones_with_12_predictors(monkeypatch):
    told: dict[str, Any] = describe(_load("solar", monkeypatch))
    assert (told["prices"], told["instruments"], len(told["missing"])) == (59_112, 3, 13)
    assert told["missing"]["VAR78"] == pytest.approx(1440 / 59_112)
