"""One table, every form: the same columns, numbers, intervals and marks in each."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from harness.evaluation.metrics import METRICS
from harness.report.table import (
    MetricRow,
    Table,
    TableCell,
    best_of,
    metric_cell,
    metric_columns,
    table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from harness.run.sweep_columns import Difference, RowStatistics

RECORDS = (METRICS["IC"], METRICS["max_drawdown"])
SKEWED = {"low": -0.4, "high": -0.1}


@pytest.fixture
def made() -> Table:
    best = replace(metric_cell(RECORDS[0], 0.1, {"low": 0.05, "high": 0.15}), best=True, mark="better", hint="p = 0.01")
    oracle = (metric_cell(RECORDS[0], 0.25), metric_cell(RECORDS[1], None))
    rows = [
        (TableCell("linear", link="full/linear/v0001.json"), best, metric_cell(RECORDS[1], -0.2, SKEWED)),
        (TableCell("oracle", style="italic"), *oracle),
    ]
    return table("a caption", ("case", *metric_columns(RECORDS)), rows, below=("refused  a | b",))


def test_markdown_has_the_interval_of_a_number_behind_it(made: Table) -> None:
    assert to_markdown(made).splitlines() == [
        "| case | IC | MDD |",
        "| --- | ---: | ---: |",
        "| [linear](full/linear/v0001.json) | **0.1000** ▲ ± 0.0500 | -0.2000 (-0.4000 … -0.1000) |",
        "| *oracle* | 0.2500 | – |",
        "",
        r"refused a \| b",
    ]


def test_csv_has_every_number_in_full_precision(made: Table) -> None:
    first, second = csv.DictReader(io.StringIO(to_csv(made)))
    assert (first["IC"], first["IC interval"], first["IC mark"]) == ("0.1", "± 0.0500", "better")
    assert (second["case"], second["MDD"], second["MDD interval"], second["IC mark"]) == ("oracle", "", "", "")


def test_json_has_the_values_and_undefined_is_null(made: Table) -> None:
    record = json.loads(to_json(made))
    assert record["caption"] == "a caption"
    assert record["rows"][0]["IC"] == {"value": 0.1, "detail": "± 0.0500", "mark": "better"}
    assert record["rows"][1]["MDD"]["value"] is None


def test_latex_has_rules_bold_and_triangles(made: Table) -> None:
    lines = to_latex(made).splitlines()
    assert lines[1] == r"\begin{tabular}{lrr}"
    assert r"linear & \textbf{0.1000} $\blacktriangle$ $\pm$ 0.0500 & $-$0.2000 $-$0.4000 \dots{} $-$0.1000 \\" in lines


def test_a_verdict_without_a_sign_is_no_mark() -> None:
    def mark(verdict: str) -> str:
        difference = Difference(0.1, None, None, 0.01, 0.02, verdict, 9)
        known = RowStatistics("x", "y", None, {"IC": difference}, None, None, None, (), ())
        return MetricRow(TableCell("x"), {"IC": 0.1}, statistics=known).cell(RECORDS[0], None).mark

    assert [mark(verdict) for verdict in ("better", "worse", "same", "differs")] == ["better", "worse", "", ""]


def test_the_best_needs_another_to_be_better_than_and_a_side() -> None:
    ic, turnover = METRICS["IC"], METRICS["turnover"]
    assert best_of(ic, [0.1, None, 0.2]) == 0.2
    assert best_of(METRICS["MSE"], [0.1, 0.2]) == 0.1
    assert best_of(ic, [0.1, None]) is best_of(turnover, [0.1, 0.2]) is None
