"""Four years of 300 instruments: the budget of the backtest is a second, of the metrics a tenth; nothing compiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.config import EvaluationConfig
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.evaluation.evaluate import evaluate
from harness.evaluation.metrics import SignalEvaluation
from harness.evaluation.portfolio.backtest import backtest
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions

pytestmark = pytest.mark.nightly

TIMES, NAMES = 960, 300


def _market() -> Panel:
    rng = np.random.default_rng(0)
    close = (10.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (TIMES, NAMES)), axis=0))).astype(np.float32)
    close[rng.random(close.shape) < 0.02] = np.nan
    return Panel(
        calendar=Calendar(np.datetime64("2017-01-01", "ns") + np.arange(TIMES) * np.timedelta64(1, "D")),
        instruments=tuple(f"S{i:03d}" for i in range(NAMES)),
        fields={"close": close, "factor": np.ones_like(close)},
        membership=np.ones(close.shape, dtype=bool),
    )


def _predictions(panel: Panel) -> Predictions:
    times, codes = np.nonzero(panel.traded)
    score, label = np.random.default_rng(1).standard_normal((2, times.size)).astype(np.float32)
    return Predictions(
        calendar=panel.calendar,
        instruments=panel.instruments,
        start=0,
        offsets=np.concatenate([[0], np.cumsum(panel.traded.sum(axis=1))]).astype(np.int64),
        codes=codes.astype(np.int32),
        score=score,
        label=label,
        window_starts=np.arange(0, TIMES, 20),
    )


def test_backtest_of_four_years(benchmark):
    panel = _market()
    predictions, config = _predictions(panel), replace(TopkDropout(), benchmark="universe")
    result = benchmark(backtest, panel, predictions, config)
    assert np.count_nonzero(result.turnover) > TIMES - 5


def test_signal_metrics_of_four_years(benchmark):
    panel = _market()
    criteria = EvaluationConfig(SignalEvaluation(), portfolio=None)
    evaluation = benchmark(evaluate, _predictions(panel), panel, criteria, horizon=20)
    assert evaluation.overall["undefined_days"] == 0
