"""Top-k dropout: hold the k best scores, replace at most n of them each time (qlib ``TopkDropoutStrategy``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from harness.errors import ConfigError
from harness.errors.limits import Count, Fraction, Natural, NonNegative, Positive, Share, check_limits

Rules = Literal["harness", "qlib"]

Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_PATIENCE = 40  # two months of daily data; longer suspensions are no loss for good: what trades again is sold


@dataclass(frozen=True)
class TopkDropout:
    """A strategy, its account, and the rules and costs of the exchange.

    Attributes:
        topk: Instruments to hold.
        n_drop: Instruments replaced at most in each period.
        risk_degree: Share of the cash at hand that is spent on purchases.
        hold_thresh: Periods that an instrument is held before it may be sold.
        account: Cash at the start.
        deal_price: Panel field at which orders are filled; where it is missing or zero, the close.
        limit_threshold: An instrument whose price changed by at least this share since its last close has hit its
            limit. None: no limits.
        forbid_all_trade_at_limit: At a limit, refuse both sides; otherwise refuse to buy at the upper and to sell at
            the lower limit only.
        open_cost, close_cost: Cost of a purchase and of a sale, as a share of its value.
        min_cost: Smallest cost of one order.
        trade_unit: Raw shares in a lot; purchases are rounded down to lots, with the field ``factor`` (adjusted price =
            raw price × factor). None: any amount.
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
        delisted_loss: Share of its last price that a written-down holding is valued less.

    Raises:
        ConfigError: When a number is impossible.
    """

    topk: Count = 50
    n_drop: Natural = 5
    risk_degree: Share = 0.95
    hold_thresh: Natural = 1
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

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.portfolio")
        if self.n_drop > self.topk:
            where, expected = "evaluation.portfolio.n_drop", f"0 … topk = {self.topk}"
            raise ConfigError("More cannot be dropped than are held.", where=where, got=self.n_drop, expected=expected)

    @property
    def needs_volume(self) -> bool:
        """Whether an instrument without volume is suspended."""
        return (self.suspended_when or ("no_close" if self.rules == "qlib" else "no_volume")) == "no_volume"

    @property
    def patience(self) -> int | None:
        """Times without a price after which a holding is written down; None: never."""
        by_rules = 0 if self.rules == "qlib" else _PATIENCE
        return (by_rules if self.delisted_after is None else self.delisted_after) or None


def choose(score: Doubles, held: Flags, topk: int, n_drop: int, stuck: Flags | None = None) -> tuple[Codes, Codes]:
    """Return the instruments to sell, in column order, and to buy, best first, by the scores of the time before.

    Candidates are the best instruments not held: n_drop, and as many more as free places. Holdings and candidates are
    ranked together; holdings among the last n_drop are to be sold, and the best candidates take the places. A holding
    without a score ranks last. Of equal scores the earlier instrument ranks first.

    Args:
        score: (N,) float64, NaN where there is no score.
        held: (N,) bool, `stuck` ones too.
        stuck: (N,) bool, holdings that cannot be sold; they keep their places and are not ranked. None: there are none.
    """
    ranking = np.argsort(-score, kind="stable")  # NaN last
    holdings = int(held.sum())
    wanted = max(n_drop + topk - holdings, 0)
    best = ranking[~held[ranking] & ~np.isnan(score[ranking])][:wanted]
    pool = held.copy() if stuck is None else held & ~stuck
    pool[best] = True
    last = ranking[pool[ranking]]
    last = last[max(last.size - n_drop, 0) :]
    sell = np.sort(last[held[last]])
    return sell, best[: max(sell.size + topk - holdings, 0)]
