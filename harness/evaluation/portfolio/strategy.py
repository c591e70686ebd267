"""What a strategy is: it makes orders of scores, holdings and what is known at the decision, by a market's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from harness.errors.limits import Fraction, Natural, NonNegative, Positive, check_limits
from harness.evaluation.portfolio.costs import CostModel
from harness.store.records import LATER

Rules = Literal["harness", "qlib"]

Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_PATIENCE = 40  # two months of daily data; longer suspensions are no loss for good: what trades again is sold


@dataclass(frozen=True)
class Trading:
    """The account of a strategy, and the rules and costs of its exchange; a strategy inherits them.

    Attributes:
        account: Cash at the start.
        deal_price: Panel field at which orders are filled; where it is missing or zero, the close.
        limit_threshold: An instrument whose price changed by at least this share since its last close has hit its
            limit. None: no limits.
        forbid_all_trade_at_limit: At a limit, refuse both sides; otherwise refuse to buy at the upper and to sell at
            the lower limit only.
        open_cost, close_cost: Cost of a purchase and of a sale, as a share of its value.
        min_cost: Smallest cost of one order.
        trade_unit: Raw shares in a lot; purchases are rounded down to lots, with the field ``factor`` (adjusted price =
            raw price × factor), and so are sales that do not end a holding. None: any amount.
        benchmark: ``index``: the panel's benchmark. ``universe``: all members alike, rebalanced at each time. ``cash``:
            zero.
        accumulate: Returns add up (``sum``, as qlib reports them) or compound (``product``).
        rules: ``harness``: a refused sale does not use up a place, the next worst holding is tried, and purchases fill
            the places that are free after the executed sales. ``qlib``: planned sales count as executed, so that
            holdings may exceed topk, and a missing ``change`` is no limit.
        suspended_when: ``no_volume``: no close, or a volume that is missing or zero, where the panel has volumes.
            ``no_close``: no close. None: ``no_volume``, by qlib's rules ``no_close``.
        delisted_after: Consecutive periods without any price after which a holding is written down and gives up its
            place, by what is known at that time. Should it trade again, it is sold at once. 0: never. None: 40, by
            qlib's rules never.
        delisted_loss: Share of its last price that a written-down holding is valued less; what is owed is owed in full.
        borrow_fee: What borrowed shares cost per year of 365 days, as a share of their value at the last close. None:
            nothing can be borrowed, and sales end at what is held.
        costs: What every order pays on top, such as its impact on the price, see `harness.evaluation.portfolio.costs`.

    Raises:
        ConfigError: When a number is impossible.
    """

    account: Annotated[float, Gt(0), Le(1e18)] = 1e8
    deal_price: str = "close"
    limit_threshold: Positive | None = 0.095
    forbid_all_trade_at_limit: bool = True
    open_cost: Annotated[float, Ge(0), Lt(1)] = 0.0005
    close_cost: Annotated[float, Ge(0), Lt(1)] = 0.0015
    min_cost: NonNegative = 5.0
    trade_unit: Annotated[int, Ge(1), Le(1_000_000_000)] | None = 100
    benchmark: Literal["index", "universe", "cash"] = "index"
    accumulate: Literal["sum", "product"] = "sum"
    rules: Rules = "harness"
    suspended_when: Literal["no_volume", "no_close"] | None = None
    delisted_after: Natural | None = None
    delisted_loss: Fraction = 0.3
    borrow_fee: Fraction | None = field(default=None, metadata=LATER)
    costs: tuple[CostModel, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.portfolio")

    @property
    def trading(self) -> Trading:
        """The rules: itself, where a strategy inherits them."""
        return self

    @property
    def needs_volume(self) -> bool:
        """Whether an instrument without volume is suspended."""
        return (self.suspended_when or ("no_close" if self.rules == "qlib" else "no_volume")) == "no_volume"

    @property
    def patience(self) -> int | None:
        """Times without a price after which a holding is written down; None: never."""
        by_rules = 0 if self.rules == "qlib" else _PATIENCE
        return (by_rules if self.delisted_after is None else self.delisted_after) or None


@dataclass(frozen=True, eq=False)
class Orders:
    """What a strategy asks for at one time: sales in this order, then purchases in this order.

    Attributes:
        sell, buy: Instrument columns, each at most once.
        shares: (N,) float64, how many shares of each to sell or to buy, ≥ 0. None: sell all that is held, and spend
            equal parts of the cash that is there after the sales, `spend` of it in all, on the purchases.
        spend: Share of that cash.
        places: Purchases end where this many instruments are held; None: they do not.
    """

    sell: Codes
    buy: Codes
    shares: Doubles | None = None
    spend: float = 1.0
    places: int | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """What is known when orders are made: at the close of the time whose scores they follow. Copies, never views.

    The orders are executed at the next time, whose prices nobody knows yet.

    Attributes:
        time: Of the scores.
        instruments: Names of the N columns.
        score: (N,) float64, NaN where there is no score, and where a written-down holding waits to be sold.
        shares: (N,) float64 adjusted shares held; negative: short.
        held_for: (N,) int64, at how many closes the holding has been there.
        price: (N,) float64 last close; NaN where there has been none.
        cash, value: Of the account.
        refused: (N,) bool, orders to sell that the exchange has refused at this time; the strategy is asked again then.
        history: (panel field, periods) → (periods, N) float64, its newest values, the decision's time last; fewer rows
            at the beginning of the calendar.
    """

    time: np.datetime64
    instruments: tuple[str, ...]
    score: Doubles
    shares: Doubles
    held_for: Codes
    price: Doubles
    cash: float
    value: float
    refused: Flags
    history: Callable[[str, int], Doubles] = field(repr=False)

    def towards(self, weights: Doubles, *, turnover: float | None = None) -> Orders:
        """Return the orders that bring every holding to its share of the account, at the last known prices.

        Purchases come in the order of the scores, should the cash not be enough for all.

        Args:
            weights: (N,) share of the value of the account; negative: short. NaN: left as it is.
            turnover: Value of all orders at most, as a share of that of the account: all are made smaller alike where
                they are more. None: no limit.
        """
        known = (self.price > 0) & ~np.isnan(weights)
        price = np.where(known, self.price, 1.0)
        change = np.where(known, weights * self.value / price - self.shares, 0.0)
        traded = float(np.abs(change) @ price)
        if turnover is not None and traded > turnover * self.value:
            change *= turnover * self.value / traded
        best = np.argsort(-self.score, kind="stable")
        return Orders(np.flatnonzero(change < 0), best[change[best] > 0], np.abs(change))


@runtime_checkable
class Strategy(Protocol):
    """How scores are traded: a frozen dataclass that inherits `Trading` and makes orders."""

    @property
    def trading(self) -> Trading:
        """Account, rules and costs; `Trading` has it."""

    def orders(self, decision: Decision) -> Orders:
        """Return what to sell and to buy at the next time, by nothing but what is known at the decision.

        Asked again at the same time where the exchange has refused sales (`Decision.refused`), until no other one is.
        """
