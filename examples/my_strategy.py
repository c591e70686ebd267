"""A strategy of one's own: the best names, each with about the same risk.

Replace what `orders` returns. It sees scores, holdings and prices up to the close at which it decides; the orders are
executed at the next time, whose prices nobody knows yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness import Decision, Orders, Trading


@dataclass(frozen=True)
class MyStrategy(Trading):
    """The fields are keys of the YAML file, like those of `Trading`: the account, the market's rules and costs."""

    names: int = 5
    exposure: float = 0.95
    periods: int = 20

    def orders(self, decision: Decision) -> Orders:
        """Return what to sell and to buy at the next time."""
        close = decision.history("close", self.periods + 1)
        risk = np.std(np.diff(np.log(close), axis=0), axis=0)
        score = np.where(risk > 0, decision.score, np.nan)  # NaN: no score, or no risk that is known
        best = np.argsort(-score, kind="stable")[: self.names]
        best = best[~np.isnan(score[best])]
        weights = np.zeros(score.size)
        weights[best] = self.exposure / risk[best] / (1.0 / risk[best]).sum()
        return decision.towards(weights)
