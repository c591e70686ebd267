"""The backtest: one account, followed from time to time, that sells and then buys by the scores of the time before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.panel import Panel
from harness.errors import DataError
from harness.evaluation.portfolio.account import Account
from harness.evaluation.portfolio.ledger import Ledger
from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.strategy import Decision, Doubles, Flags, Orders, Strategy
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class PortfolioResult:
    """What the account did; S times and N instruments of the predictions.

    Attributes:
        returns: (S,) float64 return since the time before, without costs.
        cost, turnover: (S,) float64, paid costs and traded value, each as a share of the value of the time before.
        benchmark: (S,) float64 return.
        value, cash: (S,) float64, the account at the close with what is left of written-down holdings, and its cash.
        shares: (S, N) float64 adjusted shares held at the close; without written-down ones.
        ledger: Every order and holding.
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
    ledger: Ledger
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


def backtest(panel: Panel, predictions: Predictions, strategy: Strategy) -> PortfolioResult:
    """Follow the predictions through their test range.

    At each time the strategy makes orders by the scores of the time before and by what was known then (none at the
    first, which stays in cash, and none where nobody has a score). Sales come first; where the exchange refuses some,
    the strategy is asked again; then purchases, in their order, for as long as there is cash. Holdings are valued at
    their last close; after `Trading.delisted_after` times without a price they are written down and given up, and are
    ended when they trade again.

    Prices after a time never influence results up to it.

    Raises:
        DataError: When calendars or instruments of predictions and panel differ, a factor is missing, or a strategy
            makes orders that cannot be.
        ConfigError: When the panel lacks a field that the strategy needs.
    """
    followed = _follow(panel, predictions, strategy)
    market, account, score, shares = followed.market, followed.account, followed.score, followed.shares
    value, cash, cost, traded = followed.books
    before = np.append(account.trading.account, value[:-1])
    before[before <= 0.0] = np.nan  # whoever has nothing can neither gain nor lose a share of it
    notes = (*market.notes, *_notes(account, score, before, bool(traded.any()), market, predictions, strategy))
    traded[market.stop :] = cost[market.stop :] = np.nan
    returns = (value - before + cost) / before
    series = (returns, cost / before, traded / before, market.benchmark, value, cash)
    return PortfolioResult(*series, shares, Ledger(market, account.entries, shares, account.waiting, value), notes)


@dataclass(frozen=True)
class PlannedOrder:
    """An order for a time that has not come, as large as it would be at the last close.

    Attributes:
        side: ``sell`` or ``buy``; sales come first.
        shares, price, value: Adjusted shares, last adjusted close, and both multiplied.
    """

    instrument: str
    side: str
    shares: float
    price: float
    value: float


def planned_orders(panel: Panel, predictions: Predictions, strategy: Strategy) -> tuple[PlannedOrder, ...]:
    """Return what the strategy orders by the scores of the last time, with the account that has followed the others.

    Whether the exchange accepts an order, and at which price, is not known yet; lots and costs are not taken off.
    Empty where nobody has a score at the last time. Raises as `backtest` does.
    """
    followed = _follow(panel, predictions, strategy)
    market, account, score = followed.market, followed.account, followed.score[-1]
    if np.isnan(score).all() or account.value < 0.0:
        return ()
    last = np.where(np.isnan(market.close[-1]), market.before[-1], market.close[-1])
    decision = _decision(market, account, len(followed.score), score, last, np.zeros(score.size, dtype=np.bool_))
    orders = strategy.orders(decision)
    _check(orders, score.size, strategy)
    sold = account.shares if orders.shares is None else orders.shares
    buy, paid = orders.buy, float(np.nansum((sold * last)[orders.sell]))
    if orders.places is not None:
        ended = int(np.count_nonzero(sold[orders.sell] >= account.shares[orders.sell]))
        buy = buy[: max(orders.places - np.count_nonzero(account.shares) + ended, 0)]
    budget = (account.cash + paid) * orders.spend / max(buy.size, 1)
    bought = (
        np.divide(budget, last, where=last > 0, out=np.zeros_like(last)) if orders.shares is None else orders.shares
    )
    sides = [
        *(("sell", at, sold[at]) for at in orders.sell.tolist()),
        *(("buy", at, bought[at]) for at in buy.tolist()),
    ]
    return tuple(
        PlannedOrder(panel.instruments[at], side, float(shares), float(last[at]), float(shares * last[at]))
        for side, at, shares in sides
    )


@dataclass(frozen=True, eq=False)
class _Followed:
    market: Market
    account: Account
    score: Doubles  # (S, N)
    shares: Doubles  # (S, N)
    books: Doubles  # (4, S) value, cash, cost and traded value


def _follow(panel: Panel, predictions: Predictions, strategy: Strategy) -> _Followed:
    if predictions.calendar != panel.calendar or predictions.instruments != panel.instruments:
        sizes = (f"{len(at.calendar)} periods × {len(at.instruments)} instruments" for at in (predictions, panel))
        what = "Predictions and panel do not belong together: their calendars or instruments differ."
        raise DataError(what, where="backtest", got=next(sizes), expected=next(sizes))
    market = Market(panel, predictions.start, predictions.stop, strategy.trading)
    account = Account(strategy.trading, len(panel.instruments))
    score = np.full((predictions.stop - predictions.start, len(panel.instruments)), np.nan)  # (S, N)
    score[predictions.row_times - predictions.start, predictions.codes] = predictions.score
    has_score = (~np.isnan(score)).any(axis=1)
    value, cash, cost, traded = np.empty((4, len(score)))
    shares = np.empty_like(score)
    for s in range(len(score)):
        account.open(market, s)
        if s > 0 and account.value >= 0.0 and has_score[s - 1]:
            account.execute(market, s, _orders(strategy, market, account, s, score[s - 1]))
        account.close(market, s)
        value[s], cash[s], cost[s], traded[s] = account.value, account.cash, account.cost, account.traded
        shares[s] = account.shares
    return _Followed(market, account, score, shares, np.stack([value, cash, cost, traded]))


def _orders(strategy: Strategy, market: Market, account: Account, s: int, score: Doubles) -> Orders:
    """Return the orders for time s, by `score` of the time before, once the strategy knows which sales are refused."""
    refused, is_again = np.zeros(score.size, dtype=np.bool_), False
    while True:
        decision = _decision(market, account, s, score, market.before[s], refused)
        orders = strategy.orders(decision)
        _check(orders, score.size, strategy)
        accepted = market.can_sell[s][orders.sell]
        if accepted.all() or refused[orders.sell[~accepted]].all():
            if is_again:
                account.refuse(s, False, np.flatnonzero(refused))
            return orders
        refused[orders.sell[~accepted]] = is_again = True


def _decision(market: Market, account: Account, s: int, score: Doubles, price: Doubles, refused: Flags) -> Decision:
    """Return what is known when the orders for time s are made; s may be one past the market's last."""

    def history(field: str, periods: int) -> Doubles:
        return market.history(s, field, periods)

    if account.written_down:  # one position per instrument: nothing is bought beside what waits to be sold
        score = np.where(account.claims != 0, np.nan, score)
    return Decision(
        time=market.times[s - 1],
        instruments=market.instruments,
        score=score.copy(),
        shares=account.shares.copy(),
        held_for=account.held_for.copy(),
        price=price.copy(),
        cash=account.cash,
        value=account.value,
        refused=refused.copy(),
        history=history,
    )


def _check(orders: object, width: int, strategy: Strategy) -> None:
    """Refuse what cannot be executed: an instrument that is not there or named twice, or no number of shares."""
    where = f"{type(strategy).__module__}.{type(strategy).__qualname__}.orders"
    if not isinstance(orders, Orders):
        raise DataError("A strategy returns orders.", where=where, got=type(orders).__qualname__, expected="Orders")
    columns = [*orders.sell.tolist(), *orders.buy.tolist()]
    if len(set(columns)) < len(columns) or (columns and not 0 <= min(columns) <= max(columns) < width):
        what, expected = "Orders name each instrument at most once.", f"different columns from 0 to {width - 1}"
        raise DataError(what, where=where, got=columns, expected=expected)
    if orders.shares is not None and not (orders.shares.shape == (width,) and (orders.shares[columns] >= 0.0).all()):
        what, expected = "Orders without a number of shares.", f"float64 ({width},), none negative or missing"
        raise DataError(what, where=where, got=f"{orders.shares.dtype} {orders.shares.shape}", expected=expected)


def _notes(
    account: Account,
    score: Doubles,
    before: Doubles,
    has_traded: bool,
    market: Market,
    predictions: Predictions,
    strategy: Strategy,
) -> Iterator[str]:
    config = account.trading
    if account.written_down:
        s, column = account.written_down[0]
        first = f"{predictions.instruments[column]} at {predictions.calendar.format(predictions.start + s)}"
        yield (
            f"{len(account.written_down)} holding(s) had no price for {config.patience} periods and were written down "
            f"to {1.0 - config.delisted_loss:.0%} of their last price, first {first}; {account.returned} of them "
            "traded again and were sold. evaluation.portfolio.delisted_after and delisted_loss change that"
        )
    scored = (~np.isnan(score[: market.stop])).sum(axis=1)
    topk = strategy.topk if isinstance(strategy, TopkDropout) else 0
    few = scored[scored > 0] < topk
    if few.any():
        yield (
            f"topk={topk} exceeds the instruments that have a score at {int(few.sum())} of {few.size} test "
            f"periods (at least {int(scored[scored > 0].min())}): the portfolio then holds them all; lower "
            "evaluation.portfolio.topk"
        )
    if not has_traded and market.stop > 1:
        yield "the portfolio never trades: no order was accepted in the whole test range"
    if account.unmeasured:
        yield (
            f"{account.unmeasured} order(s) had no volume or no volatility in the 20 periods before them: "
            "their impact is counted as nothing"
        )
    if ruined := int(np.isnan(before[: market.stop]).sum()):
        yield (
            f"the account is worth nothing before {ruined} of {market.stop} test times: they have no return and count "
            "in nothing"
        )
