"""What a sweep proves: planted effects are found and named, nothing is found in nothing, and unlike is not compared."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.config import compose_config
from harness.data.panel import Benchmark
from harness.errors import ConfigError
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.significance.bootstrap import Bootstrap
from harness.evaluation.significance.selection import probability_of_backtest_overfitting
from harness.report.leaderboard import leaderboard
from harness.run.experiment import ExperimentResult
from harness.run.finished import FinishedRun
from harness.run.sweep import Cell, Outcome, plan_sweep
from harness.run.sweep_columns import caption
from harness.run.sweep_statistics import (
    candidates_of,
    check_reference,
    differences_to,
    market_regimes,
    regimes_at,
    scenarios,
    statistics_of,
    sweep_statistics,
)
from harness.snapshots.snapshot import Snapshot
from harness.store.artifacts import canonical_json
from tests.data.small_panel import small_panel
from tests.evaluation.significance.series import autoregressive
from tests.evaluation.test_intervals import Counting

DAYS = np.arange("2017-01-01", "2018-07-01", dtype="datetime64[D]").astype("datetime64[ns]")
QUICK = Bootstrap(repetitions=199, block_length=10.0)
IDENTITY: dict[str, Any] = {
    "data": {"fingerprint": "f0"},
    "look_ahead": 6,
    "config": {"label": {"horizon": 5}, "evaluation": {"signal": {"lag": 1}}},
}
NOISE = autoregressive(np.random.default_rng(8), (6, DAYS.size), 0.6) * 0.02


def cell(name: str, shift: float, noise: int, *, days: slice = slice(None), **identity: Any) -> FinishedRun:
    """A cell whose IC is that of all others, plus a shift, plus some noise of its own."""
    ic = 0.05 + NOISE[0] + shift + 0.3 * NOISE[noise]
    returns = 0.01 * np.random.default_rng(noise).standard_normal(DAYS.size) + 0.01 * shift
    values = {"rank_IC": ic, "IC": ic, "turnover": np.abs(ic), "excess_return": returns}
    overall: dict[str, float | None] = {"rank_IC": float(ic[days].mean())}
    snapshot = Snapshot("s", name, {**IDENTITY, **identity}, {"overall": overall, "oracle": None}, {})
    series = DailySeries(DAYS[days], {key: value[days] for key, value in values.items()})
    return FinishedRun(name, snapshot, given=series)


BASE = cell("base", 0.0, 1)
CELLS = (BASE, cell("equal", 0.0, 2), cell("better", 0.02, 3), cell("worse", -0.02, 4))


def test_planted_differences_are_found_and_named() -> None:
    found = sweep_statistics(CELLS, metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    assert found.reference == "base"
    verdicts = {row.name: {m: d.verdict for m, d in row.differences.items()} for row in found.rows}
    assert verdicts["base"] == {}
    assert {name: verdicts[name]["rank_IC"] for name in ("equal", "better", "worse")} == {
        "equal": "same",
        "better": "better",
        "worse": "worse",
    }
    assert verdicts["better"]["turnover"] in ("differs", "same")
    better = next(row for row in found.rows if row.name == "better").differences["rank_IC"]
    assert better.low is not None
    assert better.high is not None
    assert better.low < better.difference < better.high
    assert better.difference == pytest.approx(0.02, abs=0.005)
    assert better.times == DAYS.size


def test_the_confidence_set_keeps_the_best_and_loses_the_worst() -> None:
    found = sweep_statistics(CELLS, metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    assert {row.name: row.in_confidence_set for row in found.rows} == {
        "base": False,
        "equal": False,
        "better": True,
        "worse": False,
    }


def test_another_reference_turns_the_signs() -> None:
    found = sweep_statistics(CELLS, metric="rank_IC", asked=["better"], bootstrap=QUICK)
    assert found is not None
    verdicts = {row.name: [d.verdict for m, d in row.differences.items() if m == "rank_IC"] for row in found.rows}
    assert verdicts == {"base": ["worse"], "equal": ["worse"], "better": [], "worse": ["worse"]}
    with pytest.raises(ConfigError, match="did you mean `better`"):
        check_reference("bettr", [one.name for one in CELLS])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"fingerprint": "f1"}}, "another data set"),
        ({"look_ahead": 21}, "another label"),
        ({"config": {"label": {"horizon": 20}, "evaluation": {"signal": {"lag": 1}}}}, "another label"),
        ({"config": {"label": {"horizon": 5}, "evaluation": {"signal": {"lag": 2}}}}, "another definition"),
    ],
)
def test_cells_that_answer_another_question_are_not_compared_and_it_says_why(
    change: dict[str, Any], reason: str
) -> None:
    found = sweep_statistics([*CELLS[:2], cell("other", 0.02, 3, **change)], metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    other = found.rows[-1]
    assert reason in str(other.why_not_comparable)
    assert (other.differences, other.confidence_p, other.in_confidence_set) == ({}, None, None)
    assert f"not compared: other ({reason}" in caption(found)
    assert found.rows[1].confidence_p is not None


def test_portfolios_that_are_run_differently_are_compared() -> None:
    config = {"label": {"horizon": 5}, "evaluation": {"signal": {"lag": 1}, "portfolio": {"topk": 30}}}
    assert cell("topk", 0.0, 2, config=config).why_not_comparable(BASE) is None


def test_metrics_of_ones_own_are_compared_the_way_they_are_better() -> None:
    own = {"evaluation": {"signal": {"lag": 1}, "extra": [{"name": "my_loss", "direction": "lower"}]}}
    config = {**IDENTITY["config"], **own}
    base, higher = (
        replace(made, given=DailySeries(DAYS, {"my_loss": made.series.values["IC"]}))
        for made in (cell("base", 0.0, 1, config=config), cell("higher", 0.02, 3, config=config))
    )
    assert {name: d.verdict for name, d in differences_to(base, higher, QUICK).items()} == {"my_loss": "worse"}


def plain(name: str, *, of: str = "RollingRetrain", **change: Any) -> FinishedRun:
    config = {**IDENTITY["config"], "adaptation": {"_target_": f"baselines.adaptation.{of}"}}
    return cell(name, 0.0, 2, **{"config": config, **change})


def test_the_reference_is_the_one_asked_for_or_the_first_plain_retrain_or_the_first_cell() -> None:
    learned, first, second = plain("learned", of="DDGDA"), plain("first"), plain("second")
    assert [c.name for c in scenarios([learned, first, second])] == ["first"]
    assert [c.name for c in scenarios([learned, first, second], ["second", "learned"])] == ["second"]
    assert [c.name for c in scenarios([learned, first], ["did not run"])] == ["first"]
    assert [c.name for c in scenarios(CELLS)] == ["base"]


def test_another_market_label_or_test_range_has_a_reference_of_its_own() -> None:
    data: dict[str, Any] = {"data": {"fingerprint": "f1"}}
    cells = [
        *CELLS,
        cell("other", 0.0, 2, **data),
        cell("another", 0.02, 3, **data),
        cell("late", 0.0, 4, days=slice(99, None)),
    ]
    found = sweep_statistics(cells, metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    assert found.references == ("base", "other", "late")
    rows = {row.name: row for row in found.rows}
    assert rows["another"].differences["rank_IC"].verdict == "better"
    assert (rows["another"].reference, rows["another"].why_not_comparable) == ("other", None)
    assert rows["late"].why_not_comparable == "another test range"
    assert "(base; other)" in caption(found)


def test_cells_are_compared_at_the_times_that_both_have() -> None:
    later = cell("later", 0.02, 3, days=slice(100, None))
    assert {d.times for d in differences_to(BASE, later, QUICK).values()} == {DAYS.size - 100}
    early, late = cell("early", 0.0, 2, days=slice(0, 50)), cell("late", 0.0, 3, days=slice(50, None))
    assert late.why_not_comparable(early) == "no test time in common"


def test_the_number_of_cells_deflates_the_sharpe_ratio() -> None:
    few, many = (sweep_statistics(cells, metric="rank_IC", bootstrap=QUICK) for cells in (CELLS[:2], CELLS))
    assert few is not None
    assert many is not None
    assert (few.trials, many.trials) == (2, 4)
    first, second = (found.rows[0].deflated_sharpe for found in (few, many))
    assert first is not None
    assert second is not None
    assert (first.trials, second.trials) == (2, 4)
    assert first.sharpe == second.sharpe
    assert first.probability > second.probability


def test_the_probability_of_overfitting_is_that_of_the_comparable_portfolios() -> None:
    found = sweep_statistics(CELLS, metric="rank_IC", bootstrap=QUICK)
    returns = np.stack([c.series.values["excess_return"] for c in CELLS], axis=1)
    assert found is not None
    assert found.overfitting == probability_of_backtest_overfitting(returns)
    assert f"overfitting {found.overfitting.probability:.2f}" in caption(found)


def test_years_and_regimes_divide_the_test_range() -> None:
    regimes = np.where(np.arange(DAYS.size) % 2 == 0, "calm", "turbulent")
    found = sweep_statistics([replace(BASE, regimes=regimes), CELLS[1]], metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    first, second = found.rows
    assert [(p.label, p.test.count) for p in first.years] == [("2017", 365), ("2018", 181)]
    assert [p.label for p in first.regimes] == ["calm", "turbulent"]
    assert sum(p.test.count for p in first.regimes) == DAYS.size
    assert second.regimes == ()


@pytest.mark.parametrize("indexed", [True, False])
def test_regimes_come_from_what_is_known_by_then(indexed: bool) -> None:
    panel = small_panel(400, benchmark=False)
    if indexed:
        level = (1000.0 + np.random.default_rng(1).random(400)).astype(np.float32)
        panel = replace(panel, benchmark=Benchmark("I", level))
    after = (np.arange(400) > 350).astype(np.float32)
    moved = {"close": panel.fields["close"] * (1 + after[:, None] * np.float32(3))}
    index = None if panel.benchmark is None else replace(panel.benchmark, close=panel.benchmark.close * (1 + after))
    times, regimes = market_regimes(panel)
    _, later = market_regimes(replace(panel, fields={**panel.fields, **moved}, benchmark=index))
    assert (times == panel.calendar.times).all()
    assert (regimes[:351] == later[:351]).all()
    assert (regimes != later).any()
    assert set(regimes) == {"undetermined", "calm", "normal", "turbulent"}
    at = regimes_at((times, regimes), times[300:310])
    assert at is not None
    assert (at == regimes[300:310]).all()
    assert regimes_at((times, regimes), times[:1] + np.timedelta64(1, "h")) is None


def test_what_cannot_be_computed_is_said() -> None:
    short = [cell(name, 0.0, i, days=slice(0, 12)) for i, name in enumerate(("a", "b"), start=1)]
    found = sweep_statistics(short, metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    assert "no marks by rank_IC: 12 defined values are fewer than 30, 5 times the look-ahead of 6" in caption(found)
    assert "12 periods are too few for 16 blocks" in caption(found)
    undirected = sweep_statistics(CELLS, metric="turnover", bootstrap=QUICK)
    assert undirected is not None
    assert "no side of turnover is better" in caption(undirected)
    assert sweep_statistics(CELLS[:1], metric="rank_IC") is None


def test_the_statistics_tell_their_progress() -> None:
    observer = Counting()
    found = sweep_statistics(CELLS, metric="rank_IC", bootstrap=QUICK, observer=observer)
    assert found == sweep_statistics(CELLS, metric="rank_IC", bootstrap=QUICK)
    assert observer.done == observer.total == {"statistics": 1 + len(CELLS)}
    assert observer.finished == ["statistics"]


def test_two_seeds_of_nothing_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(60):
        pair = autoregressive(rng, (2, DAYS.size), 0.8)
        first, second = (
            FinishedRun(str(i), BASE.snapshot, given=DailySeries(DAYS, {"rank_IC": 0.02 * noise}))
            for i, noise in enumerate(pair)
        )
        told += differences_to(first, second, QUICK)["rank_IC"].verdict != "same"
    assert told <= 9  # 5 % are promised; ten or more of 60 have a probability below 0.1 %


def test_the_record_is_plain_data_and_finite() -> None:
    found = sweep_statistics(CELLS, metric="rank_IC", bootstrap=QUICK)
    assert found is not None
    record = json.loads(canonical_json(found.record()))
    assert record["rows"][2]["differences"]["rank_IC"]["verdict"] == "better"
    nan = replace(found, rows=(replace(found.rows[0], confidence_p=math.nan),))
    assert nan.record()["rows"][0]["confidence_p"] is None


@pytest.fixture
def ended(tmp_path: Path) -> list[Cell]:
    """A sweep of four cells that have left their series, and one that has not run."""
    planned = plan_sweep(["model.alpha=1,2,3,4,-1"])
    found = []
    for plan, made in zip(planned, CELLS, strict=False):
        assert plan.config is not None
        folder = tmp_path / made.name
        folder.mkdir()
        columns = {"datetime": pa.array(made.series.times), **{k: pa.array(v) for k, v in made.series.values.items()}}
        pq.write_table(pa.table(columns), folder / "series.parquet")
        intervals = {"rank_IC": {"low": 0.01, "high": 0.09, "level": 0.95, "t": 2.5, "p": 0.01}}
        snapshot = replace(made.snapshot, metrics={**made.snapshot.metrics, "intervals": intervals})
        config = replace(plan.config, output=replace(plan.config.output, store=str(tmp_path / "store")))
        found.append(replace(plan, result=ExperimentResult(config, (), snapshot, folder, reused=False)))
    return [*found, replace(planned[4], outcome=Outcome.REFUSED, reason="alpha")]


def test_every_form_of_the_table_carries_the_statistics(ended: list[Cell]) -> None:
    found = statistics_of(ended, "rank_IC")
    board = leaderboard(ended, statistics=found)
    rows = {row["cell"]: row for row in csv.DictReader(io.StringIO(board.to_csv()))}
    better = rows["model.alpha=3"]
    assert (better["rank_IC_low"], better["rank_IC_high"], better["rank_IC_t"]) == ("0.01", "0.09", "2.5")
    assert better["rank_IC_p"] == "0.01"
    assert better["rank_IC_vs_reference_verdict"] == "better"
    assert float(better["rank_IC_vs_reference_p_hac"]) < 0.05
    assert (better["in_confidence_set"], better["reference"], better["trials"]) == ("True", "model.alpha=1", "4")
    assert 0.0 <= float(better["deflated_sharpe"]) <= 1.0
    assert rows["model.alpha=-1"]["reference"] == ""
    record = json.loads(board.to_json())
    assert record["statistics"]["reference"] == "model.alpha=1"
    assert record["rows"][0]["intervals"]["rank_IC"]["t"] == 2.5
    lines = board.to_markdown().splitlines()
    assert "| model.alpha=3 ● |" in lines[2]
    assert "** ▲" in lines[2]
    assert any("▼" in line for line in lines if "model.alpha=4" in line)


def test_a_reference_that_did_not_run_is_replaced_and_it_says_so(ended: list[Cell]) -> None:
    found = statistics_of(ended, "rank_IC", "model.alpha=-1")
    assert found is not None
    assert found.notes[0] == "model.alpha=-1 did not run: model.alpha=1 stands in for it"


def test_without_significance_there_are_no_statistics(ended: list[Cell]) -> None:
    config = compose_config(["evaluation.significance=null"])
    quiet = [replace(e, result=None if e.result is None else replace(e.result, config=config)) for e in ended]
    assert statistics_of(quiet, "rank_IC") is None
    assert len(candidates_of(ended)) == 4
