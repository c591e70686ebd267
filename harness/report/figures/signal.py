"""Figures of how well a signal ranks the instruments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from harness.evaluation import formulas
from harness.evaluation.metrics import METRICS
from harness.evaluation.portfolio.performance import by_month
from harness.evaluation.ranking import QUANTILES
from harness.report.cells import GROUP_FIELDS, Report
from harness.report.figures.plot import Doubles, Figure, Variant, axes, curve, is_line, line, month_maps
from harness.run.finished import Times

SHORTEST_WINDOW = 60
_IC, _RETURN = METRICS["IC"], METRICS["excess_return"]
_NAMES = [f"Q{q}" for q in range(1, QUANTILES + 1)]
_FIFTHS = "fifth of the ranking, lowest scores first"
_CORRELATIONS = (("rank IC", "rank_IC"), ("IC", "IC"))


def rolling_width(report: Report) -> int:
    """Return over how many periods the ICs are averaged."""
    return max(SHORTEST_WINDOW, 3 * max(cell.look_ahead for cell in report.cells))


def ic_over_time(report: Report) -> Iterator[Variant]:
    """Yield the rolling mean of the ICs, with the single values behind it when few cells are shown."""
    for label, name in _CORRELATIONS:
        found = {at: (c.series.times, c.series[name]) for at, c in enumerate(report.cells) if name in c.series}
        yield from _over_time(report, label, found)
    for field in GROUP_FIELDS:
        known = [(at, ranked) for at, ranked in enumerate(report.rankings) if ranked and field in ranked.neutral]
        found = {at: (ranked.times, ranked.neutral[field]) for at, ranked in known}
        yield from _over_time(report, f"rank IC within {field}", found)


def _over_time(report: Report, label: str, found: Mapping[int, tuple[Times, Doubles]]) -> Iterator[Variant]:
    width, traces, told = rolling_width(report), [], []
    for at, (times, values) in found.items():
        if not is_line(values):
            continue
        means = pd.Series(values).rolling(width, min_periods=max(1, width // 2)).mean().to_numpy()
        whose: dict[str, Any] = {"cell": at, "name": report.cells[at].name}
        single = {**curve(times, values, "", **whose), "mode": "markers", "faint": True, "hoverinfo": "skip"}
        traces += [single, curve(times, means, "%{x}: %{y:.4f}", **whose)]
        told.append(f"{report.cells[at].name} {_IC.text(formulas.mean(values))}")
    if traces:
        axis = {"title": {"text": f"{label}, mean of {width} periods"}, "zeroline": True}
        layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
        yield Variant(label, traces, layout, f"Mean {label}: {', '.join(told[:6])}.")


def monthly_ic(report: Report) -> Iterator[Variant]:
    """Yield one map of months and years per cell."""
    found = {
        f"{label} · {cell.name}": by_month(cell.series.times, cell.series[name], "mean")
        for label, name in _CORRELATIONS
        for cell in report.cells
        if name in cell.series and np.isfinite(cell.series[name]).any()
    }
    return month_maps(found, ".2f")


def ic_decay(report: Report) -> Iterator[Variant]:
    """Yield the mean rank IC of every cell's scores with the labels of some periods later."""
    traces, told = [], []
    for at, found in enumerate(report.rankings):
        if found is not None and np.isfinite(list(found.decay.values())).any():
            means = [value if np.isfinite(value) else None for value in found.decay.values()]
            traces.append({**line(at, report.cells[at].name, list(found.decay), means), "cell": at})
            told.append(", ".join(f"{lag}: {_IC.text(value)}" for lag, value in found.decay.items()))
    if traces:
        layout = axes("periods between score and label", "mean rank IC")
        layout["yaxis"] |= {"zeroline": True, "rangemode": "tozero"}
        yield Variant("rank IC", traces, layout, f"Mean rank IC by lag, {traces[0]['name']}: {told[0]}.")


def quantile_returns(report: Report) -> Iterator[Variant]:
    """Yield the mean label of each fifth of the ranking, relative to all; then how each fifth did over time."""
    known = [(at, found) for at, found in enumerate(report.rankings) if found is not None]
    layout = axes(_FIFTHS, "mean label minus that of all")
    layout["yaxis"] |= {"tickformat": ".4~f", "zeroline": True}
    means = {at: [formulas.mean(column) for column in found.quantile_returns.T] for at, found in known}
    yield from _bars(report, "mean", means, layout)
    for at, found in known:
        if not is_line(found.quantile_returns[:, 0]):
            continue
        values = np.cumsum(np.nan_to_num(found.quantile_returns), axis=0) / max(report.cells[at].horizon, 1)
        drawn = zip(_NAMES, values.T, strict=True)
        traces = [curve(found.times, y, "%{x}: %{y:.4f}", name=x, palette=q) for q, (x, y) in enumerate(drawn)]
        axis = {"title": {"text": "added up, minus that of all"}, "zeroline": True, "tickformat": ".4~f"}
        layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
        ends = ", ".join(f"{x} {_RETURN.text(y)}" for x, y in zip(_NAMES, values[-1], strict=True))
        yield Variant(f"over time · {report.cells[at].name}", traces, layout, f"At the end: {ends}.")


def quantile_turnover(report: Report) -> Iterator[Variant]:
    """Yield how much of each fifth of the ranking is new at each time, on average."""
    means = {
        at: [formulas.mean(column) for column in found.turnover.T]
        for at, found in enumerate(report.rankings)
        if found is not None
    }
    layout = axes(_FIFTHS, "share of names that are new")
    layout["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return _bars(report, "turnover", means, layout)


def _bars(report: Report, label: str, means: Mapping[int, list[float]], layout: dict[str, Any]) -> Iterator[Variant]:
    traces: list[dict[str, Any]] = [
        {"type": "bar", "cell": at, "name": report.cells[at].name, "x": _NAMES, "y": values}
        for at, values in means.items()
        if np.isfinite(values).all()
    ]
    if traces:
        ends = ", ".join(f"{x} {_RETURN.text(y)}" for x, y in zip(_NAMES, traces[0]["y"], strict=True))
        yield Variant(label, traces, layout, f"{traces[0]['name']}: {ends}.")


FIGURES = (
    Figure(
        "ic",
        "IC over time",
        "Line: mean over as many periods as the axis says. Dots, shown while at most two cells are switched on: the "
        "value of each time. Neighbouring values share most of their label's return, so that a run of high values is "
        "less evidence than it looks. Within a group, where the panel says which instruments are of one: scores and "
        "labels each minus the mean of their group.",
        ic_over_time,
    ),
    Figure(
        "monthly",
        "IC by month and year",
        "Mean over the times of each month and year. All cells share one colour scale.",
        monthly_ic,
        choose="metric and cell",
    ),
    Figure(
        "decay",
        "IC decay",
        "Mean rank IC of the scores with the labels of so many periods later: what is left of a signal that is acted "
        "on late. Labels of neighbouring periods overlap, so that the curve cannot fall at once.",
        ic_decay,
        height=360,
    ),
    Figure(
        "quantiles",
        "Returns by quantile",
        "At each time the instruments are ranked by score and cut into fifths; shown is the mean label of each fifth "
        "minus that of all. Bars that rise from left to right say that the whole ranking carries information, not its "
        "ends alone. Over time: added up, each label spread over its horizon, without cost.",
        quantile_returns,
        height=380,
    ),
    Figure(
        "turnover",
        "Turnover by quantile",
        "Share of a fifth's instruments that were not in it before (as many periods as evaluation.signal.lag says), "
        "on average. Four fifths would be new by chance alone.",
        quantile_turnover,
        height=360,
    ),
)
