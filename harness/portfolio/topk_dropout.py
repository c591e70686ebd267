"""Top-k dropout: hold the k best scores, replace at most n of them each time (qlib ``TopkDropoutStrategy``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError

__all__ = ["TopkDropout", "choose"]

Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TopkDropout:
    """A strategy, its account, and the rules and costs of the exchange.

    Attributes
    ----------
    topk
        Instruments to hold.
    n_drop
        Instruments replaced at most at each time.
    risk_degree
        Share of the cash at hand that is spent on purchases.
    hold_thresh
        Times that an instrument is held before it may be sold.
    account
        Cash at the start.
    deal_price
        Panel field at which orders are filled; where it is missing or zero, the close.
    limit_threshold
        An instrument whose price changed by at least this share since its last close has hit its limit. None: no
        limits.
    forbid_all_trade_at_limit
        At a limit, refuse both sides; otherwise refuse to buy at the upper and to sell at the lower limit only.
    open_cost, close_cost
        Cost of a purchase and of a sale, as a share of its value.
    min_cost
        Smallest cost of one order.
    trade_unit
        Raw shares in a lot; purchases are rounded down to lots, with the field ``factor`` (adjusted price = raw price ×
        factor). None: any amount.
    benchmark
        ``index``: the panel's benchmark. ``universe``: all members alike, rebalanced at each time. ``cash``: zero.
    accumulate
        Returns add up (``sum``, as qlib reports them) or compound (``product``).

    Raises
    ------
    ConfigError
        When a number is impossible.
    """

    topk: int = 50
    n_drop: int = 5
    risk_degree: float = 0.95
    hold_thresh: int = 1
    account: float = 1e8
    deal_price: str = "close"
    limit_threshold: float | None = 0.095
    forbid_all_trade_at_limit: bool = True
    open_cost: float = 0.0005
    close_cost: float = 0.0015
    min_cost: float = 5.0
    trade_unit: int | None = 100
    benchmark: Literal["index", "universe", "cash"] = "index"
    accumulate: Literal["sum", "product"] = "sum"

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        limits = (
            ("topk", self.topk >= 1, "≥ 1"),
            ("n_drop", 0 <= self.n_drop <= self.topk, f"0 … topk = {self.topk}"),
            ("risk_degree", 0.0 < self.risk_degree <= 1.0, "0 < risk_degree ≤ 1"),
            ("hold_thresh", self.hold_thresh >= 0, "≥ 0"),
            ("account", self.account > 0.0, "> 0"),
            ("limit_threshold", self.limit_threshold is None or self.limit_threshold > 0.0, "> 0, or null"),
            ("open_cost", 0.0 <= self.open_cost < 1.0, "0 ≤ open_cost < 1"),
            ("close_cost", 0.0 <= self.close_cost < 1.0, "0 ≤ close_cost < 1"),
            ("min_cost", self.min_cost >= 0.0, "≥ 0"),
            ("trade_unit", self.trade_unit is None or self.trade_unit >= 1, "≥ 1, or null"),
        )
        for name, possible, expected in limits:
            if not possible:
                raise ConfigError(
                    "This number is impossible for a portfolio.",
                    where=f"evaluation.portfolio.{name}",
                    got=getattr(self, name),
                    expected=expected,
                )


def choose(score: Doubles, held: npt.NDArray[np.bool_], topk: int, n_drop: int) -> tuple[Codes, Codes]:
    """Return the instruments to sell and those to buy, by the scores of the time before.

    Candidates are the best instruments not held: n_drop, and as many more as free places. Holdings and candidates are
    ranked together; holdings among the last n_drop are to be sold, and the best candidates take the places. A holding
    without a score ranks last. Of equal scores the earlier instrument ranks first.

    Parameters
    ----------
    score
        (N,) float64, NaN where there is no score.
    held
        (N,) bool.
    topk, n_drop
        See `TopkDropout`.

    Returns
    -------
    tuple of Codes
        Instrument columns to sell, in column order, and to buy, best first.
    """
    ranking = np.argsort(-score, kind="stable")  # NaN last
    holdings = int(held.sum())
    wanted = max(n_drop + topk - holdings, 0)
    best = ranking[~held[ranking] & ~np.isnan(score[ranking])][:wanted]
    pool = held.copy()
    pool[best] = True
    last = ranking[pool[ranking]]
    last = last[max(last.size - n_drop, 0) :]
    sell = np.sort(last[held[last]])
    return sell, best[: max(sell.size + topk - holdings, 0)]
