"""The real panels beside the project load, pass validation, and hold what their README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from harness.data.validation import describe, validate
from harness.instantiate import build

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data are not beside this checkout (../shared/data)"
)


def _load(name, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(SHARED))
    node = OmegaConf.load(CONF / f"{name}.yaml")
    return build(OmegaConf.to_container(node.get("data", node), resolve=True), "data").load()


def test_cn_csi300_holds_1_464_629_prices_of_644_instruments(monkeypatch):
    panel = _load("cn_csi300", monkeypatch)
    told = describe(panel)
    assert (told["prices"], told["instruments"], told["times"]) == (1_464_629, 644, 2674)
    assert (told["first"], told["last"]) == ("2010-01-04", "2020-12-31")
    assert 240 < told["members_per_time"]["median"] < 270
    assert panel.membership.sum(axis=1).max() <= 300
    assert np.isfinite(panel.benchmark.close).all()
    odd = {finding.what: finding.count for finding in validate(panel)}
    assert odd["moves exceed ±50 %"] == 2
    assert set(odd) == {"moves exceed ±50 %", "members have no price at that time"}


def test_electricity_is_hourly_and_holds_647_347_loads_of_7_zones(monkeypatch):
    told = describe(_load("electricity", monkeypatch))
    assert (told["prices"], told["instruments"], told["frequency"]) == (647_347, 7, "hourly, every day")


def test_solar_holds_59_112_values_of_3_zones_with_12_predictors(monkeypatch):
    told = describe(_load("solar", monkeypatch))
    assert (told["prices"], told["instruments"], len(told["missing"])) == (59_112, 3, 13)
    assert told["missing"]["VAR78"] == pytest.approx(1440 / 59_112)
