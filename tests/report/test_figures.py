"""The numbers behind the plots, each against a plain computation."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from harness.data.panel import save_panel
from harness.evaluation import formulas
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.portfolio.performance import accumulated, drawdown
from harness.report.cells import Report, swept_numbers
from harness.report.figures.adaptation import coarse
from harness.report.figures.plot import MOST_POINTS, date_texts, packed, thinned
from harness.report.figures.portfolio import drawdowns, rolling_width
from harness.report.figures.sweep import ic_over_horizons
from harness.report.sections import figures_of
from harness.snapshots.evidence import Evidence
from harness.store.artifacts import ArtifactStore, key_of


def test_every_plot_is_valid_plotly(report: Report) -> None:
    own = {"cell", "palette", "neutral", "shade", "band", "faint", "scale"}
    figures = figures_of(report)
    assert figures.keys() == {
        *(
            "difference",
            "parallel",
            "cumulative",
            "returns",
            "risk",
            "ic",
            "monthly",
            "decay",
            "quantiles",
            "turnover",
            "horizons",
            "response",
        ),
        *("weights", "similarity", "meta", "frontier"),
    }
    for variants in figures.values():
        for variant in variants:
            traces = [{k: v for k, v in trace.items() if k not in own} for trace in variant.traces]
            go.Figure(data=traces, layout=variant.layout)
            assert variant.summary


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
    over = next(ic_over_horizons(report))
    assert over.traces[0]["x"] == over.layout["xaxis"]["tickvals"] == [5, 10]
    assert not {v.label for v in figures_of(report)["response"]} & {
        "rank IC over label.horizon",
        "IC over label.horizon",
    }


def test_a_bar_ends_at_the_bounds_of_its_interval_and_an_undefined_value_is_a_gap(report: Report) -> None:
    odd, *others = report.cells
    overall = {**odd.overall, "max_drawdown": -0.05, "rank_IC": None}
    # A drawdown may lie outside of what resampled paths bring.
    intervals = {**odd.snapshot.intervals, "max_drawdown": {"low": -0.3, "high": -0.1}}
    metrics = {**odd.snapshot.metrics, "overall": overall, "intervals": intervals}
    odd = replace(odd, snapshot=replace(odd.snapshot, metrics=metrics))
    drawn = figures_of(Report((odd, *others), ()))
    variants = {v.label: v.traces for v in (*drawn["response"], *drawn["horizons"])}
    at = next(t for t in variants["MDD over label.horizon"] if -0.05 in t["y"])
    place = at["y"].index(-0.05)
    assert at["y"][place] + at["error_y"]["array"][place] == pytest.approx(-0.1)
    assert at["y"][place] - at["error_y"]["arrayminus"][place] == pytest.approx(-0.3)
    (gap,) = [t for t in variants["rank IC over horizon in periods"] if None in t["y"]]
    assert len(gap["y"]) == 2
    assert gap["error_y"]["array"][gap["y"].index(None)] is None


@pytest.mark.parametrize("defined", [0, 1])
def test_without_two_defined_values_there_is_no_line_and_without_one_no_map(report: Report, defined: int) -> None:
    series = report.reference.series
    first = np.arange(series.times.size) < defined
    values = {name: np.where(first, 0.1, np.nan) for name in series.values}
    cells = tuple(replace(cell, given=DailySeries(series.times, values)) for cell in report.cells)
    drawn = figures_of(Report(cells, ()))
    assert not {"difference", "cumulative", "risk", "returns", "ic"} & set(drawn)
    assert ("monthly" in drawn) == bool(defined)


def test_no_curve_without_a_swept_number(report: Report) -> None:
    alone = Report((report.reference,), ())
    assert swept_numbers(alone.cells) == {}
    assert list(ic_over_horizons(alone)) == []
    assert {"response", "horizons"}.isdisjoint(figures_of(alone))


def test_cells_without_saved_files_have_no_section_for_them(report: Report) -> None:
    bare = tuple(cell for cell in report.cells if not (cell.folder / "adaptation").exists())
    assert {"weights", "similarity", "meta", "frontier"}.isdisjoint(figures_of(Report(bare, ())))


def test_a_curve_of_returns_ends_at_their_sum_and_the_benchmark_is_drawn_once(report: Report) -> None:
    first = figures_of(report)["cumulative"][0]
    cell = report.reference
    y = np.frombuffer(base64.b64decode(first.traces[0]["y"]["bdata"]), "<f4")
    assert y[-1] == pytest.approx(np.nansum(cell.series["portfolio_return"]), rel=1e-5)
    assert [trace["name"] for trace in first.traces if "neutral" in trace].count("benchmark") == 2  # above and below


def test_a_month_is_written_with_its_sum_and_coloured_by_the_largest(report: Report) -> None:
    variant = figures_of(report)["returns"][0]
    (trace,) = variant.traces
    returns, times = report.reference.series["portfolio_return"], pd.DatetimeIndex(report.reference.series.times)
    in_year = times.year == times[0].year
    in_month = in_year & (times.month == times[0].month)
    assert trace["text"][0][times[0].month - 1] == f"{np.nansum(returns[in_month]):.1%}"
    assert trace["text"][0][12] == f"{np.nansum(returns[in_year]):.1%}"
    shades = np.frombuffer(base64.b64decode(trace["z"]["bdata"]), "<f4")
    assert np.nanmax(np.abs(shades)) <= 1


def test_the_drawdowns_of_a_cell_begin_with_the_one_of_its_metric(report: Report) -> None:
    found = drawdowns(report.reference)
    assert found is not None
    assert found.rows[0][0].text == "excess 1"
    below = drawdown(accumulated(report.reference.series["excess_return"], compounds=False), compounds=False)
    assert found.rows[0][4].value == below.min()
    assert drawdowns(replace(report.reference, given=DailySeries(report.reference.series.times, {}))) is None


def test_a_rolling_ratio_has_the_width_that_its_axis_says(report: Report) -> None:
    width = rolling_width(report.reference)
    variants = {variant.label: variant for variant in figures_of(report)["risk"]}
    assert variants.keys() == {"Sharpe ratio", "information ratio", "beta"}
    assert variants["Sharpe ratio"].layout["yaxis"]["title"]["text"] == f"Sharpe ratio, {width} periods"
    y = np.frombuffer(base64.b64decode(variants["Sharpe ratio"].traces[0]["y"]["bdata"]), "<f4")
    last = report.reference.series["portfolio_return"][-width - 1 : -1]
    year = report.reference.snapshot.identity["year"]["periods"]
    assert y[-2] == pytest.approx(last.mean() / last.std(ddof=1) * year**0.5, rel=1e-4)


def test_a_decay_begins_at_the_rank_ic(report: Report) -> None:
    (variant,) = figures_of(report)["decay"]
    for cell, trace in zip(report.cells, variant.traces, strict=True):
        assert trace["y"][0] == pytest.approx(cell.overall["rank_IC"])


def test_quantiles_over_time_end_at_their_sum_over_the_horizon(report: Report) -> None:
    mean, over_time, *_ = figures_of(report)["quantiles"]
    ranked = report.rankings[0]
    assert ranked is not None
    np.testing.assert_allclose(mean.traces[0]["y"], np.nanmean(ranked.quantile_returns, axis=0))
    ends = [np.frombuffer(base64.b64decode(trace["y"]["bdata"]), "<f4")[-1] for trace in over_time.traces]
    np.testing.assert_allclose(ends, np.nansum(ranked.quantile_returns, axis=0) / report.reference.horizon, rtol=1e-4)


def test_cells_without_predictions_have_no_rankings(report: Report, tmp_path: Path) -> None:
    bare = Report((replace(report.reference, folder=tmp_path, given=report.reference.series),), ())
    assert {"decay", "quantiles", "turnover"}.isdisjoint(figures_of(bare))


def test_an_ic_within_groups_is_shown_where_the_panel_has_a_group_field(report: Report) -> None:
    identity = report.reference.snapshot.identity
    store = ArtifactStore(report.reference.folder.parent.parent / "store")
    panel = Evidence(store).panel(identity["data"]["fingerprint"])
    assert panel is not None
    shape = (len(panel.calendar), len(panel.instruments))
    sector = np.broadcast_to(np.arange(shape[1]) % 3, shape).astype(np.float32)
    grouped = replace(panel, fields={**panel.fields, "sector": sector})
    data = {**identity["data"], "fingerprint": grouped.fingerprint}
    snapshot = replace(report.reference.snapshot, identity={**identity, "data": data})
    store.get_or_make(key_of("panel", of="a panel with sectors"), lambda folder: save_panel(grouped, folder))
    shown = Report((replace(report.reference, snapshot=snapshot),), (), store=store)
    ranked = shown.rankings[0]
    assert ranked is not None
    frame = report.reference.predictions().to_frame().dropna()
    frame["sector"] = [panel.instruments.index(name) % 3 for name in frame["instrument"]]
    groups = frame.groupby(["datetime", "sector"])
    for side in ("score", "label"):
        frame[side] = frame[side].astype(np.float64) - groups[side].transform("mean")
    daily = frame.groupby("datetime")[["score", "label"]].corr(method="spearman").iloc[::2, 1]
    assert formulas.mean(ranked.neutral["sector"]) == pytest.approx(daily.mean(), abs=1e-6)
    assert "rank IC within sector" in [variant.label for variant in figures_of(shown)["ic"]]
    assert "rank IC within sector" not in [variant.label for variant in figures_of(report)["ic"]]


def test_benchmarks_that_differ_are_named_by_their_cell(report: Report) -> None:
    first, second, *_ = report.cells
    series = second.series
    other = DailySeries(series.times, {**series.values, "benchmark_return": series["benchmark_return"] + 0.01})
    variant = figures_of(Report((first, replace(second, given=other)), ()))["cumulative"][0]
    names = [trace["name"] for trace in variant.traces if "neutral" in trace and "yaxis" not in trace]
    assert names == [f"benchmark of {first.name}", f"benchmark of {second.name}"]
