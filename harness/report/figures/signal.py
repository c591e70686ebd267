"""Figures of how well a signal ranks the instruments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evaluation import formulas
from harness.evaluation.metrics import METRICS
from harness.evaluation.predictions import Predictions
from harness.report.cells import Report
from harness.report.figures.plot import Doubles, Figure, Variant, axes, date_texts, heat_map, packed, thinned
from harness.run.finished import FinishedRun

SHORTEST_WINDOW = 60
QUANTILES = 5

_CORRELATIONS = (("rank IC", "rank_IC"), ("IC", "IC"))
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def monthly_means(times: npt.NDArray[np.datetime64], series: Doubles) -> tuple[list[int], Doubles]:
    """Return the years and (years, 12) the mean of the defined values of every month, NaN where there is none."""
    dates = pd.DatetimeIndex(times)
    frame = pd.DataFrame({"year": dates.year, "month": dates.month, "mean": series})
    years = list(range(int(dates.year.min()), int(dates.year.max()) + 1))
    means = frame.pivot_table("mean", "year", "month").reindex(index=years, columns=range(1, 13))
    return years, means.to_numpy(dtype=np.float64)


def rolling_width(report: Report) -> int:
    """Return over how many periods the ICs are averaged."""
    return max(SHORTEST_WINDOW, 3 * max(cell.look_ahead for cell in report.cells))


def ic_over_time(report: Report) -> Iterator[Variant]:
    """Yield the rolling mean of the ICs, with the single values behind it when few cells are shown."""
    width = rolling_width(report)
    for label, name in _CORRELATIONS:
        traces = [t for i, cell in enumerate(report.cells) if name in cell.series for t in _lines(i, cell, name, width)]
        if traces:
            means = ", ".join(f"{c.name} {METRICS[name].text(formulas.mean(c.series[name]))}" for c in report.cells[:6])
            axis = {"title": {"text": f"{label}, mean of {width} periods"}, "zeroline": True}
            layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
            yield Variant(label, traces, layout, f"Mean {label}: {means}.")


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


def monthly_ic(report: Report) -> Iterator[Variant]:
    """Yield one heat map per cell: years down, months across."""
    pairs = [(cell, name, label) for label, name in _CORRELATIONS for cell in report.cells if name in cell.series]
    tables = [monthly_means(cell.series.times, cell.series[name]) for cell, name, _ in pairs]
    reach = max((float(np.nanmax(np.abs(means))) for _, means in tables if not np.isnan(means).all()), default=1.0)
    style = {"zmin": -reach, "zmax": reach, "texttemplate": "%{z:.2f}", "xgap": 2, "ygap": 2}
    layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "xaxis": {"side": "top", "showgrid": False}}
    for (cell, _, label), (years, means) in zip(pairs, tables, strict=True):
        trace = heat_map(_MONTHS, list(map(str, years)), means, "%{y} %{x}: %{z:.4f}", **style)
        known = means[~np.isnan(means)]
        share = float((known > 0).mean()) if known.size else float("nan")
        summary = f"Monthly {label} of {cell.name}: positive in {share:.0%} of the months."
        yield Variant(f"{label} · {cell.name}", [trace], layout, summary, height=140 + 44 * len(years))


def quantile_returns(report: Report) -> Iterator[Variant]:
    """Yield the mean label of each fifth of the ranking, relative to all, of cells whose times have enough rows."""
    names = [f"Q{q}" for q in range(1, QUANTILES + 1)]
    means = ((at, cell.name, quantile_means(cell.predictions())) for at, cell in enumerate(report.cells))
    traces: list[dict[str, Any]] = [
        {"type": "bar", "cell": at, "name": name, "x": names, "y": found.tolist()}
        for at, name, found in means
        if found is not None
    ]
    layout = axes("fifth of the ranking, lowest scores first", "mean label minus that of all")
    layout["yaxis"] |= {"tickformat": ".4~f", "zeroline": True}
    if traces:
        first = ((x, METRICS["excess_return"].text(y)) for x, y in zip(names, traces[0]["y"], strict=True))
        ends = ", ".join(f"{x} {y}" for x, y in first)
        yield Variant("mean", traces, layout, f"{traces[0]['name']}: {ends}.")


def quantile_means(predictions: Predictions, count: int = QUANTILES) -> Doubles | None:
    """Return (count,) the mean over time of each quantile's mean label minus the mean label of all.

    Times with fewer than two labelled rows per quantile are left out; None when that leaves none.
    """
    frame = pd.DataFrame({"score": predictions.score, "label": predictions.label}, predictions.row_times).dropna()
    frame = frame.astype(np.float64)[frame.groupby(level=0)["label"].transform("size") >= 2 * count]
    if frame.empty:
        return None
    by_time = frame.groupby(level=0)
    quantile = (by_time["score"].rank(method="first") - 1) * count // by_time["score"].transform("size")
    excess = frame["label"] - by_time["label"].transform("mean")
    return excess.groupby([frame.index, quantile]).mean().groupby(level=1).mean().to_numpy()


FIGURES = (
    Figure(
        "ic",
        "IC over time",
        "Line: mean over as many periods as the axis says. Dots, shown while at most two cells are switched on: the "
        "value of each time. Neighbouring values share most of their label's return, so that a run of high values is "
        "less evidence than it looks.",
        ic_over_time,
    ),
    Figure(
        "monthly",
        "IC by month",
        "Mean over the times of each month. All cells share one colour scale.",
        monthly_ic,
        choose="metric and cell",
    ),
    Figure(
        "quantiles",
        "Returns by quantile",
        "At each time the instruments are ranked by score and cut into fifths; shown is the mean label of each fifth "
        "minus that of all, over the label's horizon. Bars that rise from left to right say that the whole ranking "
        "carries information, not its ends alone.",
        quantile_returns,
        height=360,
    ),
)
