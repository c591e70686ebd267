"""Beside every overall metric that follows from a series stands how sure it is, in the metric's own unit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from harness.cli.run import result_lines
from harness.config import compose_config
from harness.evaluation.evaluate import Evaluation, evaluate
from harness.evaluation.evaluate import intervals as intervals_of
from harness.evaluation.metrics import METRICS
from harness.evaluation.significance.bootstrap import Bootstrap, bootstrap_interval
from harness.evaluation.significance.hac import hac_mean
from harness.execution.progress import Silent
from harness.run.experiment import ExperimentResult, run_experiment
from harness.snapshots.snapshot import Snapshot
from harness.store.artifacts import canonical_json
from tests.evaluation.test_evaluation import STRATEGY, Both, market, signal

BOOTSTRAP = Bootstrap(repetitions=99, block_length=5.0)
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
QUICK = ["evaluation.significance.repetitions=99", "evaluation.significance.block_length=21"]
COUNTS = {"days", "rows", "labelled_rows", "undefined_days"}


def judged(accumulate: Literal["sum", "product"] = "sum") -> tuple[Evaluation, Both]:
    both = Both(portfolio=replace(STRATEGY, accumulate=accumulate))
    panel = market()
    return evaluate(signal(panel), panel, both, horizon=2), both


def intervals(
    evaluation: Evaluation,
    criteria: Both,
    bootstrap: Bootstrap,
    observer: Silent | None = None,
    horizon: int | None = 2,
    look_ahead: int = 3,
) -> dict[str, dict[str, float | None]]:
    return intervals_of(evaluation, criteria, bootstrap, horizon=horizon, look_ahead=look_ahead, observer=observer)


def test_every_metric_but_the_counts_has_an_interval() -> None:
    evaluation, how = judged()
    assert intervals(evaluation, how, BOOTSTRAP).keys() == evaluation.overall.keys() - COUNTS
    assert {m.name for m in METRICS.values() if m.statistic != "count"} == METRICS.keys() - COUNTS


@pytest.mark.parametrize("accumulate", ["sum", "product"])
def test_an_interval_is_in_the_unit_of_its_metric(accumulate: Literal["sum", "product"]) -> None:
    """A symmetric one has its metric in the middle; that of compounded returns in logarithms of 1 + metric."""
    evaluation, how = judged(accumulate)
    compounded = ("excess_return", "excess_return_without_cost", "portfolio_return", "benchmark_return")
    for name, interval in intervals(evaluation, how, BOOTSTRAP).items():
        value, low, high = evaluation.overall[name], interval["low"], interval["high"]
        if accumulate == "product" and name.startswith("information_ratio"):
            assert (low, high) == (None, None)
            continue
        assert value is not None
        assert low is not None
        assert high is not None
        assert low <= high
        if METRICS[name].statistic == "drawdown":
            assert -1.0 < low <= high <= 0.0
        elif accumulate == "product" and name in compounded:
            assert (math.log1p(low) + math.log1p(high)) / 2 == pytest.approx(math.log1p(value), abs=1e-12)
        else:
            assert (low + high) / 2 == pytest.approx(value, abs=1e-9), name


def test_the_label_s_overlap_counts_where_values_share_labels_and_nowhere_else() -> None:
    evaluation, how = judged()
    automatic = Bootstrap(repetitions=99)
    found = intervals(evaluation, how, automatic, look_ahead=9)
    ic = bootstrap_interval(evaluation.series["IC"], bootstrap=automatic, look_ahead=9)
    assert (found["IC"]["low"], found["IC"]["block_length"]) == (ic.low, ic.block_length)
    assert ic.block_length >= 9
    excess = bootstrap_interval(evaluation.series["excess_return"], bootstrap=automatic, look_ahead=1)
    assert evaluation.periods_per_year is not None
    assert found["excess_return"]["low"] == pytest.approx(excess.low * evaluation.periods_per_year)


def test_the_mean_ics_have_the_t_value_that_allows_for_the_overlap() -> None:
    evaluation, how = judged()
    found = intervals(evaluation, how, BOOTSTRAP)
    for name in ("IC", "rank_IC"):
        test = hac_mean(evaluation.series[name], look_ahead=3)
        assert (found[name]["t"], found[name]["p"]) == (test.t_value, test.p_value)
    assert "t" not in found["ICIR"]


def test_what_is_undefined_is_null_and_the_record_is_json() -> None:
    evaluation, how = judged()
    blank = replace(evaluation, series={n: np.full_like(v, np.nan) for n, v in evaluation.series.items()})
    found = intervals(blank, how, BOOTSTRAP, horizon=None)
    assert found["long_short_return"]["low"] is None
    assert found["IC"] == {"low": None, "high": None, "level": 0.95, "block_length": 0.0, "t": None, "p": None}
    canonical_json(found)


@dataclass
class Counting(Silent):
    """Counts the units of each stage."""

    total: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)

    def start(self, stage: str, total: int) -> None:
        self.total[stage], self.done[stage] = total, 0

    def advance(self, stage: str, done: int = 1) -> None:
        self.done[stage] += done

    def finish(self, stage: str, note: str = "") -> None:
        self.finished.append(stage)


def test_the_intervals_tell_their_progress_and_no_number_depends_on_it() -> None:
    evaluation, how = judged()
    observer = Counting()
    told = intervals(evaluation, how, BOOTSTRAP, observer)
    assert told == intervals(evaluation, how, BOOTSTRAP)
    assert observer.done["significance"] == observer.total["significance"] >= len(told) - 1
    assert observer.finished == ["significance"]


def test_each_interval_has_the_bits_that_it_has_alone() -> None:
    evaluation, how = judged()
    found = intervals(evaluation, how, BOOTSTRAP)
    for name in ("IC", "ICIR", "turnover", "MSE"):
        metric = METRICS[name]
        assert metric.statistic in ("mean", "ir")
        series, overlap = evaluation.series[metric.series], metric.overlap_at(3, how.signal.lag)
        alone = bootstrap_interval(series, metric.statistic, bootstrap=BOOTSTRAP, look_ahead=overlap)
        assert (found[name]["low"], found[name]["high"]) == (alone.low, alone.high)


def test_a_run_records_its_intervals_and_finds_them_again_in_the_store(tmp_path: Path) -> None:
    overrides = [*SMALL, *QUICK, f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
    first, again = run_experiment(overrides), run_experiment(overrides)
    recorded = first.snapshot.metrics["intervals"]
    assert recorded["rank_IC"]["low"] < first.metrics["rank_IC"] < recorded["rank_IC"]["high"]
    assert again.reused
    assert again.snapshot.metrics["intervals"] == recorded
    stored = json.loads((first.folder / "metrics.json").read_text(encoding="utf-8"))
    assert stored["intervals"] == recorded


def test_significance_is_part_of_the_identity_and_can_be_switched_off(tmp_path: Path) -> None:
    output = [f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
    off = run_experiment([*SMALL, "evaluation.significance=null", *output])
    assert off.snapshot.metrics["intervals"] is None
    assert off.snapshot.identity["config"]["evaluation"]["significance"] is None
    assert compose_config().evaluation.significance == Bootstrap()


def summary_of(
    overall: dict[str, int], t: float | None, p: float | None, year: str = "daily, five days a week, by the calendar"
) -> str:
    """What the terminal says below the table of a run with these tests of the mean ICs."""
    tested = {"low": None, "high": None, "level": 0.95, "block_length": 0.0, "t": t, "p": p}
    windows = [{"test": ["2019-01-01", "2019-02-01"]}]
    identity = {"look_ahead": 6, "windows": windows, "year": {"periods": 252, "source": year}}
    metrics = {"overall": {"IC": 0.05, "rows": 100, **overall}, "intervals": {"IC": tested, "rank_IC": tested}}
    snapshot = Snapshot("s", "c", identity, metrics, {"seconds": {}, "peak_memory_mb": 1})
    return "\n".join(result_lines(ExperimentResult(compose_config(), (), snapshot, Path("runs/c"), reused=True)))


def test_the_terminal_prints_p_beside_t_and_counts_days_without_ic() -> None:
    told = summary_of({"days": 174, "undefined_days": 21}, 3.12, 0.0891)
    assert "IC t = 3.12 (p = 0.089)" in told
    assert "21 of 174 test days have no defined IC" in told
    assert "no defined IC" not in summary_of({"days": 174, "undefined_days": 0}, 3.12, 0.0891)


@pytest.mark.parametrize("calendar", ["hourly, every day, by the calendar", "weekly, by the calendar"])
def test_the_terminal_calls_no_hour_and_no_week_a_day(calendar: str) -> None:
    told = summary_of({"days": 174, "undefined_days": 21}, 3.12, 0.0891, calendar)
    assert "21 of 174 test periods have no defined IC" in told


def test_the_terminal_says_why_there_is_no_t_value() -> None:
    told = summary_of({"days": 174, "undefined_days": 150}, None, None)
    assert "no t-value of the mean IC: 24 defined values are fewer than 30, 5 times the look-ahead of 6" in told
    assert "nearly all values are equal" in summary_of({"days": 174, "undefined_days": 0}, None, None)
