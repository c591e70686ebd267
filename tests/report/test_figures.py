"""The numbers behind the plots, each against a plain computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from harness.data.calendar import Calendar
from harness.evaluation.portfolio.performance import accumulated, drawdown
from harness.evaluation.predictions import Predictions
from harness.report.cells import Report, swept_numbers
from harness.report.figures.adaptation import coarse
from harness.report.figures.plot import MOST_POINTS, date_texts, packed, thinned
from harness.report.figures.signal import monthly_means, quantile_means
from harness.report.figures.sweep import ic_over_horizons
from harness.report.sections import figures_of


def test_every_plot_is_valid_plotly(report: Report) -> None:
    own = {"cell", "palette", "daily", "scale"}
    figures = figures_of(report)
    assert figures.keys() == {
        *("cumulative", "ic", "monthly", "horizons", "quantiles", "response"),
        *("weights", "similarity", "meta", "frontier"),
    }
    for variants in figures.values():
        for variant in variants:
            traces = [{k: v for k, v in trace.items() if k not in own} for trace in variant.traces]
            go.Figure(data=traces, layout=variant.layout)
            assert variant.summary


def test_compounded_returns_multiply_and_their_drawdown_is_relative() -> None:
    value = accumulated(np.array([0.1, np.nan, -0.5]), compounds=True)
    np.testing.assert_allclose(value, [0.1, 0.1, -0.45])
    np.testing.assert_allclose(drawdown(value, compounds=True), [0.0, 0.0, -0.5])


def test_summed_returns_add_and_a_loss_from_the_start_is_a_drawdown() -> None:
    value = accumulated(np.array([-0.1, 0.3, -0.2]), compounds=False)
    np.testing.assert_allclose(value, [-0.1, 0.2, 0.0], atol=1e-15)
    np.testing.assert_allclose(drawdown(value, compounds=False), [-0.1, 0.0, -0.2])


def test_a_month_without_a_value_stays_empty() -> None:
    times = np.array(["2019-11-05", "2019-11-06", "2020-01-02"], dtype="datetime64[ns]")
    years, means = monthly_means(times, np.array([0.1, 0.3, np.nan]))
    assert years == [2019, 2020]
    assert means[0, 10] == pytest.approx(0.2)
    assert np.isnan(np.delete(means.ravel(), 10)).all()


def test_quantile_returns_are_those_of_sorted_groups(report: Report) -> None:
    predictions = report.reference.predictions()
    frame = predictions.to_frame().dropna()
    found = quantile_means(predictions)
    per_time = []
    for _, rows in frame.groupby("datetime"):
        ranked = rows.sort_values("score", kind="stable")
        group = np.arange(len(ranked)) * 5 // len(ranked)
        per_time.append(ranked.groupby(group)["label"].mean() - ranked["label"].mean())
    assert found is not None
    np.testing.assert_allclose(found, pd.concat(per_time, axis=1).mean(axis=1), rtol=1e-5)


def test_times_with_too_few_rows_have_no_quantiles() -> None:
    times = pd.to_datetime(["2020-01-01"] * 4)
    frame = pd.DataFrame({"datetime": times, "instrument": list("abcd"), "score": [1.0, 2, 3, 4], "label": [1.0] * 4})
    calendar = Calendar(np.array(["2020-01-01"], dtype="datetime64[ns]"))
    assert quantile_means(Predictions.from_frame(frame, calendar, ("a", "b", "c", "d"))) is None


def test_a_coarse_matrix_keeps_its_mean_and_its_holes() -> None:
    values = np.arange(24.0).reshape(4, 6)
    values[0, :3] = np.nan
    values[1, :3] = np.nan
    small = coarse(values, most=2)
    assert small.shape == (2, 2)
    assert np.isnan(small[0, 0])
    assert small[1, 1] == values[2:, 3:].mean()


@pytest.mark.parametrize("size", [1, MOST_POINTS, MOST_POINTS + 1, 10 * MOST_POINTS + 7])
def test_long_series_are_thinned_and_keep_their_end(size: int) -> None:
    shown = thinned(size)
    assert shown.size <= MOST_POINTS
    assert shown[-1] == size - 1
    assert (np.diff(shown) > 0).all()


def test_hours_are_written_only_when_there_are_some() -> None:
    days = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]")
    assert date_texts(days) == ["2020-01-01", "2020-01-02"]
    hours = np.array(["2020-01-01T01:30", "2020-01-02T01:30"], dtype="datetime64[ns]")
    assert date_texts(hours) == ["2020-01-01T01:30", "2020-01-02T01:30"]


def test_packed_numbers_come_back_with_their_shape() -> None:
    record = packed(np.array([[1.5, np.nan], [2.0, -3.0]]))
    assert record["shape"] == "2, 2"
    heat = go.Heatmap(z=record)
    assert heat.to_plotly_json()["z"] == record


def test_a_sweep_is_a_curve_per_setting_of_the_rest(report: Report) -> None:
    curves = swept_numbers(report.cells)["label.horizon"]
    assert len(curves) == 2
    assert all([value for value, _ in curve] == [5.0, 10.0] for _, curve in curves)
    assert next(ic_over_horizons(report)).traces[0]["x"] == [5, 10]


def test_a_bar_ends_at_the_bounds_of_its_interval_and_an_undefined_value_is_a_gap(report: Report) -> None:
    odd, *others = report.cells
    overall = {**odd.overall, "max_drawdown": -0.05, "rank_IC": None}
    # A drawdown may lie outside of what resampled paths bring.
    intervals = {**odd.snapshot.intervals, "max_drawdown": {"low": -0.3, "high": -0.1}}
    metrics = {**odd.snapshot.metrics, "overall": overall, "intervals": intervals}
    odd = replace(odd, snapshot=replace(odd.snapshot, metrics=metrics))
    variants = {v.label: v.traces for v in figures_of(Report((odd, *others), ()))["response"]}
    at = next(t for t in variants["MDD over label.horizon"] if -0.05 in t["y"])
    place = at["y"].index(-0.05)
    assert at["y"][place] + at["error_y"]["array"][place] == pytest.approx(-0.1)
    assert at["y"][place] - at["error_y"]["arrayminus"][place] == pytest.approx(-0.3)
    (gap,) = [t for t in variants["rank IC over label.horizon"] if None in t["y"]]
    assert len(gap["y"]) == 2
    assert gap["error_y"]["array"][gap["y"].index(None)] is None


def test_no_curve_without_a_swept_number(report: Report) -> None:
    alone = Report((report.reference,), ())
    assert swept_numbers(alone.cells) == {}
    assert list(ic_over_horizons(alone)) == []
    assert {"response", "horizons"}.isdisjoint(figures_of(alone))


def test_cells_without_saved_files_have_no_section_for_them(report: Report) -> None:
    bare = tuple(cell for cell in report.cells if not (cell.folder / "adaptation").exists())
    assert {"weights", "similarity", "meta", "frontier"}.isdisjoint(figures_of(Report(bare, ())))
