"""Judge predictions: the signal, and the portfolio that follows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from harness.data.panel import Panel
from harness.evaluation.extra import Metric, evaluate_extra
from harness.evaluation.notes import signal_notes
from harness.evaluation.portfolio import Rules, TopkDropout, backtest
from harness.evaluation.portfolio.evaluation import evaluate_portfolio
from harness.evaluation.predictions import Predictions
from harness.evaluation.record import Evaluation, merge
from harness.evaluation.signal import SignalEvaluation, evaluate_signal
from harness.evaluation.year import year_of


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
    def rules(self) -> Rules:
        """Whose rules hold where nothing is configured: the harness's, or qlib's."""
        ...

    @property
    def extra(self) -> tuple[Metric, ...]:
        """Metrics of the user's own."""
        ...


def evaluate(
    predictions: Predictions,
    panel: Panel,
    criteria: Criteria,
    *,
    horizon: int | None,
    look_ahead: int = 1,
    same_unit: bool = True,
) -> Evaluation:
    """Judge predictions by all that `criteria` ask for: the signal, the portfolio that follows it, the user's own.

    All of them take a year to have the same number of times, see `year_of`.

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
    look_ahead
        A label at s is known at s + look_ahead.
    same_unit
        Scores are in the unit of the raw label, see `evaluate_signal`.
    """
    year = year_of(panel.calendar, criteria.signal.periods_per_year, criteria.rules)
    config = replace(criteria.signal, periods_per_year=year.periods)
    signal = evaluate_signal(predictions, config, horizon, same_unit=same_unit)
    year_notes = () if year.note is None else (year.note,)
    parts = [replace(signal, notes=(*year_notes, *signal_notes(predictions, look_ahead)))]
    if criteria.portfolio is not None:
        parts.append(evaluate_portfolio(backtest(panel, predictions, criteria.portfolio), year.periods))
    if criteria.extra:
        parts.append(evaluate_extra(predictions, criteria.extra, panel))
    return merge(*parts)
