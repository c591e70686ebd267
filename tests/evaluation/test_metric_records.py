"""One metric, one text: every view prints the same number in the same unit, with the same digits and heading."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.run import result_table
from harness.cli.terminal import show
from harness.config import compose_config
from harness.errors import ConfigError
from harness.evaluation.metrics import METRICS, MetricRecord, check_extra, headings_of, metrics_of
from harness.report.cells import Report, leaderboard_rows
from harness.report.check_output import night_page
from harness.report.leaderboard import blessed_rows, leaderboard, leaderboard_markdown
from harness.report.table import EXPORTS
from harness.run.experiment import ExperimentResult
from harness.run.finished import FinishedRun
from harness.run.sweep import plan_sweep
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, Problem

VALUES = {
    name: (-1) ** at * (0.01234567 + at / 9)
    for at, name in enumerate(name for name, metric in METRICS.items() if metric.column)
}
OWN = {"name": "spread", "direction": "lower", "heading": "spread | of a day", "unit": "percent", "digits": 1}
IDENTITY = {
    "config": {"evaluation": {"extra": [OWN]}, "adaptation": {"_target_": "x.RollingRetrain"}},
    "data": {"name": "market", "fingerprint": "f0"},
    "look_ahead": 21,
}
TEXTS = [*(f"{value:.4f}" for value in VALUES.values()), "12.3%"]


@pytest.fixture(scope="module")
def result() -> ExperimentResult:
    overall = {**VALUES, "spread": 0.1234}
    snapshot = Snapshot("mine", "linear", IDENTITY, {"overall": overall, "oracle": None, "intervals": None}, {})
    return ExperimentResult(compose_config([]), (), snapshot, Path("runs/x"), reused=True)


def views(result: ExperimentResult, folder: Path) -> dict[str, str]:
    def printed(table: object) -> str:
        console = Console(width=400, file=io.StringIO())
        show(console, table)  # type: ignore[arg-type]
        return console.file.getvalue()  # type: ignore[attr-defined]

    board = leaderboard([replace(plan_sweep([])[0], result=result)])
    cell = FinishedRun("linear", result.snapshot)
    page = leaderboard_rows(Report((cell,), ()), None)
    verdict = CaseVerdict.without("mine", "linear", Problem.NO_BASELINE)
    Baselines(folder).bless(result.snapshot, "first")
    return {
        "bench run": printed(result_table(result)),
        "bench run -m": printed(board.table()),
        "leaderboard.md": board.to_markdown(),
        "report": "\n".join(entry.text for row in page.rows for entry in row),
        "report as Markdown": EXPORTS["markdown"](page),
        "night": night_page("Night", [verdict], {("mine", "linear"): result.snapshot}, created=""),
        "results/leaderboard.md": leaderboard_markdown(blessed_rows(Baselines(folder))),
    }


def test_one_result_reads_the_same_in_every_view(result: ExperimentResult, tmp_path: Path) -> None:
    metrics = metrics_of(IDENTITY)
    for name, text in views(result, tmp_path).items():
        found = re.findall(r"-?\d+\.\d+%?", text)
        assert found, name
        assert set(found) <= set(TEXTS), name
        shown = [m for m in (*VALUES, "spread") if metrics[m].text({**VALUES, "spread": 0.1234}[m]) in found]
        assert len(shown) == len(TEXTS) or name in ("night", "results/leaderboard.md"), name
        if name != "report":
            assert all(
                metrics[m].heading.replace("|", "") in text.replace("\\|", "").replace("|", "") for m in shown
            ), name
            assert "rank_IC" not in text, name


def test_every_metric_has_a_heading_of_its_own() -> None:
    assert len(set(headings_of(METRICS.values()).values())) == len(METRICS)
    assert headings_of([METRICS["max_drawdown"], MetricRecord("MDD", "MDD", "none", "MDD")]) == {
        "max_drawdown": "MDD",
        "MDD": "MDD (MDD)",
    }


@pytest.mark.parametrize(
    ("record", "value", "text"),
    [
        (METRICS["IC"], None, "–"),
        (METRICS["IC"], float("nan"), "–"),
        (METRICS["IC"], -0.5, "-0.5000"),
        (METRICS["IC"], -0.00001, "0.0000"),
        (METRICS["excess_return"], 0.0764, "0.0764"),
        (METRICS["rows"], 12345, "12,345"),
        (MetricRecord("x", "x", "none", "x", unit="percent", digits=None), -0.0764, "-7.64%"),
        (MetricRecord("x", "x", "none", "x", digits=1), 0.25, "0.2"),
        (MetricRecord("x", "x", "none", "x", digits=None), 1.5e-7, "1.5e-07"),
    ],
)
def test_a_number_is_printed_by_its_record(record: MetricRecord, value: float | None, text: str) -> None:
    assert record.text(value) == text


def test_an_interval_is_its_reach_or_its_bounds_with_the_digits_of_the_metric() -> None:
    metric = METRICS["max_drawdown"]
    assert metric.interval(0.1, {"low": 0.05, "high": 0.15}) == "± 0.0500"
    assert metric.interval(-0.079, {"low": -0.135, "high": -0.0429}) == "-0.1350 … -0.0429"
    assert metric.interval(None, {"low": 0.0, "high": 1.0}) == metric.interval(0.1, None) == ""


@dataclass(frozen=True)
class Shown:
    """A user's own metric that says how it is shown."""

    name: str = "mine"
    direction: str = "none"
    heading: object = None
    unit: object = None
    digits: object = None

    def compute(self, predictions: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "change", [{"unit": "dollars"}, {"digits": 1.5}, {"digits": -1}, {"digits": True}, {"heading": " "}]
)
def test_what_no_table_can_show_is_refused(change: dict[str, object]) -> None:
    check_extra((Shown(unit="count", digits=0, heading="mine"),))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has a value of the wrong kind") as refused:
        check_extra((replace(Shown(), **change),))  # type: ignore[arg-type]
    assert str(refused.value.where).startswith("evaluation.extra[0].")
