"""What a portfolio ordered and held, as tables in the folder of its run, and how large an account could have been."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.strategy import Doubles
from harness.evaluation.predictions import read_table
from harness.store.arrow import column_of, flags_of, named

ORDERS, POSITIONS = "orders.parquet", "positions.parquet"
FILLED, REFUSED, UNFILLED = "filled", "refused", "unfilled"
_OUTCOMES = (FILLED, REFUSED, UNFILLED)
_SIDES = ("buy", "sell")
_LARGE, _OFTEN = 0.1, 95  # an order of more than a tenth of what is traded in a day moves it; per cent of orders below
Entry = tuple[int, int, bool, str, float, float, float]
"""Time, column, whether a purchase, outcome, shares, price and cost of one order."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """The entries of one account; S times, N instruments."""

    market: Market
    entries: list[Entry]
    shares: Doubles  # (S, N) held at the close
    waiting: list[
        tuple[int, int, float, float]
    ]  # time, column, shares and value of what is written down, at each close
    value: Doubles  # (S,) of the account

    def write(self, folder: Path) -> None:
        """Write orders and positions as Parquet; equal accounts give equal bytes."""
        for name, table in ((ORDERS, self.orders()), (POSITIONS, self.positions())):
            pq.write_table(table, folder / name, compression="zstd")

    def orders(self) -> pa.Table:
        """Return one row per order, in the order of their execution.

        Columns ``datetime`` of the execution, ``signal`` (the time whose scores it follows), ``instrument``, ``side``,
        ``outcome`` (filled, refused by the exchange, or unfilled: too small, or no cash), ``shares``, ``price``,
        ``value`` and ``cost`` in money, ``daily_value`` as `PricedOrder` has it.
        """
        times, columns, buys, outcomes, *amounts = zip(*self.entries, strict=True) if self.entries else ((),) * 7
        at, column = np.array(times, dtype=np.int64), np.array(columns, dtype=np.int64)
        shares, price, cost = (np.array(values, dtype=np.float64) for values in amounts)
        side = np.array([not is_purchase for is_purchase in buys], dtype=np.int8)
        outcome = np.array([_OUTCOMES.index(one) for one in outcomes], dtype=np.int8)
        numbers = {"shares": shares, "price": price, "value": shares * price, "cost": cost}
        numbers |= {"daily_value": self.market.daily_value(at, column)}
        return pa.table(
            {
                "datetime": column_of(self.market.times[at]),
                "signal": column_of(self.market.times[at - 1]),
                "instrument": self._names(column),
                "side": named(side, _SIDES),
                "outcome": named(outcome, _OUTCOMES),
                **{name: column_of(values) for name, values in numbers.items()},
            }
        )

    def positions(self) -> pa.Table:
        """Return one row per time and holding, by time and then instrument.

        Columns ``datetime``, ``instrument``, ``shares`` (negative: short), ``price`` (the last close), ``value`` in
        money, ``weight`` (share of the account), ``written_down`` (without a price for too long: its value is lower).
        What is left of the account's value, the series ``portfolio_value``, is cash.
        """
        market = self.market
        at, column = np.nonzero(self.shares)
        close = market.close[at, column]
        shares, price = self.shares[at, column], np.where(np.isnan(close), market.before[at, column], close)
        late = np.array(self.waiting, dtype=np.float64).reshape(-1, 4)
        at = np.append(at, late[:, 0].astype(np.int64))
        column = np.append(column, late[:, 1].astype(np.int64))
        shares, value = np.append(shares, late[:, 2]), np.append(shares * price, late[:, 3])
        order = np.lexsort((column, at))
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {"shares": shares, "price": np.append(price, np.full(len(late), np.nan)), "value": value}
            columns |= {"weight": value / self.value[at]}
        is_late = flags_of(order >= price.size)
        names = {"datetime": column_of(market.times[at[order]]), "instrument": self._names(column[order])}
        values = {name: column_of(values[order]) for name, values in columns.items()}
        return pa.table({**names, **values, "written_down": is_late})

    def _names(self, column: np.ndarray) -> pa.DictionaryArray:
        return named(column.astype(np.int32), self.market.instruments)


@dataclass(frozen=True)
class TradeSummary:
    """What the tables of a run come to; None where there is nothing to count.

    Attributes:
        orders, refused, unfilled: How many there were, and how many of them the exchange refused, or were not executed.
        holdings, gross, net: Means over the times with a holding: how many; their value and what it is with what is
            owed taken off, as shares of the account.
        median, often, largest: Of filled orders: the value as a share of what is traded in a day, at the middle, so
            that 95 % are smaller, and the largest.
        capacity: The account at the start with which 95 % of the orders would have stayed below a tenth of that.
    """

    orders: int
    refused: int
    unfilled: int
    holdings: float | None
    gross: float | None
    net: float | None
    median: float | None
    often: float | None
    largest: float | None
    capacity: float | None

    @classmethod
    def read(cls, folder: Path, account: float) -> TradeSummary | None:
        """Read those of a run whose account began with this; None where it has no such files."""
        if not ((folder / ORDERS).is_file() and (folder / POSITIONS).is_file()):
            return None
        orders, positions = read_table(folder / ORDERS, "orders"), read_table(folder / POSITIONS, "positions")
        outcome = orders["outcome"].combine_chunks().dictionary_decode().to_numpy(zero_copy_only=False)
        value, daily = (orders[name].to_numpy()[outcome == FILLED] for name in ("value", "daily_value"))
        share = value / daily
        share = share[np.isfinite(share)]
        points: list[float | None] = np.percentile(share, [50, _OFTEN, 100]).tolist() if share.size else [None] * 3
        _, first = np.unique(positions["datetime"].to_numpy(), return_index=True)
        weight = positions["weight"].to_numpy()
        sums = [np.add.reduceat(v, first) for v in (np.ones(weight.size), np.abs(weight), weight)] if first.size else []
        means: list[float | None] = [float(v.mean()) for v in sums] or [None] * 3
        refused, unfilled = (int((outcome == kind).sum()) for kind in (REFUSED, UNFILLED))
        holdings, gross, net = means
        median, often, largest = points
        capacity = account * _LARGE / often if often else None
        counts = (orders.num_rows, refused, unfilled)
        return cls(*counts, holdings, gross, net, median, often, largest, capacity)
