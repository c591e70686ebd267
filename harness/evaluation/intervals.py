"""How sure each overall metric is: its interval, and for the mean ICs the t-value."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from harness.evaluation.evaluate import Criteria, Evaluation
from harness.evaluation.metrics import metrics_of
from harness.evaluation.significance.bootstrap import Bootstrap, bootstrap_intervals, question
from harness.evaluation.significance.hac import hac_mean
from harness.execution.progress import Observer

_TESTED = ("IC", "rank_IC")


def intervals(
    evaluation: Evaluation,
    criteria: Criteria,
    bootstrap: Bootstrap,
    *,
    horizon: int | None,
    look_ahead: int,
    observer: Observer | None = None,
) -> dict[str, dict[str, float | None]]:
    """Return the interval of every overall metric that follows from a series.

    Means and ratios have the symmetric studentised interval of `bootstrap_interval`, drawdowns the percentiles of
    resampled paths. Compounded returns are resampled as logarithms; their information ratio, a geometric mean over a
    standard deviation of logarithms, has no interval. The observer is told of the stage ``significance``.

    Returns:
        dict: Metric → ``low``, ``high``, ``level``, ``block_length``; for IC and rank IC also ``t`` and ``p`` of a true
            mean of zero, two-sided, from `hac_mean`. Undefined numbers are None: of a series into which fewer than five
            look-aheads fit, and of one that is nearly constant.
    """
    known = metrics_of(criteria.extra).values()
    metrics = [m for m in known if m.name in evaluation.overall and m.series in evaluation.series]
    compounding = criteria.portfolio is not None and criteria.portfolio.accumulate == "product"
    questions = []
    for metric in metrics:
        series, overlap = evaluation.series[metric.series], metric.overlap_at(look_ahead, criteria.signal.lag)
        values = np.log1p(series) if compounding and metric.compounds else series
        questions.append(question(values, metric.statistic, overlap))
    found: dict[str, dict[str, float | None]] = {}
    for metric, answer in zip(metrics, bootstrap_intervals(questions, bootstrap, observer), strict=True):
        interval = answer.scaled(metric.factor(evaluation.periods_per_year, horizon))
        if compounding and metric.compounds:
            low, high = (math.nan if metric.statistic == "ir" else math.expm1(b) for b in (interval.low, interval.high))
            interval = replace(interval, low=low, high=high)
        record = {name: getattr(interval, name) for name in ("low", "high", "level", "block_length")}
        if metric.name in _TESTED:
            test = hac_mean(evaluation.series[metric.series], look_ahead=look_ahead)
            record |= {"t": test.t_value, "p": test.p_value}
        found[metric.name] = {name: value if math.isfinite(value) else None for name, value in record.items()}
    return found
