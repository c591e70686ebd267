"""The backtest: one account, followed from time to time, that sells and then buys by the scores of the time before.

The market is what the exchange offers at each time: prices, whether orders are accepted, lots, the benchmark's return.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.panel import Panel
from harness.errors import ConfigError, DataError, closest
from harness.evaluation.portfolio.topk_dropout import Doubles, Flags, TopkDropout, choose
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
        value, cash: (S,) float64, the account at the close with what is left of written-down holdings, and its cash.
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


_FEW = 0.01  # share of prices without volume that real data have, and that nobody need hear of


class Market:
    """The exchange during S times, calendar positions [start, stop); N instruments.

    An instrument is suspended where it has no close, or, by `TopkDropout.suspended_when`, no volume. The change of
    price that limits are compared with is the panel's field ``change``, or else made of the close and the last close
    before it.

    Attributes:
        close, deal: (S, N) float64, that and the price of orders, NaN while suspended.
        can_buy, can_sell: (S, N) bool, false while suspended or at a limit.
        factor: (S, N) float64, raw shares per adjusted share; None when any amount may be traded.
        benchmark: (S,) float64 return since the time before; NaN from `stop` on.
        absent: (S, N) int64, for how many times in a row there has been no price, this one included.
        stop: One past the last time at which a member has a price.
        notes: What a reader must know beside the numbers, with counts.

    Raises:
        ConfigError: When the panel lacks the deal price or the benchmark.
        DataError: When lots are asked for and the factor is missing, or the benchmark does not cover these times.
    """

    def __init__(self, panel: Panel, start: int, stop: int, config: TopkDropout) -> None:
        span = slice(start, stop)
        self._panel, self._config, self._span, self.notes = panel, config, span, list[str]()
        close = panel.fields[panel.price_field].astype(np.float64)  # (T, N)
        has_price = panel.traded[span] & panel.membership[span]
        if config.needs_volume and "volume" in panel.fields:
            idle = ~(panel.fields["volume"] > 0)
            count, total = int((has_price & idle[span]).sum()), int(has_price.sum())
            if count > _FEW * total:
                self.notes.append(
                    f"{count:,} of {total:,} prices of members in the test range ({count / total:.1%}) come without "
                    "volume and count as suspended; evaluation.portfolio.suspended_when=no_close trades them"
                )
            close[idle] = np.nan
        self.close, self._before = close[span], _before(close)[span]
        self._priced = ~np.isnan(self.close)
        busy = np.flatnonzero(has_price.any(axis=1))
        self.stop = int(busy[-1]) + 1 if busy.size else 0
        self.can_buy, self.can_sell = self._accepted()
        self.benchmark = np.full(stop - start, np.nan)
        self.benchmark[: self.stop] = self._returns_of_benchmark()
        self.deal = self._prices_of_orders()
        self.factor = None if config.trade_unit is None else self._factors()
        at = np.arange(stop)[:, None]
        self.absent = (at - np.maximum.accumulate(np.where(panel.traded[:stop], at, -1), axis=0))[span]

    def _field(self, name: str) -> Doubles:
        return self._panel.fields[name][self._span].astype(np.float64)

    def _prices_of_orders(self) -> Doubles:
        name, panel = self._config.deal_price, self._panel
        if name not in panel.fields:
            what, where = "The panel has no such price.", "evaluation.portfolio.deal_price"
            expected, hint = ", ".join(panel.fields), closest(name, panel.fields)
            raise ConfigError(what, where=where, got=name, expected=expected, hint=hint)
        deal = self._field(name)
        known, traded = deal > 1e-8, self._priced & panel.membership[self._span]
        lacking = traded & ~known
        if lacking.any():
            self.notes.append(
                f"{int(lacking.sum()):,} of {int(traded.sum()):,} traded rows of members lack the deal price "
                f"`{name}`; orders are filled at the close there"
            )
        # A missing one is the close, as in qlib's exchange.
        return np.where(self._priced, np.where(known, deal, self.close), np.nan)

    def _accepted(self) -> tuple[Flags, Flags]:
        config = self._config
        if config.limit_threshold is None:
            return self._priced, self._priced
        change = self.close / self._before - 1.0
        if "change" in self._panel.fields:
            given = self._field("change")
            # qlib takes a missing change for none.
            change = given if config.rules == "qlib" else np.where(np.isnan(given), change, given)
        up, down = change >= config.limit_threshold, change <= -config.limit_threshold
        if config.forbid_all_trade_at_limit:
            up = down = up | down
        return self._priced & ~up, self._priced & ~down

    def _factors(self) -> Doubles:
        panel, hint = self._panel, "trade any amount with evaluation.portfolio.trade_unit=null"
        if "factor" not in panel.fields:
            what, got = "Lots need the adjustment factor, and the panel has none.", ", ".join(panel.fields)
            raise DataError(what, where="panel.fields", got=got, expected="a field `factor`", hint=hint)
        factor = self._field("factor")
        # Who is bought at a time had a score, as a member, at the time before.
        scored = np.zeros_like(panel.membership)
        scored[1:] = panel.membership[:-1]
        lacking = self._priced & ~(factor > 0) & scored[self._span]
        if lacking.any():
            at, column = (int(v[0]) for v in np.nonzero(lacking))
            what = f"{int(lacking.sum())} traded prices have no positive adjustment factor."
            where = f"{panel.instruments[column]} at {panel.calendar.format(self._span.start + at)}"
            raise DataError(what, where=where, got=factor[at, column], hint=hint)
        return factor

    def _returns_of_benchmark(self) -> Doubles:
        busy = slice(self._span.start, self._span.start + self.stop)
        if self._config.benchmark == "index":
            return self._returns_of_index(busy)
        if self._config.benchmark == "cash":
            return np.zeros(self.stop)
        close, before = self.close[: self.stop], self._before[: self.stop]
        known = self._panel.membership[busy] & ~np.isnan(close) & ~np.isnan(before)
        change = np.where(known, close / before - 1.0, 0.0)
        counts = known.sum(axis=1)
        if (counts == 0).any():
            self.notes.append(
                f"at {int((counts == 0).sum())} of {counts.size} test periods no member traded: the universe's return "
                "is 0 there, and counts at the next price"
            )
        return np.asarray(change.sum(axis=1) / np.maximum(counts, 1))

    def _returns_of_index(self, span: slice) -> Doubles:
        """Return the index's return since its last level; 0 where it has none, its return counts at the next level."""
        index, shown, where = self._panel.benchmark, self._panel.calendar.format, "evaluation.portfolio.benchmark"
        if index is None:
            what = "The panel has no benchmark index."
            hint = "data.benchmark=FILE gives the panel an index, where the source has that key"
            raise ConfigError(what, where=where, got="index", expected="universe | cash", hint=hint)
        level = index.close.astype(np.float64)
        known, times = np.flatnonzero(~np.isnan(level)), np.arange(span.start, span.stop)
        covered = (times > known[0]) & (times <= known[-1]) if known.size else np.zeros(times.size, dtype=np.bool_)
        if not covered[max(1 - span.start, 0) :].all():
            held = f"{shown(int(known[0]))} … {shown(int(known[-1]))}" if known.size else "none"
            raise DataError(
                f"The benchmark {index.name} does not cover the test range: the return of "
                f"{int((~covered).sum())} of {times.size} test periods is not known.",
                where=where,
                got=f"levels {held}",
                expected=f"from before {shown(span.start)} to {shown(span.stop - 1)}",
                hint="give the missing levels, shorten windows.test, or take evaluation.portfolio.benchmark=universe",
            )
        change = level[span] / _before(level)[span] - 1.0
        holes = np.isnan(change)
        if holes.any():
            self.notes.append(
                f"the benchmark {index.name} has no level at {int(holes.sum())} of {holes.size} test periods, "
                f"first {shown(int(times[holes][0]))}: its return counts at the next level"
            )
        return np.where(holes, 0.0, change)


def _before(values: Doubles) -> Doubles:
    """Return the last value before each time that was not missing, along the first axis; NaN where there is none."""
    at = np.arange(values.shape[0]).reshape(-1, *[1] * (values.ndim - 1))
    newest = np.maximum.accumulate(np.where(np.isnan(values), 0, at), axis=0)
    before = np.full_like(values, np.nan)
    before[1:] = np.take_along_axis(values, newest, axis=0)[:-1]
    return before


_MOVED = 2e-3  # smaller changes are alike in every unit
_ABSOLUTE, _RELATIVE = 1e-3, 0.02  # rounding of published changes, and of prices
_MOST, _MOST_OF_ONE = 0.05, 0.2  # share of rows that may disagree: of all, and of one instrument
_FEWEST = 5  # rows that say anything about one instrument
_BETTER = 0.2  # another unit is taken for the field's when it misses by this share of what a ratio does


def check_change(panel: Panel, start: int, stop: int) -> None:
    """Refuse a panel whose field ``change`` disagrees with its prices at calendar positions [start, stop).

    Single rows may disagree, at a split or a dividend that the prices leave out; a whole instrument may not, and no
    more than a twentieth of all rows. Without the field there is nothing to check.

    Raises:
        DataError: With the rows, the first instrument and time, and the unit or the factor by which the field is off.
    """
    if "change" not in panel.fields:
        return
    close, span = panel.fields[panel.price_field][:stop].astype(np.float64), slice(max(start, 1), stop)
    before, given = _before(close)[span], panel.fields["change"][span].astype(np.float64)
    with np.errstate(invalid="ignore"):
        moved = close[span] / before - 1.0
        counts = panel.membership[span] & ~(np.isnan(moved) | np.isnan(given))
        counts &= np.maximum(np.abs(moved), np.abs(given)) > _MOVED
        off = counts & (np.abs(given - moved) > _ABSOLUTE + _RELATIVE * np.abs(moved))
    rows = counts.sum(axis=0)  # (N,)
    wrong = (rows >= _FEWEST) & (off.sum(axis=0) > _MOST_OF_ONE * rows)
    unit = _unit(given[counts], moved[counts], before[counts])
    if unit is None and not wrong.any() and off.sum() <= _MOST * max(int(rows.sum()), 1):
        return
    bad = off & wrong if wrong.any() and unit is None else off if off.any() else counts
    unit = unit or _unit(given[bad], moved[bad], before[bad])
    at, column = (int(v[0]) for v in np.nonzero(bad))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = float(np.nanmedian(given[bad] / moved[bad]))
    raise DataError(
        f"The field `change` is not the close over the close before, minus one: {int(bad.sum()):,} of "
        f"{int(rows.sum()):,} rows of members that moved disagree, in {int(bad.any(axis=0).sum())} instrument(s); it "
        f"{'looks like ' + unit if unit else 'has no unit that is known'} (median factor {factor:.4g}).",
        where=f"panel.fields.change, first {panel.instruments[column]} at {panel.calendar.format(span.start + at)}",
        got=f"{given[at, column]:.6g}",
        expected=f"{moved[at, column]:.6g}, as price limits of evaluation.portfolio.limit_threshold take it",
        hint="give it as a ratio, leave the field out (limits are then made of the close), or set limit_threshold=null",
    )


def _unit(given: Doubles, moved: Doubles, before: Doubles) -> str | None:
    if given.size < _FEWEST:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        units = {
            "per cent, 100 times a ratio": moved * 100.0,
            "basis points, 10,000 times a ratio": moved * 1e4,
            "money, the close minus the close before": moved * before,
            "the close over the close before": 1.0 + moved,
            "a logarithm of the close over the close before": np.log1p(moved),
            "the change with its sign turned": -moved,
        }
    error = float(np.median(np.abs(given - moved)))
    misses = {name: float(np.nanmedian(np.abs(given - values))) for name, values in units.items()}
    best = min(misses, key=lambda name: misses[name])
    return best if error > 1e-5 and misses[best] < _BETTER * error else None
