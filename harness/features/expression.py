"""Expressions: parsing them, and which times they read, known before any data is."""

from __future__ import annotations

import math

from harness.features.nodes import Expression, Field, Number
from harness.features.operators import OPERATORS, Reads


def look_ahead(expression: Expression) -> int:
    """Return how many times after t a value at t reads; 0 when it never reads the future.

    Exact, not an upper bound: ``Ref(Ref($close, -5), 5)`` reads time t only.
    """
    return int(max(0.0, _reach(expression)[1]))


def look_back(expression: Expression) -> int | None:
    """Return how many times before t a value at t reads; None when it reads back to the first time.

    Expanding windows (0), ``EMA`` and a reference to the first time have no bound. Where a series begins (when its
    windows begin to fill) may lie further back than a bounded value reads.
    """
    back = max(0.0, -_reach(expression)[0])
    return None if math.isinf(back) else int(back)


def _reach(expression: Expression) -> tuple[float, float]:
    """Return the oldest and the newest time that a value at time 0 reads, or (inf, −inf) when it reads none."""
    if isinstance(expression, Field):
        return 0.0, 0.0
    if isinstance(expression, Number):
        return math.inf, -math.inf
    spans = [_reach(series) for series in expression.series]
    oldest, newest = min(span[0] for span in spans), max(span[1] for span in spans)
    reads = OPERATORS[expression.operator].reads
    if reads is Reads.NOW:
        return oldest, newest
    by = expression.parameters[0]
    if reads is Reads.PAST or by == 0 or isinstance(by, str):
        return -math.inf, newest
    if reads is Reads.WINDOW:
        return oldest - by + 1, newest
    if reads is Reads.SHIFTED:
        return oldest - by, newest - by
    return min(oldest, oldest - by), max(newest, newest - by)
