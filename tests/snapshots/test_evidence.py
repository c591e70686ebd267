"""What the store still holds decides between a regression and a move that chance explains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.config.tolerances import Absolute, Tolerances
from harness.evaluation.metrics import directions_of
from harness.evaluation.significance.hac import calendar_years
from harness.snapshots.comparison import compare
from harness.snapshots.evidence import Evidence
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import Verdict
from harness.store.artifacts import ArtifactStore, canonical_json, key_of
from tests.evaluation.significance.series import Doubles, autoregressive

DAYS = np.arange("2018-01-01", "2020-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
YEARS = calendar_years(DAYS)
IDENTITY = {"look_ahead": 6, "config": {"evaluation": {"signal": {"lag": 1}}}}
NOISE = autoregressive(np.random.default_rng(4), (2, DAYS.size), 0.7)


def stored(root: Path, ic: Doubles) -> Snapshot:
    """A run with this IC, left in the store as `bench run` leaves it."""
    overall = {"IC": float(ic.mean()), "ICIR": float(ic.mean() / ic.std(ddof=1)), "max_drawdown": -0.1, "days": 730}
    years = [
        {"year": y, "IC": float(ic[DAYS.astype("datetime64[Y]").astype(int) + 1970 == y].mean())} for y in (2018, 2019)
    ]
    metrics: dict[str, Any] = {"overall": overall, "per_year": years, "predictions": f"digest of {overall['IC']}"}

    def make(folder: Path) -> None:
        (folder / "metrics.json").write_text(canonical_json(metrics, indent=1), encoding="utf-8")
        pq.write_table(pa.table({"datetime": pa.array(DAYS), "IC": pa.array(ic)}), folder / "series.parquet")

    ArtifactStore(root).get_or_make(key_of("result", ic=overall["IC"]), make)
    return Snapshot("s", "c", IDENTITY, metrics, {})


def judged(root: Path, old: Snapshot, new: Snapshot) -> Verdict:
    """The verdict on the overall IC."""
    test = Evidence(ArtifactStore(root)).difference_test(old, new)
    tolerances = Tolerances(default=Absolute(0.001))
    verdict = compare(old, new, tolerances, directions=directions_of(), difference_test=test)
    (found,) = [m for m in verdict.metrics if m.path == "overall.IC"]
    return found.verdict


def test_a_loss_that_chance_explains_is_inconclusive_and_one_that_it_does_not_is_a_regression(tmp_path: Path) -> None:
    old = stored(tmp_path, 0.05 + 0.01 * NOISE[0])
    by_chance = stored(tmp_path, 0.048 + 0.01 * NOISE[1])
    for_sure = stored(tmp_path, 0.048 + 0.01 * NOISE[0] + 0.0001 * NOISE[1])
    assert judged(tmp_path, old, by_chance) is Verdict.INCONCLUSIVE
    assert judged(tmp_path, old, for_sure) is Verdict.WORSENED


def test_years_are_tested_in_their_year_and_what_has_no_series_is_not(tmp_path: Path) -> None:
    old = stored(tmp_path, 0.01 * NOISE[0])
    first_year = np.where(YEARS == 2018, 0.05, 0.0)
    new = stored(tmp_path, 0.01 * NOISE[0] + first_year + 0.001 * NOISE[1])
    p = Evidence(ArtifactStore(tmp_path)).difference_test(old, new)
    found = {year: p(f"per_year.{year}.IC") for year in (2018, 2019)}
    assert found[2018] is not None
    assert found[2019] is not None
    assert found[2018] < 0.001 < found[2019]
    assert p("overall.ICIR") is not None
    for path in ("overall.max_drawdown", "overall.days", "overall.rank_IC", "per_window.0.IC", "predictions"):
        assert p(path) is None


@pytest.mark.parametrize("loss", ["unknown run", "empty store", "damaged file"])
def test_without_both_series_there_is_no_test_and_a_loss_is_a_regression(tmp_path: Path, loss: str) -> None:
    old, new = stored(tmp_path, 0.05 + 0.01 * NOISE[0]), stored(tmp_path, 0.048 + 0.01 * NOISE[1])
    root = tmp_path
    if loss == "unknown run":
        new = replace(new, metrics={**new.metrics, "predictions": "another"})
    elif loss == "empty store":
        root = tmp_path / "elsewhere"
    else:
        for path in tmp_path.rglob("series.parquet"):
            path.write_bytes(path.read_bytes()[:-1])
    assert judged(root, old, new) is Verdict.WORSENED
