"""How much money: cumulative excess return with its drawdown, and the return of each fifth of the ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

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
        if cells:
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


def quantile_returns(report: Report) -> Figure:
    """Return the mean label of each fifth of the ranking, relative to all, of cells whose times have enough rows."""
    names = [f"Q{q}" for q in range(1, QUANTILES + 1)]
    means = ((at, cell.name, quantile_means(cell.predictions())) for at, cell in enumerate(report.cells))
    traces: list[dict[str, Any]] = [
        {"type": "bar", "cell": at, "name": name, "x": names, "y": found.tolist()}
        for at, name, found in means
        if found is not None
    ]
    layout = {
        "xaxis": {"title": {"text": "fifth of the ranking, lowest scores first"}},
        "yaxis": {"title": {"text": "mean label minus that of all"}, "tickformat": ".4~f", "zeroline": True},
    }
    first = [f"{x} {METRICS['excess_return'].text(y)}" for t in traces[:1] for x, y in zip(names, t["y"], strict=True)]
    variants = [Variant("mean", traces, layout, f"{trace['name']}: {', '.join(first)}.") for trace in traces[:1]]
    return Figure(
        "quantiles",
        "Returns by quantile",
        "At each time the instruments are ranked by score and cut into fifths; shown is the mean label of each fifth "
        "minus that of all, over the label's horizon. Bars that rise from left to right say that the whole ranking "
        "carries information, not its ends alone.",
        tuple(variants),
        height=360,
    )


def quantile_means(predictions: Predictions, count: int = QUANTILES) -> Doubles | None:
    """Return (count,) the mean over time of each quantile's mean label minus the mean label of all.

    Times with fewer than two labelled rows per quantile are left out; None when that leaves none.
    """
    frame = pd.DataFrame({"score": predictions.score, "label": predictions.label}, predictions.row_times).dropna()
    frame = frame.astype(np.float64).groupby(level=0).filter(lambda rows: len(rows) >= 2 * count)
    if frame.empty:
        return None
    by_time = frame.groupby(level=0)
    quantile = (by_time["score"].rank(method="first") - 1) * count // by_time["score"].transform("size")
    excess = frame["label"] - by_time["label"].transform("mean")
    means = excess.groupby([frame.index, quantile]).mean()
    return means.groupby(level=1).mean().to_numpy()


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
