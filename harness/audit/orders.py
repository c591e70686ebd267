"""Orders: what they were decided by, and whether their price and their acceptance can be had at their time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.audit.verdict import Finding
from harness.config import EvaluationConfig
from harness.data.panel import Panel
from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.strategy import Decision, Orders, Strategy, Trading

Arrays = dict[str, npt.NDArray[Any]]

# Shares of prices, and a number of instruments, that are no accident.
_UNCHANGED, _ELSEWHERE, _EXTREME, _FEWEST = 0.1, 0.1, 0.5, 10
_ROUNDING = 1e-4  # of a price: fields are float32, and may be adjusted and rounded each by itself
_SAME = 1e-9  # of an account that has traded the same


@dataclass(frozen=True)
class Recorded:
    """A strategy whose orders are kept: for each time the first that it makes, before the exchange has refused any."""

    inner: Strategy
    made: dict[np.datetime64, Arrays] = field(default_factory=dict)

    @property
    def trading(self) -> Trading:
        return self.inner.trading

    def orders(self, decision: Decision) -> Orders:
        made = self.inner.orders(decision)
        if decision.time not in self.made:
            sides = np.zeros(len(decision.instruments))
            sides[made.sell], sides[made.buy] = -1.0, 1.0
            wanted = np.zeros(sides.size) if made.shares is None else np.where(sides != 0, made.shares, 0.0)
            account = np.array([decision.cash, decision.value, decision.shares.sum()])
            self.made[decision.time] = {"sides": sides, "wanted": wanted, "account": account}
        return made


def recording(criteria: EvaluationConfig) -> tuple[EvaluationConfig, Recorded | None]:
    """Return the criteria with a strategy whose orders are kept, and that one; None where nothing is traded."""
    if criteria.portfolio is None:
        return criteria, None
    recorded = Recorded(criteria.portfolio)
    return replace(criteria, portfolio=recorded), recorded


def orders(recorded: Recorded, panel: Panel, at: int) -> Arrays:
    """Return what orders at one calendar position meet, as the portfolio's market has it, beside what was ordered.

    ``deal`` (N,) float64, NaN while suspended; ``range`` (N, 2) float64, lowest and highest price of the time, NaN
    where the panel has none; ``limits`` (N, 2) bool: may it be bought, sold; N instruments.
    """
    market = _market(panel, at, at + 1, recorded.trading)
    limits = np.stack([market.can_buy[0], market.can_sell[0]], axis=1)
    low, high = (bounds[at] for bounds in _bounds(panel))
    found = {"deal": market.deal[0], "range": np.stack([low, high], axis=1), "limits": limits}
    made = recorded.made.get(panel.calendar.times[at - 1], {})
    return {"instruments": np.array(panel.instruments, np.str_), **found, **made}


def _market(panel: Panel, start: int, stop: int, trading: Trading) -> Market:
    return Market(panel, start, stop, replace(trading, benchmark="cash", trade_unit=None))


def _bounds(panel: Panel) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    nothing = np.full(panel.membership.shape, np.nan)
    return panel.fields.get("low", nothing), panel.fields.get("high", nothing)


def known_before(real: Arrays, other: Arrays, limited: bool, date: str, is_made: bool) -> Iterator[Finding]:
    """Hold the orders of one time against those in a world that is another one from that time on.

    What is the same there was known before: a price and its acceptance must not be. What was ordered must be: it was
    decided before. `is_made`: the price is made of other fields, so that it has to lie within the bar of its time.
    """
    names, left, right = np.intersect1d(real["instruments"], other["instruments"], return_indices=True)
    prices = [values["deal"][rows] for values, rows in ((real, left), (other, right))]
    both = np.isfinite(prices[0]) & np.isfinite(prices[1])
    same = both & (prices[0] == prices[1])
    if same.sum() > _UNCHANGED * max(int(both.sum()), 1):
        what = f"{same.sum()} of {both.sum()} order prices are known when their signal is made."
        first = int(np.flatnonzero(same)[0])
        yield Finding(what, f"{names[first]} at {date}", f"{prices[0][first]:.6g}, whatever the market does")
    if is_made:
        low, high = other["range"].T
        yield from _elsewhere(other["deal"], low, high, f"{date}, in another market")
    if limited and both.sum() >= _FEWEST:
        accepted = [values["limits"][rows][both] for values, rows in ((real, left), (other, right))]
        if np.array_equal(accepted[0], accepted[1]):
            yield Finding("Whether an order is accepted is known when its signal is made.", date)
    if "account" not in real or "account" not in other:
        return
    if not np.allclose(real["account"], other["account"], rtol=_SAME, atol=0):
        return  # something that was written down has traded again, and changed the account before the orders
    for name in ("sides", "wanted"):
        moved = np.flatnonzero(~np.isclose(real[name][left], other[name][right], rtol=_SAME, atol=0))
        if moved.size:
            what = f"{moved.size} orders are others when the market is, after the signal that they follow."
            yield Finding(what, f"{names[moved[0]]} at {date}")
            return


def out_of_reach(panel: Panel, trading: Trading, start: int, stop: int, date: str) -> Iterator[Finding]:
    """Hold the prices of orders at calendar positions [start, stop) against the lowest and the highest of their time.

    Nobody trades beyond these, and which price is the lowest nobody knows before the time is over.
    """
    deal = _market(panel, start, stop, trading).deal
    low, high = (bounds[start:stop] for bounds in _bounds(panel))
    yield from _elsewhere(deal, low, high, date)
    moved = np.isfinite(deal) & (high > low * (1 + 2 * _ROUNDING))
    for bound, name in ((low, "lowest"), (high, "highest")):
        at_bound = moved & (np.abs(deal - bound) <= _ROUNDING * bound)
        if at_bound.sum() > _EXTREME * max(int(moved.sum()), 1):
            what = f"{at_bound.sum()} of {moved.sum()} order prices are the {name} of their time."
            yield Finding(what, date, "known when the time is over", "a price that can be had")


def _elsewhere(deal: npt.NDArray[Any], low: npt.NDArray[Any], high: npt.NDArray[Any], where: str) -> Iterator[Finding]:
    known = np.isfinite(deal) & np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        outside = known & ((deal < low * (1 - _ROUNDING)) | (deal > high * (1 + _ROUNDING)))
    if outside.sum() > _ELSEWHERE * max(int(known.sum()), 1):
        what = f"{outside.sum()} of {known.sum()} order prices lie outside the range of prices of their time."
        yield Finding(what, where, "nobody has traded there")
