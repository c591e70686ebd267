"""What a portfolio traded and held at the end, and how large an account could have been."""

from __future__ import annotations

import numpy as np

from harness.evaluation.metrics import UNDEFINED
from harness.evaluation.portfolio.ledger import POSITIONS, TradeSummary
from harness.evaluation.predictions import read_table
from harness.report.table import Table, TableCell, numbers, table
from harness.run.finished import FinishedRun

_MOST = 20  # holdings that are shown


def trades_table(cell: FinishedRun) -> Table | None:
    """Return what the orders and holdings of a cell come to; None without a portfolio."""
    config = cell.config["evaluation"].get("portfolio")
    found = None if config is None else TradeSummary.read(cell.folder, float(config["account"]))
    if found is None:
        return None
    rows = [
        ("orders", _cell(found.orders, "{:,.0f}")),
        ("refused by the exchange", _cell(found.refused, "{:,.0f}")),
        ("unfilled: too small, or no cash", _cell(found.unfilled, "{:,.0f}")),
        ("holdings, mean", _cell(found.holdings, "{:.1f}")),
        ("gross exposure, mean", _cell(found.gross, "{:.1%}")),
        ("net exposure, mean", _cell(found.net, "{:.1%}")),
        ("order / a day's trading, median", _cell(found.median, "{:.3%}")),
        ("order / a day's trading, 95th percentile", _cell(found.often, "{:.3%}")),
        ("order / a day's trading, largest", _cell(found.largest, "{:.3%}")),
        ("account at the start", _cell(float(config["account"]), "{:,.0f}")),
        ("capacity", _cell(found.capacity, "{:,.0f}")),
    ]
    return table(f"Trades of {cell.name}", ("what", *numbers("value")), rows)


def holdings_table(cell: FinishedRun) -> Table | None:
    """Return the largest holdings of a cell at the last time at which it has any; None where it never has."""
    if cell.config["evaluation"].get("portfolio") is None or not (cell.folder / POSITIONS).is_file():
        return None
    positions = read_table(cell.folder / POSITIONS, "positions")
    if not positions.num_rows:
        return None
    times = positions["datetime"].to_numpy()
    last = positions.slice(int(np.searchsorted(times, times[-1]))).to_pandas()
    last = last.iloc[np.argsort(-last["weight"].abs().to_numpy(), kind="stable")[:_MOST]]
    rows: list[list[TableCell | str]] = [
        [str(r.instrument), _cell(r.weight, "{:.2%}"), _cell(r.shares, "{:,.2f}"), _cell(r.value, "{:,.0f}")]
        for r in last.itertuples()
    ]
    day = np.datetime_as_string(times[-1], unit="D")
    caption = f"Holdings of {cell.name} on {day}, the {len(rows)} largest"
    return table(caption, ("instrument", *numbers("weight", "shares", "value")), rows)


def _cell(value: float | None, text: str) -> TableCell:
    return TableCell(UNDEFINED) if value is None else TableCell(text.format(value), float(value))
