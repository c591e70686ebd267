"""A metric in a user's own file stands wherever one of ours does: one sweep and one suite, looked at in every place."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from examples.my_metric import MyMetric
from harness.audit.cost import leak_costs
from harness.cli import main
from harness.config import compose_config
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.metrics import METRICS, directions_of, metrics_of
from harness.run.finished import FinishedRun
from harness.run.search.study import direction_of
from harness.run.sweep_columns import caption
from harness.run.sweep_statistics import sweep_statistics
from harness.snapshots.snapshot import Snapshot
from harness.store.records import describe

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "examples" / "my_conf"
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40", "evaluation=my_metric"]
QUICK = ["evaluation.significance.repetitions=49", "evaluation.significance.block_length=21"]


def cell(name: str, shift: float) -> FinishedRun:
    """One run whose hit rate is shifted."""
    series = {"hit_rate": np.random.default_rng(int(10 * shift)).normal(0.5 + shift, 0.1, 400)}
    times = np.datetime64("2019-01-01", "ns") + np.arange(400) * np.timedelta64(1, "D")
    identity = {"config": {"evaluation": {"extra": [describe(MyMetric())]}}, "data": {"fingerprint": "f"}}
    snapshot = Snapshot("s", name, identity, {"overall": {"hit_rate": 0.5 + shift}}, {})
    return FinishedRun(name, snapshot, Path(name), DailySeries(times, series))


def test_its_record_comes_alike_from_the_configuration_and_from_a_snapshot() -> None:
    metric = replace(MyMetric(), direction="lower")
    recorded = {"config": {"evaluation": {"extra": [describe(metric)]}}}
    found = metrics_of((metric,))
    assert found == metrics_of(recorded)
    assert list(found) == [*METRICS, "hit_rate"]
    assert (found["hit_rate"].series, found["hit_rate"].statistic, found["hit_rate"].overlap) == (
        "hit_rate",
        "mean",
        "label",
    )
    assert directions_of(recorded)["hit_rate"] == "lower"


def test_it_orders_a_confidence_set_and_is_tested_against_the_reference() -> None:
    cells = [cell("a", 0.0), cell("b", 0.2)]
    found = sweep_statistics(cells, metric="hit_rate")
    assert found is not None
    better = found.row("b")
    assert better is not None
    assert better.differences["hit_rate"].verdict == "better"
    assert [row.in_confidence_set for row in found.rows] == [False, True]
    assert [len(row.years) for row in found.rows] == [2, 2]
    assert "may be the best by hit_rate" in caption(found)
    assert found.record()["metric"] == "hit_rate"


def test_a_search_knows_its_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CONFIGURATIONS.parent))
    assert direction_of("hit_rate", compose_config(SMALL, search_path=[CONFIGURATIONS])) == "maximize"


@dataclass(frozen=True)
class Places:
    printed: str
    sweep: Path
    leaderboard: str
    night: str
    report: str
    sorted_again: str


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder, patch = tmp_path_factory.mktemp("user_metric"), pytest.MonkeyPatch()
    with patch.context() as within:
        within.chdir(folder)
        within.setenv("COLUMNS", "250")
        within.syspath_prepend(str(CONFIGURATIONS.parent))
        cases = [{"case": name, "overrides": [f"model.alpha={alpha}"]} for name, alpha in (("one", 0.05), ("two", 1))]
        suite = {"regression": "default", "overrides": [*SMALL, *QUICK], "cases": cases}
        Path("mine.yaml").write_text(json.dumps(suite), encoding="utf-8")
        given = ["--config-dir", str(CONFIGURATIONS)]

        def told(*command: str) -> str:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert main(list(command)) == 0
            return out.getvalue()

        printed = told("run", "-m", *SMALL, *QUICK, "model.alpha=0.05,1", "--sort-by", "hit_rate", *given)
        sweep = next(Path("runs").glob("sweep-*")).resolve()
        again = told("leaderboard", str(sweep), "--sort-by", "hit_rate", "--format", "markdown")
        told("report", str(sweep), "--out", "report.html")
        told("bless", "mine.yaml", "--reason", "a first look", *given)
        told("nightly", "mine.yaml", *given)
        files = ("results/leaderboard.md", "nightly/report.md", "report.html")
        board, night, report = (Path(file).read_text(encoding="utf-8") for file in files)
        yield Places(printed, sweep, board, night, report, again)


def test_it_stands_in_every_place(places: Places) -> None:
    (sweep,) = [json.loads((places.sweep / "leaderboard.json").read_text(encoding="utf-8"))]
    done = [row for row in sweep["rows"] if row["outcome"] == "done"]
    values = [row["values"]["hit_rate"] for row in done]
    best = f"**{max(values):.4f}**"
    assert "sorted by hit_rate" in places.printed
    assert values == sorted(values, reverse=True)
    assert sweep["statistics"]["metric"] == "hit_rate"
    assert all(row["in_confidence_set"] is not None for row in sweep["statistics"]["rows"])
    assert [row["values"]["hit_rate"] for row in sweep["rows"] if row["outcome"] == "oracle"] != []
    rows = list(csv.DictReader((places.sweep / "leaderboard.csv").read_text(encoding="utf-8").splitlines()))
    assert all(float(row["hit_rate_low"]) < float(row["hit_rate"]) < float(row["hit_rate_high"]) for row in rows[:2])
    assert any(row["hit_rate_vs_reference_verdict"] for row in rows)
    assert best in (places.sweep / "leaderboard.md").read_text(encoding="utf-8")
    assert best in places.sorted_again
    assert f"{best} ±" in places.leaderboard
    assert "hit_rate" in places.leaderboard
    assert "hit_rate" in places.night
    assert "hit_rate" in places.report


@pytest.mark.nightly
def test_the_cost_of_a_leak_is_told_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CONFIGURATIONS.parent))
    config = compose_config(
        [*SMALL, *QUICK, f"output.runs={tmp_path}/runs", f"output.store={tmp_path}/store"], search_path=[CONFIGURATIONS]
    )
    assert all("hit_rate" in cost.gained for cost in leak_costs(config))
