"""Strategies that give every instrument a share of the account: dollar-neutral long-short, and weights by the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from harness.errors.limits import Fraction, Share
from harness.evaluation.portfolio.strategy import Decision, Orders, Trading

Multiple = Annotated[float, Gt(0), Le(10)]


@dataclass(frozen=True)
class LongShort(Trading):
    """A dollar-neutral strategy: long the best, short the worst, as much of each; alike within a side.

    Where fewer than two instruments have a score, or all scores are equal, nothing is ordered.

    Attributes:
        quantile: Share of the instruments with a score on each side, rounded down, at least one of them.
        exposure: Value of each side as a share of the account: 0.5 invests its value once, half of it borrowed.
        turnover: Value of all orders of a period at most, as a share of the account, sales and purchases alike: beyond
            it all orders are made smaller alike. None: no limit.
        borrow_fee: What borrowed shares cost per year of 365 days, as a share of their value at the last close.

    Raises:
        ConfigError: When a number is impossible.
    """

    quantile: Annotated[float, Gt(0), Le(0.5)] = 0.2
    exposure: Multiple = 0.5
    turnover: Multiple | None = None
    borrow_fee: Fraction = 0.005

    def orders(self, decision: Decision) -> Orders:
        """Move every holding to its weight; what has no score any more is ended."""
        ranking = np.argsort(-decision.score, kind="stable")
        ranking = ranking[~np.isnan(decision.score[ranking])]
        weights = np.full(decision.score.size, np.nan)
        if ranking.size > 1 and decision.score[ranking[0]] > decision.score[ranking[-1]]:
            count = max(int(self.quantile * ranking.size), 1)
            weights[:] = 0.0
            weights[ranking[:count]], weights[ranking[-count:]] = self.exposure / count, -self.exposure / count
        return decision.towards(weights, turnover=self.turnover)


@dataclass(frozen=True)
class ScoreWeighted(Trading):
    """A long-only strategy: hold what scores above the mean, in proportion to how far it does.

    Where all scores are equal nothing is ordered.

    Attributes:
        exposure: Share of the account that is invested; the rest pays costs.
        turnover: Value of all orders of a period at most, as a share of the account, sales and purchases alike: beyond
            it all orders are made smaller alike. None: no limit.

    Raises:
        ConfigError: When a number is impossible.
    """

    exposure: Share = 0.95
    turnover: Multiple | None = 0.1

    def orders(self, decision: Decision) -> Orders:
        """Move every holding to its weight; what has no score any more is ended."""
        above = np.fmax(decision.score - np.nanmean(decision.score), 0.0)  # 0 without a score
        total = float(above.sum())
        weights = self.exposure * above / total if total > 0 else np.full(above.size, np.nan)
        return decision.towards(weights, turnover=self.turnover)
