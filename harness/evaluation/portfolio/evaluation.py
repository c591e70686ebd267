"""Judge a portfolio against its benchmark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness.evaluation import formulas as metrics
from harness.evaluation.portfolio import PortfolioResult, risk_analysis
from harness.evaluation.record import Evaluation, Number, summarised

Doubles = npt.NDArray[np.float64]


def evaluate_portfolio(result: PortfolioResult, periods_per_year: int) -> Evaluation:
    """Judge a portfolio by its returns beyond the benchmark, after costs (and before, ``…_without_cost``).

    ``excess_return``, ``information_ratio`` and ``max_drawdown`` are the last three columns of qlib's benchmark tables;
    returns and cost are per year, ``portfolio_turnover`` is per time. Times without a return, behind the last price,
    count in nothing.

    Parameters
    ----------
    result
        What the account did.
    periods_per_year
        Periods in a year.
    """
    net = result.returns - result.cost
    series: dict[str, Doubles] = {
        "portfolio_return": net,
        "benchmark_return": result.benchmark,
        "excess_return": result.excess_with_cost,
        "excess_return_without_cost": result.excess_without_cost,
        "portfolio_cost": result.cost,
        "portfolio_turnover": result.turnover,
        "portfolio_value": result.value,
    }
    mode = result.config.accumulate

    known = ~np.isnan(net)

    def summarise(span: slice) -> dict[str, Number]:
        summary: dict[str, Number] = {}
        at = np.flatnonzero(known[span]) + span.start
        for suffix in ("", "_without_cost"):
            risk = risk_analysis(series[f"excess_return{suffix}"][at], periods_per_year, mode)
            summary[f"excess_return{suffix}"] = risk.annualized_return
            summary[f"information_ratio{suffix}"] = risk.information_ratio
            summary[f"max_drawdown{suffix}"] = risk.max_drawdown
        for name in ("portfolio_return", "benchmark_return"):
            summary[name] = risk_analysis(series[name][at], periods_per_year, mode).annualized_return
        summary["portfolio_cost"] = metrics.mean(result.cost[at]) * periods_per_year
        summary["portfolio_turnover"] = metrics.mean(result.turnover[at])
        return summary

    found = summarised(result.calendar, result.start, result.window_starts, series, summarise)
    return replace(found, periods_per_year=periods_per_year, notes=result.notes)
