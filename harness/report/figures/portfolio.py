"""Figures of what a portfolio earned, and the table of its deepest falls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from harness.evaluation.metrics import METRICS
from harness.evaluation.portfolio.performance import (
    accumulated,
    by_month,
    drawdown,
    falls,
    rolling_beta,
    rolling_ratio,
)
from harness.report.cells import Report
from harness.report.figures.plot import Doubles, Figure, Variant, curve, date_texts, is_line, month_maps
from harness.report.table import Table, TableCell, metric_cell, numbers, table
from harness.run.finished import FinishedRun

_PORTFOLIO, _BENCHMARK, _EXCESS = "portfolio_return", "benchmark_return", "excess_return"
_RETURNS = (
    ("portfolio and benchmark", _PORTFOLIO, "Portfolio after cost"),
    ("excess after cost", _EXCESS, "Portfolio minus benchmark, after cost"),
    ("excess before cost", "excess_return_without_cost", "Portfolio minus benchmark, before cost"),
    ("long-short", "long_short_return", "Half of top minus bottom quantile by score, label return divided by horizon"),
)
_PANELS: dict[str, Any] = {
    "xaxis": {"type": "date", "anchor": "y2"},
    "yaxis": {"domain": [0.36, 1], "tickformat": ".4~f", "title": {"text": "return"}},
    "yaxis2": {"domain": [0, 0.28], "tickformat": ".4~f", "title": {"text": "drawdown"}},
    "hovermode": "x",
}


def cumulative_returns(report: Report) -> Iterator[Variant]:
    """Yield the curve of every cell above its drawdown, beside the benchmark's where the benchmark counts."""
    for label, name, what in _RETURNS:
        cells = _having(report, name)
        if cells:
            traces = [trace for at, cell in cells for trace in _curve(cell, name, cell=at)]
            if name == _PORTFOLIO:
                traces += _benchmarks([cell for _, cell in cells])
            final = {cell.name: float(_value(cell, name)[-1]) for _, cell in cells[:6]}
            ends = ", ".join(f"{cell} {METRICS['excess_return'].text(value)}" for cell, value in final.items())
            yield Variant(label, traces, _PANELS, f"{what}. At the end: {ends}.")


def _having(report: Report, name: str) -> list[tuple[int, FinishedRun]]:
    return [(at, cell) for at, cell in enumerate(report.cells) if name in cell.series and is_line(cell.series[name])]


_MOST_BENCHMARKS = 3


def _benchmarks(cells: Sequence[FinishedRun]) -> Iterator[dict[str, Any]]:
    """Yield the curves of the benchmarks of the first cells, equal ones once."""
    found = {_value(cell, _BENCHMARK).tobytes(): cell for cell in reversed(cells)}
    for number, cell in enumerate(list(reversed(found.values()))[:_MOST_BENCHMARKS]):
        name = "benchmark" if len(found) == 1 else f"benchmark of {cell.name}"
        yield from ({**trace, "name": name} for trace in _curve(cell, _BENCHMARK, neutral=number))


def _compounds(cell: FinishedRun, name: str) -> bool:
    portfolio = cell.config["evaluation"].get("portfolio")
    return name != "long_short_return" and portfolio is not None and portfolio.get("accumulate") == "product"


def _value(cell: FinishedRun, name: str) -> Doubles:
    returns = cell.series[name]
    returns = returns / max(cell.horizon, 1) if name == "long_short_return" else returns
    return accumulated(returns, compounds=_compounds(cell, name))


def _curve(run: FinishedRun, name: str, **whose: int) -> list[dict[str, Any]]:
    value = _value(run, name)
    below = drawdown(value, compounds=_compounds(run, name))
    times = run.series.times
    drawn = curve(times, below, "%{x}: %{y:.4f} below", name=run.name, **whose)
    return [curve(times, value, "%{x}: %{y:.4f}", name=run.name, **whose), {**drawn, "yaxis": "y2"}]


_HALF_YEAR = 2
_SHORTEST = 20


def rolling_width(cell: FinishedRun) -> int:
    """Return over how many periods ratios roll: half a year, or a third of a shorter test range."""
    half = int(cell.snapshot.identity["year"]["periods"]) // _HALF_YEAR
    return max(_SHORTEST, min(half, cell.series.times.size // 3))


def rolling_risk(report: Report) -> Iterator[Variant]:
    """Yield rolling Sharpe ratio, information ratio and beta of every cell with a portfolio."""
    cells = _having(report, _PORTFOLIO)
    width = max((rolling_width(cell) for _, cell in cells), default=0)

    def ratio(name: str) -> Callable[[FinishedRun], Doubles]:
        return lambda cell: rolling_ratio(cell.series[name], width, int(cell.snapshot.identity["year"]["periods"]))

    def beta(cell: FinishedRun) -> Doubles:
        return rolling_beta(cell.series[_PORTFOLIO], cell.series[_BENCHMARK], width)

    for label, of in (("Sharpe ratio", ratio(_PORTFOLIO)), ("information ratio", ratio(_EXCESS)), ("beta", beta)):
        series = [(at, cell, of(cell)) for at, cell in cells]
        if any(is_line(values) for _, _, values in series):
            traces = [curve(c.series.times, v, "%{x}: %{y:.2f}", name=c.name, cell=at) for at, c, v in series]
            axis = {"title": {"text": f"{label}, {width} periods"}, "zeroline": True}
            layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
            ends = ", ".join(f"{cell.name} {values[-1]:.2f}" for _, cell, values in series[:6])
            yield Variant(label, traces, layout, f"{label} of the last {width} periods: {ends}.")


def returns_by_month(report: Report) -> Iterator[Variant]:
    """Yield the months and years of every cell: those of the portfolios, then those beyond the benchmark."""
    for label, name in (("portfolio", _PORTFOLIO), ("excess", _EXCESS)):
        found = {}
        for _, cell in _having(report, name):
            how: Literal["product", "sum"] = "product" if _compounds(cell, name) else "sum"
            found[f"{label} · {cell.name}"] = by_month(cell.series.times, cell.series[name], how)
        yield from month_maps(found, ".1%")


_DEEPEST = 5


def drawdowns(cell: FinishedRun) -> Table | None:
    """Return the deepest drawdowns of the portfolio and of its excess return; None without a portfolio."""
    rows: list[list[TableCell | str]] = []
    dates = date_texts(cell.series.times)
    for label, name in (("excess", _EXCESS), ("portfolio", _PORTFOLIO)):
        if name not in cell.series:
            continue
        below = drawdown(_value(cell, name), compounds=_compounds(cell, name))
        for number, fall in enumerate(falls(below, _DEEPEST), start=1):
            end = "not yet" if fall.end is None else dates[fall.end]
            periods = (below.size if fall.end is None else fall.end) - fall.start
            when = (dates[fall.start], dates[fall.trough], end)
            depth = metric_cell(METRICS["max_drawdown"], fall.depth)
            rows.append([f"{label} {number}", *when, depth, TableCell(f"{periods:,}", periods)])
    columns = ("drawdown", "start", "trough", "recovery", *numbers("depth", "periods"))
    return table(f"Deepest drawdowns of {cell.name}", columns, rows) if rows else None


FIGURES = (
    Figure(
        "cumulative",
        "Cumulative returns and drawdown",
        "Above: returns added up (or compounded, where the portfolio was configured so). Below: distance to the "
        "highest point so far. The long-short curve spreads each label's return over its horizon; it pays no cost and "
        "cannot be traded as it stands.",
        cumulative_returns,
        height=520,
    ),
    Figure(
        "returns",
        "Returns by month and year",
        "After cost; added up within a month and a year, or compounded, where the portfolio was configured so. Months "
        "share one colour scale, years another.",
        returns_by_month,
        choose="return and cell",
    ),
    Figure(
        "risk",
        "Rolling Sharpe ratio and beta",
        "Over as many periods as the axis says, after cost. Sharpe ratio: mean over standard deviation per year, "
        "without a riskless rate; information ratio: the same of what lies beyond the benchmark; beta: slope of the "
        "portfolio's returns on the benchmark's.",
        rolling_risk,
    ),
)
