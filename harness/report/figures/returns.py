"""How much money: cumulative excess return with its drawdown, and the return of each fifth of the ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.evaluation.metrics import METRICS
from harness.evaluation.predictions import Predictions
from harness.report.cells import Report
from harness.report.figures.figure import Figure, Variant, date_texts, packed, thinned
from harness.run.finished import FinishedRun

Doubles = npt.NDArray[np.float64]
QUANTILES = 5
_KINDS = (
    ("after cost", "excess_return", "Top-k portfolio minus benchmark, after cost"),
    ("before cost", "excess_return_without_cost", "Top-k portfolio minus benchmark, before cost"),
    (
        "long-short",
        "long_short_return",
        "Half of top minus bottom quantile by score, label return divided by the horizon",
    ),
)
_PANELS: dict[str, Any] = {
    "xaxis": {"type": "date", "anchor": "y2"},
    "yaxis": {"domain": [0.36, 1], "tickformat": ".2~f", "title": {"text": "return"}},
    "yaxis2": {"domain": [0, 0.28], "tickformat": ".2~f", "title": {"text": "drawdown"}},
    "hovermode": "x",
}


def accumulated(returns: Doubles, compounds: bool) -> Doubles:
    """Return (S,) the return up to each time: the sum, or the product minus one; NaN counts as no return."""
    filled = np.nan_to_num(returns)
    result: Doubles = np.expm1(np.cumsum(np.log1p(filled))) if compounds else np.cumsum(filled)
    return result


def drawdown(value: Doubles, *, compounds: bool) -> Doubles:
    """Return (S,) how far each value lies below the highest before it (from 0 on), relative when it compounds."""
    top = np.maximum.accumulate(np.maximum(value, 0.0))
    return (1 + value) / (1 + top) - 1 if compounds else value - top


def cumulative_returns(report: Report) -> Figure:
    """Return the curve of every cell above its drawdown."""
    variants = []
    for label, name, what in _KINDS:
        cells = [(i, cell) for i, cell in enumerate(report.cells) if name in cell.series]
        if not cells:
            continue
        traces = [trace for i, cell in cells for trace in _curve(i, cell, name)]
        final = {cell.name: float(accumulated(*_returns(cell, name))[-1]) for _, cell in cells[:6]}
        ends = ", ".join(f"{cell} {METRICS['excess_return'].text(value)}" for cell, value in final.items())
        variants.append(Variant(label, traces, _PANELS, f"{what}. At the end: {ends}."))
    return Figure(
        "cumulative",
        "Cumulative excess return and drawdown",
        "Above: returns added up (or compounded, where the portfolio was configured so). Below: distance to the "
        "highest point so far. The long-short curve spreads each label's return over its horizon; it pays no cost and "
        "cannot be traded as it stands.",
        tuple(variants),
        height=520,
    )


def quantile_returns(report: Report) -> Figure | None:
    """Return the mean label of each fifth of the ranking, relative to all; None when times have too few rows."""
    traces: list[dict[str, Any]] = []
    for index, cell in enumerate(report.cells):
        means = quantile_means(cell.predictions())
        if means is None:
            continue
        names = [f"Q{q}" for q in range(1, QUANTILES + 1)]
        traces.append({"type": "bar", "cell": index, "name": cell.name, "x": names, "y": means.tolist()})
    if not traces:
        return None
    layout = {
        "xaxis": {"title": {"text": "fifth of the ranking, lowest scores first"}},
        "yaxis": {"title": {"text": "mean label minus that of all"}, "tickformat": ".4~f", "zeroline": True},
    }
    first = ", ".join(
        f"{x} {METRICS['excess_return'].text(y)}" for x, y in zip(traces[0]["x"], traces[0]["y"], strict=True)
    )
    return Figure(
        "quantiles",
        "Returns by quantile",
        "At each time the instruments are ranked by score and cut into fifths; shown is the mean label of each fifth "
        "minus that of all, over the label's horizon. Bars that rise from left to right say that the whole ranking "
        "carries information, not its ends alone.",
        (Variant("mean", traces, layout, f"{traces[0]['name']}: {first}."),),
        height=360,
    )


def quantile_means(predictions: Predictions, count: int = QUANTILES) -> Doubles | None:
    """Return (count,) the mean over time of each quantile's mean label minus the mean label of all.

    Times with fewer than two labelled rows per quantile are left out; None when that leaves none.
    """
    known = ~(np.isnan(predictions.label) | np.isnan(predictions.score))
    times = predictions.row_times[known]
    score, label = predictions.score[known].astype(np.float64), predictions.label[known].astype(np.float64)
    order = np.lexsort((score, times))
    times, label = times[order], label[order]
    starts = np.flatnonzero(np.append(True, np.diff(times) != 0)) if times.size else np.zeros(0, dtype=np.int64)
    sizes = np.diff(np.append(starts, times.size))
    place = np.arange(times.size) - np.repeat(starts, sizes)
    group = place * count // np.maximum(np.repeat(sizes, sizes), 1)
    row = np.repeat(np.arange(starts.size), sizes)
    members = np.bincount(row * count + group, minlength=starts.size * count).reshape(-1, count)
    sums = np.bincount(row * count + group, weights=label, minlength=starts.size * count).reshape(-1, count)
    enough = sizes >= 2 * count
    if not enough.any():
        return None
    means = sums[enough] / members[enough]
    overall = sums[enough].sum(axis=1) / sizes[enough]
    result: Doubles = (means - overall[:, None]).mean(axis=0)
    return result


def _returns(cell: FinishedRun, name: str) -> tuple[Doubles, bool]:
    """Return a series of returns, and whether they are multiplied instead of added."""
    if name == "long_short_return":
        return cell.series[name] / cell.horizon, False
    portfolio = cell.config["evaluation"].get("portfolio")
    return cell.series[name], portfolio is not None and portfolio.get("accumulate") == "product"


def _curve(index: int, cell: FinishedRun, name: str) -> list[dict[str, Any]]:
    returns, compounds = _returns(cell, name)
    value = accumulated(returns, compounds=compounds)
    shown = thinned(value.size)
    times = date_texts(cell.series.times[shown])
    line = {"type": "scatter", "mode": "lines", "cell": index, "name": cell.name, "x": times}
    below = drawdown(value, compounds=compounds)[shown]
    return [
        {**line, "y": packed(value[shown]), "hovertemplate": "%{x}: %{y:.4f}"},
        {**line, "y": packed(below), "yaxis": "y2", "showlegend": False, "hovertemplate": "%{x}: %{y:.4f} below"},
    ]
