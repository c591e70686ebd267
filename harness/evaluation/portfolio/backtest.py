"""The backtest: one account, followed from time to time, that sells and then buys by the scores of the time before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.panel import Panel
from harness.errors import DataError
from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.topk_dropout import Doubles, TopkDropout, choose
from harness.evaluation.predictions import Predictions

_NOTHING = 1e-5  # below this value an order counts as not filled and costs nothing, as in qlib's exchange
_LOT_TOLERANCE = 0.1  # raw shares that may lack to a lot, as in qlib: a rounding error does not cost a whole one


@dataclass(frozen=True, eq=False)
class PortfolioResult:
    """What the account did; S times and N instruments of the predictions.

    Attributes:
        returns: (S,) float64 return since the time before, without costs.
        cost, turnover: (S,) float64, paid costs and traded value, each as a share of the value of the time before.
        benchmark: (S,) float64 return.
        value, cash: (S,) float64, the account at the close: cash plus holdings and what is left of written-down ones,
            and cash.
        shares: (S, N) float64 adjusted shares held at the close; without written-down ones.
        notes: What a reader must know beside the numbers, with counts.

    After the last time at which anybody has a price, and while the account is worth nothing, there is no return, cost
    or turnover: they are NaN, not zero.
    """

    returns: Doubles
    cost: Doubles
    turnover: Doubles
    benchmark: Doubles
    value: Doubles
    cash: Doubles
    shares: Doubles
    notes: tuple[str, ...] = ()

    @property
    def series(self) -> dict[str, Doubles]:
        """Name → (S,) float64, what the metrics of a portfolio follow from; excess is beyond the benchmark."""
        return {
            "portfolio_return": self.returns - self.cost,
            "benchmark_return": self.benchmark,
            "excess_return": self.returns - self.benchmark - self.cost,
            "excess_return_without_cost": self.returns - self.benchmark,
            "portfolio_cost": self.cost,
            "portfolio_turnover": self.turnover,
            "portfolio_value": self.value,
        }


def backtest(panel: Panel, predictions: Predictions, config: TopkDropout) -> PortfolioResult:
    """Follow the predictions through their test range.

    At each time the scores of the time before decide (none at the first, which stays in cash). Sales come first, whole
    positions at a time, the worst first; one that the exchange refuses makes way for the next worst. risk_degree of the
    cash is then spent in equal parts on purchases for the places that are free, best score first; one that the exchange
    refuses leaves its place empty until the next time. Holdings are valued at their last close; after
    `TopkDropout.delisted_after` times without a price they are written down and give up their place, and are sold when
    they trade again. By qlib's rules, planned sales count as if they were executed.

    Prices after a time never influence results up to it.

    Raises:
        DataError: When calendars or instruments of predictions and panel differ, or a factor is missing.
        ConfigError: When the panel lacks a field that the strategy needs.
    """
    if predictions.calendar != panel.calendar or predictions.instruments != panel.instruments:
        sizes = (f"{len(at.calendar)} periods × {len(at.instruments)} instruments" for at in (predictions, panel))
        what = "Predictions and panel do not belong together: their calendars or instruments differ."
        raise DataError(what, where="backtest", got=next(sizes), expected=next(sizes))
    market = Market(panel, predictions.start, predictions.stop, config)
    account = _Account(config, len(panel.instruments))
    score = np.full((predictions.stop - predictions.start, len(panel.instruments)), np.nan)  # (S, N)
    score[predictions.row_times - predictions.start, predictions.codes] = predictions.score
    value, cash, cost, traded = np.empty((4, len(score)))
    shares = np.empty_like(score)
    for s in range(len(score)):
        account.open(market, s)
        if s > 0 and not np.isnan(score[s - 1]).all():
            account.trade(market, s, score[s - 1])
        account.close(market, s)
        value[s], cash[s], cost[s], traded[s] = account.value, account.cash, account.cost, account.traded
        shares[s] = account.shares
    before = np.append(config.account, value[:-1])
    before[before <= 0.0] = np.nan  # whoever has nothing can neither gain nor lose a share of it
    notes = (*market.notes, *_notes(account, score, before, bool(traded.any()), market, predictions))
    traded[market.stop :] = cost[market.stop :] = np.nan
    returns = (value - before + cost) / before
    series = (returns, cost / before, traded / before, market.benchmark, value, cash)
    return PortfolioResult(*series, shares, notes)


class _Account:
    """Cash and holdings; `cost` and `traded` count one time's orders in money."""

    def __init__(self, config: TopkDropout, width: int) -> None:
        self.config = config
        self.cash = self.value = config.account
        self.cost = self.traded = 0.0
        self.shares, self.price = np.zeros(width), np.zeros(width)
        self.held_for = np.zeros(width, dtype=np.int64)
        self.claims = np.zeros(width)  # shares of written-down holdings
        self.written_down: list[tuple[int, int]] = []  # (time, column)
        self.returned = 0

    def open(self, market: Market, s: int) -> None:
        self.cost = self.traded = 0.0
        for column in np.flatnonzero((self.claims > 0) & market.can_sell[s]).tolist():
            if self._sell(float(self.claims[column] * market.deal[s, column])):
                self.claims[column] = 0.0
                self.returned += 1

    def trade(self, market: Market, s: int, score: Doubles) -> None:
        config = self.config
        held = self.shares > 0
        if self.written_down:  # one position per instrument: nothing is bought beside what waits to be sold
            score = np.where(self.claims > 0, np.nan, score)
        free = market.can_sell[s] & (self.held_for >= config.hold_thresh)
        stuck = None if config.rules == "qlib" else held & ~free
        sell, buy = choose(score, held, config.topk, config.n_drop, stuck)
        for column in sell[free[sell]].tolist():
            if self._sell(float(self.shares[column] * market.deal[s, column])):
                self.shares[column] = self.held_for[column] = 0
        if config.rules == "harness":
            buy = buy[: max(config.topk - int((self.shares > 0).sum()), 0)]
        budget = self.cash * config.risk_degree / max(buy.size, 1)
        for column in buy[market.can_buy[s, buy]].tolist():
            factor = None if market.factor is None else float(market.factor[s, column])
            self._buy(column, float(market.deal[s, column]), budget, factor)

    def close(self, market: Market, s: int) -> None:
        close, patience = market.close[s], self.config.patience
        if patience is not None:
            for column in np.flatnonzero((self.shares > 0) & (market.absent[s] >= patience)).tolist():
                self.claims[column], self.shares[column], self.held_for[column] = self.shares[column], 0.0, 0
                self.written_down.append((s, column))
        held = self.shares > 0
        self.held_for[held] += 1
        priced = (held | (self.claims > 0)) & ~np.isnan(close)
        self.price[priced] = close[priced]
        self.value = self.cash + float(self.shares[held] @ self.price[held])
        if self.written_down:
            self.value += float(self.claims @ self.price) * (1.0 - self.config.delisted_loss)

    def _sell(self, worth: float) -> bool:
        cost = max(worth * self.config.close_cost, self.config.min_cost)
        if worth <= _NOTHING or self.cash + worth < cost:
            return False
        self._book(worth, cost, worth - cost)
        return True

    def _buy(self, column: int, price: float, budget: float, factor: float | None) -> None:
        rate, least = self.config.open_cost, self.config.min_cost
        amount = self._whole_lots(budget / price, factor, _LOT_TOLERANCE)
        worth = amount * price
        if self.cash < max(worth * rate, least):
            return
        if self.cash < worth + max(worth * rate, least):
            affordable = max(min(self.cash / (1.0 + rate), self.cash - least), 0.0)
            # qlib keeps the tolerance here too, and can overdraw the account by a tenth of a share.
            amount = self._whole_lots(min(affordable / price, amount), factor, 0.0)
            worth = amount * price
        if worth <= _NOTHING:
            return
        cost = max(worth * rate, least)
        # Rounding may ask for a hair more than the cash that the amount was made of.
        self._book(worth, cost, -min(worth + cost, self.cash))
        self.shares[column], self.price[column] = amount, price

    def _whole_lots(self, amount: float, factor: float | None, tolerance: float) -> float:
        if self.config.trade_unit is None or factor is None:
            return amount
        return (amount * factor + tolerance) // self.config.trade_unit * self.config.trade_unit / factor

    def _book(self, worth: float, cost: float, flow: float) -> None:
        self.traded += worth
        self.cost += cost
        self.cash += flow


def _notes(
    account: _Account, score: Doubles, before: Doubles, has_traded: bool, market: Market, predictions: Predictions
) -> Iterator[str]:
    config = account.config
    if account.written_down:
        s, column = account.written_down[0]
        first = f"{predictions.instruments[column]} at {predictions.calendar.format(predictions.start + s)}"
        yield (
            f"{len(account.written_down)} holding(s) had no price for {config.patience} periods and were written down "
            f"to {1.0 - config.delisted_loss:.0%} of their last price, first {first}; {account.returned} of them "
            "traded again and were sold. evaluation.portfolio.delisted_after and delisted_loss change that"
        )
    scored = (~np.isnan(score[: market.stop])).sum(axis=1)
    few = scored[scored > 0] < config.topk
    if few.any():
        yield (
            f"topk={config.topk} exceeds the instruments that have a score at {int(few.sum())} of {few.size} test "
            f"periods (at least {int(scored[scored > 0].min())}): the portfolio then holds them all; lower "
            "evaluation.portfolio.topk"
        )
    if not has_traded and market.stop > 1:
        yield "the portfolio never trades: no order was accepted in the whole test range"
    if ruined := int(np.isnan(before[: market.stop]).sum()):
        yield (
            f"the account is worth nothing before {ruined} of {market.stop} test times: they have no return and count "
            "in nothing"
        )
