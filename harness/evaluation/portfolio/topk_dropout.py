"""Top-k dropout: hold the k best scores, replace at most n of them each time (qlib ``TopkDropoutStrategy``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import ConfigError
from harness.errors.limits import Count, Natural, Share
from harness.evaluation.portfolio.strategy import Codes, Decision, Doubles, Flags, Orders, Trading


@dataclass(frozen=True)
class TopkDropout(Trading):
    """A strategy: hold the best, replace the worst of them by better ones; with its account, rules and costs.

    Attributes:
        topk: Instruments to hold.
        n_drop: Instruments replaced at most in each period.
        risk_degree: Share of the cash at hand that is spent on purchases.
        hold_thresh: Periods that an instrument is held before it may be sold.

    Raises:
        ConfigError: When a number is impossible.
    """

    topk: Count = 50
    n_drop: Natural = 5
    risk_degree: Share = 0.95
    hold_thresh: Natural = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_drop > self.topk:
            where, expected = "evaluation.portfolio.n_drop", f"0 … topk = {self.topk}"
            raise ConfigError("More cannot be dropped than are held.", where=where, got=self.n_drop, expected=expected)

    def orders(self, decision: Decision) -> Orders:
        """Sell whole positions, and spend risk_degree of the cash in equal parts on the places that are free.

        A sale that the exchange refuses makes way for the next worst holding; by qlib's rules it counts as executed.
        """
        held, young = decision.shares > 0, decision.held_for < self.hold_thresh
        if self.rules == "qlib":
            stuck, places = None, None
        else:
            stuck, places = held & (young | decision.refused), self.topk
        sell, buy = choose(decision.score, held, self.topk, self.n_drop, stuck)
        return Orders(sell[~young[sell]], buy, spend=self.risk_degree, places=places)


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
    key, holdings = -score, int(np.count_nonzero(held))
    free = key.copy()
    free[held] = np.nan
    best = _first(free, n_drop + topk - holdings)
    pool = held.copy() if stuck is None else held & ~stuck
    pool[best] = True
    ranked = pool.nonzero()[0]
    last = ranked[key[ranked].argsort(kind="stable")[max(ranked.size - n_drop, 0) :]]  # NaN last
    sell = last[held[last]]
    sell.sort()
    return sell, best[: max(sell.size + topk - holdings, 0)]


def _first(key: Doubles, most: int) -> Codes:
    """Return the positions of the smallest keys, at most so many: the smallest first, of equal ones the earlier."""
    if most <= 0:
        return np.empty(0, dtype=np.int64)
    # Not a whole sort: which of equal keys a partition puts first is open, what its last key is worth is not.
    end = key[key.argpartition(most - 1)[most - 1]] if most < key.size else np.nan
    found = (key == key if np.isnan(end) else key <= end).nonzero()[0]
    return found[key[found].argsort(kind="stable")[:most]]
