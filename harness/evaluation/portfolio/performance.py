"""What a series of returns looks like: the way of an account, and how far it lies below its highest point."""

from __future__ import annotations

import numpy as np

from harness.evaluation.formulas import Doubles


def accumulated(returns: Doubles, *, compounds: bool) -> Doubles:
    """Return (S,) the return up to each time: the sum, or the product minus one; NaN counts as no return."""
    filled = np.nan_to_num(returns)
    result: Doubles = np.expm1(np.cumsum(np.log1p(filled))) if compounds else np.cumsum(filled)
    return result


def drawdown(value: Doubles, *, compounds: bool) -> Doubles:
    """Return (S,) how far each value lies below the highest before it (from 0 on), relative when it compounds."""
    top = np.maximum.accumulate(np.maximum(value, 0.0))
    return (1 + value) / (1 + top) - 1 if compounds else value - top
