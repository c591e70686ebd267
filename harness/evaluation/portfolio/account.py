"""The account of a backtest: cash and holdings, what orders do to them, and what is written down."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.errors import DataError
from harness.evaluation.portfolio.costs import PricedOrder
from harness.evaluation.portfolio.ledger import FILLED, REFUSED, UNFILLED, Entry
from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.strategy import Codes, Orders, Trading

_NOTHING = 1e-5  # below this value an order counts as not filled and costs nothing, as in qlib's exchange
_LOT_TOLERANCE = 0.1  # raw shares that may lack to a lot, as in qlib: a rounding error does not cost a whole one
_HALVINGS = 60  # until an amount is known to the last bit


class Account:
    """Cash and holdings, (N,) each; `cost` and `traded` count one time's orders in money."""

    def __init__(self, trading: Trading, width: int) -> None:
        self.trading = trading
        self.cash = self.value = trading.account
        self.cost = self.traded = 0.0
        self.shares = np.zeros(width)  # negative: short
        self.held_for = np.zeros(width, dtype=np.int64)
        self.claims = np.zeros(width)  # shares of written-down holdings
        self.written_down: list[tuple[int, int]] = []  # (time, column)
        self.returned = 0
        self.entries: list[Entry] = []
        self.waiting: list[tuple[int, int, float, float]] = []
        self.unmeasured = 0  # orders whose costs should follow from a volume or a volatility that is not known

    def open(self, market: Market, s: int) -> None:
        """Pay for what is borrowed, and end what was written down and trades again."""
        self.cost = self.traded = 0.0
        if self.trading.borrow_fee is not None:
            owed = np.minimum(self.shares, 0.0) + np.minimum(self.claims, 0.0)
            worth = -float(owed @ np.nan_to_num(market.before[s]))
            fee = worth * self.trading.borrow_fee * float(market.days[s]) / 365.0
            self._book(0.0, fee, -fee)
        for column in np.flatnonzero(self.claims).tolist() if self.written_down else ():
            claim = float(self.claims[column])
            if claim > 0 and market.can_sell[s, column]:
                ended = claim if self._sell(market, s, column, claim) else 0.0
            else:
                ended = (
                    -self._buy(market, s, column, -claim, -claim) if claim < 0 and market.can_buy[s, column] else 0.0
                )
            self.claims[column] -= ended
            self.returned += ended == claim

    def execute(self, market: Market, s: int, orders: Orders) -> None:
        """Sell, then buy what the exchange accepts and the cash is enough for."""
        asked, shares = None if orders.shares is None else orders.shares.tolist(), self.shares
        for column in orders.sell[market.can_sell[s][orders.sell]].tolist():  # the others were refused before
            held = amount = shares.item(column)
            if asked is not None:
                amount = asked[column] if self.trading.borrow_fee is not None else min(asked[column], held)
                amount = self._lots(market, s, column, amount, held, 0.0)
            if self._sell(market, s, column, amount):
                shares[column] = left = held - amount
                if left * held <= 0:
                    self.held_for[column] = 0
        buy = orders.buy
        if orders.places is not None:
            buy = buy[: max(orders.places - np.count_nonzero(self.shares), 0)]
        budget = self.cash * orders.spend / max(buy.size, 1)
        accepted, deal = market.can_buy[s][buy], market.deal[s]
        if not accepted.all():
            self.refuse(s, True, buy[~accepted])
            buy = buy[accepted]
        for column in buy.tolist():
            held = shares.item(column)
            wanted = budget / deal.item(column) if asked is None else asked[column]
            if amount := self._buy(market, s, column, wanted, -held):
                shares[column] = now = held + amount
                if now * held <= 0:
                    self.held_for[column] = 0

    def refuse(self, s: int, is_purchase: bool, columns: Codes) -> None:
        """Enter orders that the exchange refused."""
        self.entries += [(s, column, is_purchase, REFUSED, 0.0, math.nan, 0.0) for column in columns.tolist()]

    def close(self, market: Market, s: int) -> None:
        """Write down what has had no price for too long, and value the rest at the close."""
        held, price = self.shares.nonzero()[0], market.last[s]
        if self.trading.patience is not None and held.size:
            given_up = market.absent[s][held] >= self.trading.patience
            if given_up.any():
                for column in held[given_up].tolist():
                    self.claims[column], self.shares[column], self.held_for[column] = self.shares[column], 0.0, 0
                    self.written_down.append((s, column))
                held = held[~given_up]
        self.held_for[held] += 1
        self.value = self.cash + float(self.shares[held] @ price[held])
        if self.written_down:
            owned, owed, price = np.maximum(self.claims, 0.0), np.minimum(self.claims, 0.0), np.nan_to_num(price)
            self.value += float(owned @ price) * (1.0 - self.trading.delisted_loss)
            self.value += float(owed @ price)
            kept = np.where(self.claims > 0, 1.0 - self.trading.delisted_loss, 1.0) * self.claims * price
            for column in np.flatnonzero(self.claims).tolist():
                self.waiting.append((s, column, float(self.claims[column]), float(kept[column])))

    def _sell(self, market: Market, s: int, column: int, amount: float) -> bool:
        price = market.deal.item(s, column)
        worth = amount * price
        cost = max(worth * self.trading.close_cost, self.trading.min_cost)
        if self.trading.costs:
            cost += self._costs(market, s, column, False)(worth)
        if worth <= _NOTHING or self.cash + worth < cost:
            self.entries.append((s, column, False, UNFILLED, 0.0, math.nan, 0.0))
            return False
        self._book(worth, cost, worth - cost)
        self.entries.append((s, column, False, FILLED, amount, price, cost))
        return True

    def _buy(self, market: Market, s: int, column: int, wanted: float, owed: float) -> float:
        """Return how much is bought, at most what is wanted."""
        rate, least, price = self.trading.open_cost, self.trading.min_cost, market.deal.item(s, column)
        amount, more = self._lots(market, s, column, wanted, owed, _LOT_TOLERANCE), 0.0
        worth = amount * price
        payable = self.cash >= max(worth * rate, least)
        if self.cash < worth + max(worth * rate, least):
            affordable = max(min(self.cash / (1.0 + rate), self.cash - least), 0.0)
            # qlib keeps the tolerance here too, and can overdraw the account by a tenth of a share.
            amount = self._lots(market, s, column, min(affordable / price, amount), owed, 0.0)
        if self.trading.costs:
            costs = self._costs(market, s, column, True)
            if self.cash < amount * price + max(amount * price * rate, least) + costs(amount * price):
                amount = self._lots(market, s, column, self._affordable(amount, price, costs), owed, 0.0)
            more = costs(amount * price)
        worth = amount * price
        cost = max(worth * rate, least) + more
        if worth <= _NOTHING or not payable:
            self.entries.append((s, column, True, UNFILLED, 0.0, math.nan, 0.0))
            return 0.0
        # Rounding may ask for a hair more than the cash that the amount was made of.
        self._book(worth, cost, -min(worth + cost, self.cash))
        self.entries.append((s, column, True, FILLED, amount, price, cost))
        return amount

    def _affordable(self, amount: float, price: float, costs: Callable[[float], float]) -> float:
        """Return the largest amount up to this one that the cash pays with all costs, found by halving."""
        low, high = 0.0, amount
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            worth = middle * price
            paid = worth + max(worth * self.trading.open_cost, self.trading.min_cost) + costs(worth)
            low, high = (middle, high) if paid <= self.cash else (low, middle)
        return low

    def _costs(self, market: Market, s: int, column: int, is_purchase: bool) -> Callable[[float], float]:
        """Return what the configured costs of an order of some value are."""
        daily = float(market.daily_value(np.array([s]), np.array([column]))[0])
        volatility, models = market.volatility(s, column), self.trading.costs
        if any(model.needs_volume for model in models) and not (daily > 0 and volatility >= 0):
            self.unmeasured += 1

        def paid(worth: float) -> float:
            order = PricedOrder(worth, is_purchase, daily, volatility)
            costs = [model.cost(order) for model in models]
            for cost, kind in zip(costs, map(type, models), strict=True):
                if not cost >= 0:
                    what, where = "A cost cannot be negative or missing.", f"{kind.__module__}.{kind.__qualname__}.cost"
                    raise DataError(what, where=where, got=cost, expected="a number ≥ 0")
            return sum(costs)

        return paid

    def _lots(self, market: Market, s: int, column: int, amount: float, whole: float, tolerance: float) -> float:
        """Return an amount in whole lots; one that ends a holding, or what is owed, is not rounded."""
        unit = self.trading.trade_unit
        if unit is None or market.factor is None or amount == whole:
            return amount
        factor = market.factor.item(s, column)
        return (amount * factor + tolerance) // unit * unit / factor

    def _book(self, worth: float, cost: float, flow: float) -> None:
        self.traded += worth
        self.cost += cost
        self.cash += flow
