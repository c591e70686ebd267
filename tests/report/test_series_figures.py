"""Figures and tables of runs that are judged by errors: forecasts beside the truth, errors by part, no year, no IC."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from harness.audit.cost import leak_costs
from harness.cli import main
from harness.config import compose_config
from harness.report.cells import read_cells
from harness.report.figures import errors
from harness.report.page import render
from harness.run.experiment import ExperimentResult
from tests.adaptation.test_series_adaptations import ran

OWN = {"cell", "palette", "neutral", "shade", "band", "faint", "scale"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    quick = ("evaluation.significance={seed: 0, repetitions: 99, level: 0.95, block_length: 24}",)
    return ran(tmp_path_factory.mktemp("run"), "model=linear_quantile", "model.levels=[0.1,0.5,0.9]", *quick)


def numbers(trace: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(trace["y"]["bdata"]), dtype="<f4")


def test_forecasts_stand_beside_the_truth_at_the_time_that_is_forecast(result: ExperimentResult) -> None:
    report = read_cells([result.folder])
    variants = list(errors.forecasts(report))
    assert [variant.label for variant in variants] == ["S0", "S1", "S2"]
    truth, area, forecast = variants[1].traces
    assert truth["neutral"]
    assert area["band"]
    rows = result.predictions().to_frame()
    own = rows[rows.instrument == "S1"].iloc[:-24].tail(errors.MOST_TIMES)  # the last day's label is not known
    drawn = len(forecast["x"])
    assert drawn == len(own) == 24 * 27
    np.testing.assert_array_equal(numbers(forecast), own.score.to_numpy()[-drawn:])
    np.testing.assert_array_equal(numbers(truth), own.label.to_numpy()[-drawn:])
    aimed = own.datetime.iloc[-1] + np.timedelta64(24, "h")
    assert forecast["x"][-1] == str(aimed)[:16].replace(" ", "T")


def test_errors_by_hour_month_and_series_are_those_of_the_snapshot(result: ExperimentResult) -> None:
    variants = {variant.label: variant for variant in errors.errors_by(read_cells([result.folder]))}
    assert {"MAE by hour", "MAE by series", "pinball by hour", "coverage by series"} <= variants.keys()
    (trace,) = variants["MAE by hour"].traces
    groups = [group for group in result.snapshot.metrics["groups"] if group["by"] == "hour"]
    assert trace["y"] == [group["MAE"] for group in groups]
    assert len(trace["y"]) == 24
    reach = groups[3]["intervals"]["MAE"]["high"] - groups[3]["MAE"]
    assert trace["error_y"]["array"][3] == pytest.approx(reach)
    for variant in variants.values():
        go.Figure(data=[{k: v for k, v in t.items() if k not in OWN} for t in variant.traces], layout=variant.layout)
        assert variant.summary


def test_the_page_of_series_has_their_figures_and_none_of_rankings(result: ExperimentResult) -> None:
    page = render(read_cells([result.folder]))
    assert errors.FIGURES[0].title in page
    assert errors.FIGURES[1].title in page
    assert "IC over time" not in page


def test_tables_of_series_name_errors_and_no_ic(
    result: ExperimentResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(result.folder.parents[1])
    assert main(["log", "--runs", "--runs-folder", "runs"]) == 0
    shown = capsys.readouterr().out
    assert "MAE" in shown
    assert "IC" not in shown


@pytest.mark.nightly
def test_the_cost_of_a_leak_is_told_by_errors(result: ExperimentResult) -> None:
    folder = result.folder.parents[1]
    config = compose_config(json.loads((folder / "given.json").read_text(encoding="utf-8")), search_path=[folder])
    costs = {cost.leak: cost for cost in leak_costs(config)}
    assert "IC" not in costs["no purge"].clean
    assert costs["fitted on the test period"].clean["MAE"] == result.metrics["MAE"]
