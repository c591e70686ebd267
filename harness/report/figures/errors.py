"""Figures of forecasts of series: beside the truth, and their errors by hour of the day, month and series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.evaluation.metrics import METRICS, MetricRecord
from harness.evaluation.predictions import Predictions
from harness.report.cells import Report
from harness.report.figures.plot import Doubles, Figure, Variant, axes, band, curve, line
from harness.run.finished import PREDICTIONS, FinishedRun, Times

MOST_SERIES = 12
SHOWN_DAYS = np.timedelta64(28, "D")
MOST_TIMES = 700
_BY = {"hour": "hour of the day that is forecast", "month": "month that is forecast", "series": "series"}


def _is_of_series(cell: FinishedRun) -> bool:
    return bool(cell.config["evaluation"].get("errors"))


def forecasts(report: Report) -> Iterator[Variant]:
    """Yield a plot per series: the truth and every cell's forecast of the last weeks, quantiles as an area."""
    known = {
        at: cell.predictions()
        for at, cell in enumerate(report.cells)
        if _is_of_series(cell) and (cell.folder / PREDICTIONS).is_file()
    }
    names = sorted({name for one in known.values() for name in one.instruments})
    for name in names[:MOST_SERIES]:
        traces: list[dict[str, Any]] = []
        for at, predictions in known.items():
            if name in predictions.instruments:
                traces += _forecasts_of(report, at, predictions, name, with_truth=not traces)
        if traces:
            layout = {"xaxis": {"type": "date"}, "yaxis": {"title": {"text": "value"}}, "hovermode": "x"}
            what = f"of the {len(names)} series" if len(names) > 1 else "of the series"
            summary = f"Truth and {len(known)} forecast(s) {what}: {name}."
            yield Variant(name, traces, layout, summary)


def _forecasts_of(
    report: Report, at: int, predictions: Predictions, name: str, *, with_truth: bool
) -> list[dict[str, Any]]:
    own = predictions.codes == predictions.instruments.index(name)
    ahead = report.cells[at].look_ahead
    aimed = predictions.row_times[own] + ahead  # the time whose value is forecast
    inside = aimed < len(predictions.calendar)
    times = predictions.calendar.times[aimed[inside]]
    if not times.size:
        return []
    shown = (times > times[-1] - SHOWN_DAYS) & (np.arange(times.size) >= times.size - MOST_TIMES)

    def values(of: Any) -> tuple[Times, Doubles]:
        return times[shown], of[own][inside][shown].astype(np.float64)

    traces = []
    if with_truth:
        traces.append(curve(*values(predictions.label), "%{x}: %{y:.6~g}", name="truth", neutral=True))
    whose: dict[str, Any] = {"cell": at, "name": report.cells[at].name}
    if predictions.quantiles is not None and len(predictions.levels) > 1:
        low, high = (values(predictions.quantiles[:, end])[1] for end in (0, -1))
        traces.append(band(times[shown], low, high, **whose))
    return [*traces, curve(*values(predictions.score), "%{x}: %{y:.6~g}", **whose)]


def errors_by(report: Report) -> Iterator[Variant]:
    """Yield a plot per metric and kind of group: its value in each group, with its interval."""
    groups = [cell.snapshot.metrics.get("groups") or [] for cell in report.cells]
    for by, heading in _BY.items():
        for metric in (m for m in METRICS.values() if m.column):
            traces, told = [], ""
            for at, cell in enumerate(report.cells):
                own = [group for group in groups[at] if group["by"] == by and group.get(metric.name) is not None]
                if own:
                    traces.append({**_bars(at, cell.name, own, metric), "cell": at})
                    worst = max(own, key=lambda group: group[metric.name])
                    told = told or f"{cell.name}: highest in {worst['name']}, {metric.text(worst[metric.name])}."
            if traces:
                layout = axes(heading, metric.heading)
                layout["xaxis"] |= {"type": "category"}
                layout["yaxis"] |= {"zeroline": True}
                yield Variant(f"{metric.heading} by {by}", traces, layout, told)


def _bars(at: int, name: str, groups: list[dict[str, Any]], metric: MetricRecord) -> dict[str, Any]:
    """Return the trace of one metric over groups, with its intervals as Plotly's error bars."""
    values = [float(group[metric.name]) for group in groups]
    bounds = [(group.get("intervals") or {}).get(metric.name) or {} for group in groups]
    reach = {
        side: [
            None if bound.get(name) is None else abs(bound[name] - value)
            for bound, value in zip(bounds, values, strict=True)
        ]
        for side, name in (("array", "high"), ("arrayminus", "low"))
    }
    bars = {"type": "data", "symmetric": False, "thickness": 1, "width": 2, **reach}
    return line(at, name, [group["name"] for group in groups], values, error_y=bars)


FIGURES = (
    Figure(
        "forecasts",
        "Forecasts against the truth",
        "The last four weeks of the test range, at the time whose value is forecast. Area, where few cells "
        "are switched on: from the lowest to the highest quantile that is forecast.",
        forecasts,
        choose="series",
    ),
    Figure(
        "errors",
        "Errors by hour, month and series",
        "Over the test range; bars are 95 % intervals, or of the level of the run. Each part has fewer times than the "
        "whole: single hours that stand out are to be expected.",
        errors_by,
        choose="metric and part",
    ),
)
