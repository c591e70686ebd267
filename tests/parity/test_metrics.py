"""Signal metrics against a real pyqlib run of rolling retrain, 881 days × 300 instruments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.config import EvaluationConfig
from harness.evaluation import formulas as metrics
from harness.evaluation.evaluate import Evaluation, evaluate
from harness.evaluation.metrics import SignalEvaluation
from harness.evaluation.predictions import Predictions
from tests.parity.oracle import ORACLE, oracle_panel, read_json, requires_oracle
from tests.parity.rolling_retrain import recorded_predictions

pytestmark = requires_oracle

# qlib's record annualises signal returns with 252 periods, its portfolio with 238.
QLIB_PERIODS = 252
HORIZON = 20


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return recorded_predictions()


@pytest.fixture(scope="module")
def evaluation(predictions: Predictions) -> Evaluation:
    criteria = EvaluationConfig(SignalEvaluation(periods_per_year=QLIB_PERIODS), portfolio=None)
    return evaluate(predictions, oracle_panel(), criteria, horizon=HORIZON)


@pytest.mark.parametrize(("ours", "file", "column"), [("IC", "ic.parquet", "ic"), ("rank_IC", "ric.parquet", "ric")])
def test_daily_correlations_agree_to_1e_12(evaluation, ours, file, column):
    recorded = pd.read_parquet(ORACLE / "rr_linear" / file)
    np.testing.assert_array_equal(evaluation.times, recorded["datetime"].to_numpy(dtype="datetime64[ns]"))
    np.testing.assert_allclose(evaluation.series[ours], recorded[column].to_numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("IC", "IC"), ("ICIR", "ICIR"), ("rank_IC", "Rank IC"), ("rank_ICIR", "Rank ICIR")]
)
def test_summaries_agree_to_1e_12(evaluation, ours, theirs):
    assert evaluation.overall[ours] == pytest.approx(read_json("rr_linear", "metrics.json")[theirs], abs=1e-12)


def test_qlib_annualises_a_label_of_20_days_as_if_it_were_daily(evaluation):
    """The intended difference: ours is qlib's divided by the horizon; the rest is its float32 means (1e-6)."""
    recorded = read_json("rr_linear", "metrics.json")
    long_short, average = recorded["Long-Short Ann Return"], recorded["Long-Avg Ann Return"]
    assert evaluation.overall["long_short_return"] * HORIZON == pytest.approx(long_short, rel=1e-6)
    assert evaluation.overall["long_average_return"] * HORIZON == pytest.approx(average, rel=1e-6)
    assert average > 4.0  # 405 % a year, where 20 % is right
    assert evaluation.overall["long_average_return"] == pytest.approx(0.2025, abs=1e-3)


def test_daily_long_short_returns_give_qlibs_sharpe_ratio(predictions):
    series = metrics.long_short_return(predictions.score, predictions.label, predictions.offsets, quantile=0.2)
    recorded = read_json("rr_linear", "metrics.json")["Long-Short Ann Sharpe"]
    assert metrics.ir(series) * QLIB_PERIODS**0.5 == pytest.approx(recorded, rel=1e-6)


def test_every_window_and_year_is_there_and_covers_every_day(evaluation):
    windows = read_json("rr_linear", "segments.json")
    assert len(evaluation.per_window) == len(windows) == 45
    assert evaluation.per_window[1]["start"] == windows[1]["test"][0]
    assert [r["year"] for r in evaluation.per_year] == [2017, 2018, 2019, 2020]
    assert sum(r["days"] for r in evaluation.per_window) == sum(r["days"] for r in evaluation.per_year) == 881
    assert evaluation.overall["rows"] - evaluation.overall["labelled_rows"] == 4205


def test_parquet_keeps_the_recorded_predictions_exactly(predictions, tmp_path):
    predictions.write_parquet(tmp_path / "predictions.parquet")
    read = Predictions.read_parquet(tmp_path / "predictions.parquet")
    assert read.digest == predictions.digest
    np.testing.assert_array_equal(read.window_starts, predictions.window_starts)
