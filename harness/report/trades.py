"""What a portfolio traded and held at the end, and how large an account could have been."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.evaluation.metrics import UNDEFINED
from harness.evaluation.portfolio.ledger import ORDERS, POSITIONS, TradeSummary
from harness.evaluation.predictions import read_table
from harness.report.table import Table, TableCell, numbers, table
from harness.run.finished import FinishedRun

_MOST = 20  # holdings and orders that are shown


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


def orders_table(cell: FinishedRun) -> Table | None:
    """Return the orders of the last time at which a cell made any, in their order; None where it never did."""
    found = _last_rows(cell, ORDERS)
    if found is None:
        return None
    last, day = found
    rows: list[list[TableCell | str]] = [
        [
            *map(str, (r.instrument, r.side, r.outcome)),
            _cell(r.shares, "{:,.2f}"),
            _cell(None if np.isnan(r.price) else r.price, "{:,.7g}"),
            _cell(None if np.isnan(r.value) else r.value, "{:,.0f}"),
            _cell(r.cost, "{:,.2f}"),
        ]
        for r in last[:_MOST].itertuples()
    ]
    signal = np.datetime_as_string(last["signal"].to_numpy()[0], unit="D")
    caption = f"Orders of {cell.name} on {day}, by the scores of {signal}: {len(rows)} of {len(last)}"
    columns = ("instrument", "side", "outcome", *numbers("shares", "price", "value", "cost"))
    return table(caption, columns, rows)


def holdings_table(cell: FinishedRun) -> Table | None:
    """Return the largest holdings of a cell at the last time at which it has any; None where it never has."""
    found = _last_rows(cell, POSITIONS)
    if found is None:
        return None
    last, day = found
    last = last.iloc[np.argsort(-last["weight"].abs().to_numpy(), kind="stable")[:_MOST]]
    rows: list[list[TableCell | str]] = [
        [str(r.instrument), _cell(r.weight, "{:.2%}"), _cell(r.shares, "{:,.2f}"), _cell(r.value, "{:,.0f}")]
        for r in last.itertuples()
    ]
    caption = f"Holdings of {cell.name} on {day}, the {len(rows)} largest"
    return table(caption, ("instrument", *numbers("weight", "shares", "value")), rows)


def _last_rows(cell: FinishedRun, file: str) -> tuple[Any, str] | None:
    """Return the frame of the last time in a table of orders or positions, and its day; None where there are none."""
    if cell.config["evaluation"].get("portfolio") is None or not (cell.folder / file).is_file():
        return None
    rows = read_table(cell.folder / file, file.removesuffix(".parquet"))
    if not rows.num_rows:
        return None
    times = rows["datetime"].to_numpy()
    last = rows.slice(int(np.searchsorted(times, times[-1]))).to_pandas()
    return last, str(np.datetime_as_string(times[-1], unit="D"))


def _cell(value: float | None, text: str) -> TableCell:
    return TableCell(UNDEFINED) if value is None else TableCell(text.format(value), float(value))
