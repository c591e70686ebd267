"""Figures of what a portfolio earned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.evaluation.metrics import METRICS
from harness.evaluation.portfolio.performance import accumulated, drawdown
from harness.report.cells import Report
from harness.report.figures.plot import Doubles, Figure, Variant, date_texts, packed, thinned
from harness.run.finished import FinishedRun

_RETURNS = (
    ("after cost", "excess_return", "Top-k portfolio minus benchmark, after cost"),
    ("before cost", "excess_return_without_cost", "Top-k portfolio minus benchmark, before cost"),
    ("long-short", "long_short_return", "Half of top minus bottom quantile by score, label return divided by horizon"),
)
_PANELS: dict[str, Any] = {
    "xaxis": {"type": "date", "anchor": "y2"},
    "yaxis": {"domain": [0.36, 1], "tickformat": ".2~f", "title": {"text": "return"}},
    "yaxis2": {"domain": [0, 0.28], "tickformat": ".2~f", "title": {"text": "drawdown"}},
    "hovermode": "x",
}


def cumulative_returns(report: Report) -> Iterator[Variant]:
    """Yield the curve of every cell above its drawdown."""
    for label, name, what in _RETURNS:
        cells = [(i, cell) for i, cell in enumerate(report.cells) if name in cell.series]
        if cells:
            traces = [trace for i, cell in cells for trace in _curve(i, cell, name)]
            final = {cell.name: float(_value(cell, name)[-1]) for _, cell in cells[:6]}
            ends = ", ".join(f"{cell} {METRICS['excess_return'].text(value)}" for cell, value in final.items())
            yield Variant(label, traces, _PANELS, f"{what}. At the end: {ends}.")


def _compounds(cell: FinishedRun, name: str) -> bool:
    portfolio = cell.config["evaluation"].get("portfolio")
    return name != "long_short_return" and portfolio is not None and portfolio.get("accumulate") == "product"


def _value(cell: FinishedRun, name: str) -> Doubles:
    returns = cell.series[name]
    returns = returns / cell.horizon if name == "long_short_return" else returns
    return accumulated(returns, compounds=_compounds(cell, name))


def _curve(index: int, cell: FinishedRun, name: str) -> list[dict[str, Any]]:
    value = _value(cell, name)
    shown = thinned(value.size)
    times = date_texts(cell.series.times[shown])
    base = {"type": "scatter", "mode": "lines", "cell": index, "name": cell.name, "x": times}
    below = drawdown(value, compounds=_compounds(cell, name))[shown]
    return [
        {**base, "y": packed(value[shown]), "hovertemplate": "%{x}: %{y:.4f}"},
        {**base, "y": packed(below), "yaxis": "y2", "showlegend": False, "hovertemplate": "%{x}: %{y:.4f} below"},
    ]


FIGURES = (
    Figure(
        "cumulative",
        "Cumulative excess return and drawdown",
        "Above: returns added up (or compounded, where the portfolio was configured so). Below: distance to the "
        "highest point so far. The long-short curve spreads each label's return over its horizon; it pays no cost and "
        "cannot be traded as it stands.",
        cumulative_returns,
        height=520,
    ),
)
