"""How good the ranking is: IC over time, by month, and over horizons."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.report.cells import Report, curve_name, differing_keys
from harness.report.figures.figure import Figure, Variant, axes, date_texts, heat_map, line, packed, thinned
from harness.run.finished import FinishedRun

Doubles = npt.NDArray[np.float64]
_KINDS = (("rank IC", "rank_IC"), ("IC", "IC"))
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SHORTEST_WINDOW = 60


def rolling_mean(series: Doubles, width: int) -> Doubles:
    """Return (S,) the mean of the last `width` defined values; NaN where fewer than half of them are defined."""
    defined = np.cumsum(np.concatenate([[0], ~np.isnan(series)]))
    sums = np.cumsum(np.concatenate([[0.0], np.nan_to_num(series)]))
    start = np.maximum(np.arange(series.size) + 1 - width, 0)
    stop = np.arange(series.size) + 1
    count = defined[stop] - defined[start]
    enough = count >= max(1, width // 2)
    return np.where(enough, (sums[stop] - sums[start]) / np.maximum(count, 1), np.nan)


def monthly_means(times: npt.NDArray[np.datetime64], series: Doubles) -> tuple[list[int], Doubles]:
    """Return the years and (years, 12) the mean of the defined values of every month, NaN where there is none."""
    months = times.astype("datetime64[M]").astype(np.int64)
    first_year, last_year = int(months.min() // 12), int(months.max() // 12)
    at = months - 12 * first_year
    size = 12 * (last_year - first_year + 1)
    known = ~np.isnan(series)
    count = np.bincount(at[known], minlength=size)
    sums = np.bincount(at[known], weights=series[known], minlength=size)
    means = np.where(count > 0, sums / np.maximum(count, 1), np.nan).reshape(-1, 12)
    return list(range(1970 + first_year, 1971 + last_year)), means


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


def monthly_ic(report: Report) -> Figure:
    """Return one heat map per cell: years down, months across."""
    pairs = [(cell, name, label) for label, name in _KINDS for cell in report.cells if name in cell.series]
    tables = [monthly_means(cell.series.times, cell.series[name]) for cell, name, _ in pairs]
    reach = max((float(np.nanmax(np.abs(means))) for _, means in tables if not np.isnan(means).all()), default=1.0)
    variants = []
    for (cell, _, label), (years, means) in zip(pairs, tables, strict=True):
        style = {"zmin": -reach, "zmax": reach, "texttemplate": "%{z:.2f}", "xgap": 2, "ygap": 2}
        trace = heat_map(list(_MONTHS), list(map(str, years)), means, "%{y} %{x}: %{z:.4f}", **style)
        share = float((means[~np.isnan(means)] > 0).mean()) if not np.isnan(means).all() else float("nan")
        layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "xaxis": {"side": "top", "showgrid": False}}
        summary = f"Monthly {label} of {cell.name}: positive in {share:.0%} of the months."
        variants.append(Variant(f"{label} · {cell.name}", [trace], layout, summary))
    rows = max(len(years) for years, _ in tables)
    return Figure(
        "monthly",
        "IC by month",
        "Mean over the times of each month. All cells share one colour scale.",
        tuple(variants),
        choose="metric and cell",
        height=140 + 44 * rows,
    )


def ic_decay(report: Report) -> Figure | None:
    """Return the ICs over the label's horizon; None when the horizon does not vary."""
    if len({cell.horizon for cell in report.cells}) < 2:
        return None
    keys = [k for k in differing_keys(report.cells) if not k.startswith("label.")]
    curves: dict[str, list[FinishedRun]] = {}
    for cell in report.cells:
        curves.setdefault(curve_name(cell, keys), []).append(cell)
    for members in curves.values():
        members.sort(key=lambda cell: cell.horizon)
    variants = []
    for label, name in (*_KINDS, ("ICIR", "ICIR"), ("rank ICIR", "rank_ICIR")):
        traces = []
        for number, (curve, members) in enumerate(curves.items()):
            x, y = [cell.horizon for cell in members], [cell.overall.get(name) for cell in members]
            traces.append(line(number, curve or label, x, y, error_y=error_bars(members, name)))
        found = ((cell.horizon, cell.overall.get(name)) for cell in report.cells)
        points = "; ".join(f"{horizon}: {'undefined' if v is None else f'{v:.4f}'}" for horizon, v in found)
        variants.append(Variant(label, traces, axes("horizon in periods", label), f"{label} by horizon: {points}."))
    return Figure(
        "decay", "IC over horizons", "Bars: 95% intervals, where the run has them.", tuple(variants), height=360
    )


def error_bars(cells: list[FinishedRun], metric: str) -> dict[str, Any]:
    """Return Plotly error bars from the intervals of the runs."""
    above, below = [], []
    for cell in cells:
        value, interval = cell.overall.get(metric), cell.snapshot.intervals.get(metric) or {}
        known = value is not None and interval.get("low") is not None and interval.get("high") is not None
        above.append(interval["high"] - value if known else None)
        below.append(value - interval["low"] if known else None)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "width": 4}


def _lines(index: int, cell: FinishedRun, name: str, width: int) -> list[dict[str, Any]]:
    values = cell.series[name]
    shown = thinned(values.size)
    base = {"type": "scatter", "cell": index, "name": cell.name, "x": date_texts(cell.series.times[shown])}
    daily = {"mode": "markers", "daily": True, "showlegend": False, "hoverinfo": "skip"}
    return [
        {**base, **daily, "y": packed(values[shown])},
        {**base, "mode": "lines", "y": packed(rolling_mean(values, width)[shown]), "hovertemplate": "%{x}: %{y:.4f}"},
    ]
