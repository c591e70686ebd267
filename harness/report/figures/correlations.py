"""How good the ranking is: IC over time and by month."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.report.cells import Report
from harness.report.figures.figure import Figure, Variant, date_texts, heat_map, packed, thinned
from harness.run.finished import FinishedRun

Doubles = npt.NDArray[np.float64]
_KINDS = (("rank IC", "rank_IC"), ("IC", "IC"))
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
SHORTEST_WINDOW = 60


def monthly_means(times: npt.NDArray[np.datetime64], series: Doubles) -> tuple[list[int], Doubles]:
    """Return the years and (years, 12) the mean of the defined values of every month, NaN where there is none."""
    dates = pd.DatetimeIndex(times)
    frame = pd.DataFrame({"year": dates.year, "month": dates.month, "mean": series})
    years = list(range(int(dates.year.min()), int(dates.year.max()) + 1))
    return years, frame.pivot_table("mean", "year", "month").reindex(index=years, columns=range(1, 13)).to_numpy(
        dtype=np.float64
    )


def ic_over_time(report: Report) -> Figure:
    """Return the rolling mean of the ICs, with the single values behind it when few cells are shown."""
    width = max(SHORTEST_WINDOW, 3 * max(cell.look_ahead for cell in report.cells))
    variants = []
    for label, name in _KINDS:
        traces = [t for i, cell in enumerate(report.cells) if name in cell.series for t in _lines(i, cell, name, width)]
        if traces:
            means = ", ".join(f"{c.name} {float(np.nanmean(c.series[name])):.4f}" for c in report.cells[:6])
            axis = {"title": {"text": label}, "zeroline": True}
            layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
            variants.append(Variant(label, traces, layout, f"Mean {label}: {means}."))
    return Figure(
        "ic",
        "IC over time",
        f"Line: mean over the last {width} periods. Dots, shown while at most two cells are switched on: the value of "
        "each time. Neighbouring values share most of their label's return, so that a run of high values is less "
        "evidence than it looks.",
        tuple(variants),
    )


def _lines(index: int, cell: FinishedRun, name: str, width: int) -> list[dict[str, Any]]:
    values = cell.series[name]
    means = pd.Series(values).rolling(width, min_periods=max(1, width // 2)).mean().to_numpy()
    shown = thinned(values.size)
    base = {"type": "scatter", "cell": index, "name": cell.name, "x": date_texts(cell.series.times[shown])}
    daily = {"mode": "markers", "daily": True, "showlegend": False, "hoverinfo": "skip"}
    return [
        {**base, **daily, "y": packed(values[shown])},
        {**base, "mode": "lines", "y": packed(means[shown]), "hovertemplate": "%{x}: %{y:.4f}"},
    ]


def monthly_ic(report: Report) -> Figure:
    """Return one heat map per cell: years down, months across."""
    pairs = [(cell, name, label) for label, name in _KINDS for cell in report.cells if name in cell.series]
    tables = [monthly_means(cell.series.times, cell.series[name]) for cell, name, _ in pairs]
    reach = max((float(np.nanmax(np.abs(means))) for _, means in tables if not np.isnan(means).all()), default=1.0)
    style = {"zmin": -reach, "zmax": reach, "texttemplate": "%{z:.2f}", "xgap": 2, "ygap": 2}
    layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "xaxis": {"side": "top", "showgrid": False}}
    variants = []
    for (cell, _, label), (years, means) in zip(pairs, tables, strict=True):
        trace = heat_map(_MONTHS, list(map(str, years)), means, "%{y} %{x}: %{z:.4f}", **style)
        known = means[~np.isnan(means)]
        share = float((known > 0).mean()) if known.size else float("nan")
        summary = f"Monthly {label} of {cell.name}: positive in {share:.0%} of the months."
        variants.append(Variant(f"{label} · {cell.name}", [trace], layout, summary))
    return Figure(
        "monthly",
        "IC by month",
        "Mean over the times of each month. All cells share one colour scale.",
        tuple(variants),
        choose="metric and cell",
        height=140 + 44 * max(len(years) for years, _ in tables),
    )
