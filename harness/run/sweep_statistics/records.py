"""What a sweep's statistics are kept in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.evaluation.significance import BacktestOverfitting, DeflatedSharpe, SubPeriod

LEVEL = 0.05  # of the paired tests
SIZE = 0.10  # of the confidence set


@dataclass(frozen=True)
class Difference:
    """A metric of a cell minus that of the reference.

    Attributes
    ----------
    difference
        In the unit of the metric's series: per time, not annualised.
    low, high
        Bounds of the paired bootstrap's interval; None where undefined.
    p_hac, p_bootstrap
        Two-sided p-values of no difference: Diebold–Mariano by the cosine estimator, and paired bootstrap.
    verdict
        ``better`` or ``worse`` when both tests reject at 5 %, ``same`` otherwise; ``differs`` where no side is better.
    times
        Times that both have.
    """

    difference: float
    low: float | None
    high: float | None
    p_hac: float | None
    p_bootstrap: float | None
    verdict: str
    times: int


@dataclass(frozen=True)
class RowStatistics:
    """What is known of one cell.

    Attributes
    ----------
    name
        The cell.
    reference
        The cell of its scenario that it is held against; itself where it is one.
    why_not_comparable
        Why it is held against nothing; None for the reference and what can be compared with it.
    differences
        Metric → difference to the reference; empty for the reference.
    confidence_p
        The smallest size at which the confidence set leaves it out; None when it is not in the comparison.
    in_confidence_set
        Whether it may be the best, at 10 %.
    deflated_sharpe
        Of its excess return against the best of all cells by chance; None without a portfolio.
    years, regimes
        Mean of the series behind the ordering metric per year and per volatility regime, with HAC t-values.
    """

    name: str
    reference: str
    why_not_comparable: str | None
    differences: Mapping[str, Difference]
    confidence_p: float | None
    in_confidence_set: bool | None
    deflated_sharpe: DeflatedSharpe | None
    years: tuple[SubPeriod, ...]
    regimes: tuple[SubPeriod, ...]


@dataclass(frozen=True)
class SweepStatistics:
    """What is known of a sweep.

    Attributes
    ----------
    metric
        The metric that orders the table, behind confidence set and stability.
    references
        The cells that the others are held against, one per scenario.
    rows
        One per cell that has run, in their order.
    trials
        Cells with a portfolio: how many strategies the deflated Sharpe ratio takes to have been tried.
    overfitting
        Probability that the best of the comparable portfolios was picked by luck; None without two of them.
    notes
        What could not be computed, and why.
    """

    metric: str
    references: tuple[str, ...]
    rows: tuple[RowStatistics, ...]
    trials: int
    overfitting: BacktestOverfitting | None
    notes: tuple[str, ...]

    @property
    def reference(self) -> str:
        """The reference of the first scenario."""
        return self.references[0]

    def row(self, name: str) -> RowStatistics | None:
        """Return the statistics of a cell, or None when it did not run."""
        return next((row for row in self.rows if row.name == name), None)

    def record(self) -> dict[str, Any]:
        """Return everything as plain data; what is undefined is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return {"reference": self.reference, **plain}


def finite(value: float) -> float | None:
    """Return a number as it is, and None when it is undefined."""
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return finite(value) if isinstance(value, float) else value
