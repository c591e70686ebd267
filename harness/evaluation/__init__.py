"""Judge predictions: the signal, and the portfolio that follows it."""

from __future__ import annotations

from typing import Protocol

from harness.data.panel import Panel
from harness.evaluation.extra import Metric, check_extra, evaluate_extra, own_directions, own_metrics
from harness.evaluation.intervals import ESTIMATES, Estimate, Judged, intervals
from harness.evaluation.metric_records import (
    COLUMNS,
    METRIC_DIRECTIONS,
    METRICS,
    MetricRecord,
    headings_of,
    own_metric,
)
from harness.evaluation.portfolio import evaluate_portfolio
from harness.evaluation.record import Evaluation, Number, Record, merge, read_series
from harness.evaluation.signal import SignalEvaluation, evaluate_signal
from harness.portfolio import TopkDropout, backtest
from harness.predictions import Predictions

__all__ = [
    "COLUMNS",
    "ESTIMATES",
    "METRICS",
    "METRIC_DIRECTIONS",
    "Criteria",
    "Estimate",
    "Evaluation",
    "Judged",
    "Metric",
    "MetricRecord",
    "Number",
    "Record",
    "SignalEvaluation",
    "check_extra",
    "evaluate",
    "evaluate_extra",
    "evaluate_portfolio",
    "evaluate_signal",
    "headings_of",
    "intervals",
    "merge",
    "own_directions",
    "own_metric",
    "own_metrics",
    "read_series",
]


class Criteria(Protocol):
    """What predictions are judged by."""

    @property
    def signal(self) -> SignalEvaluation:
        """How the signal is judged."""
        ...

    @property
    def portfolio(self) -> TopkDropout | None:
        """The strategy whose portfolio is judged; None for the signal alone."""
        ...

    @property
    def extra(self) -> tuple[Metric, ...]:
        """Metrics of the user's own."""
        ...


def evaluate(predictions: Predictions, panel: Panel, criteria: Criteria, *, horizon: int | None) -> Evaluation:
    """Judge predictions by all that `criteria` ask for: the signal, the portfolio that follows it, the user's own.

    Parameters
    ----------
    predictions
        Scores and raw labels of the test range.
    panel
        The market of the portfolio.
    criteria
        How to judge.
    horizon
        Times that the label's return spans; None when the label is not a return.
    """
    parts = [evaluate_signal(predictions, criteria.signal, horizon)]
    if criteria.portfolio is not None:
        result = backtest(panel, predictions, criteria.portfolio)
        parts.append(evaluate_portfolio(result, criteria.signal.periods_per_year))
    if criteria.extra:
        parts.append(evaluate_extra(predictions, criteria.extra))
    return merge(*parts)
