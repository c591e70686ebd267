"""The top-k dropout portfolio against pyqlib's: 881 days, 300 instruments, lots of 100 raw shares, 1e8 at the start."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.evaluation.formulas import risk_analysis
from harness.evaluation.portfolio.backtest import PortfolioResult, backtest
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from tests.parity.oracle import ORACLE, oracle_panel, read_json, requires_oracle
from tests.parity.rolling_retrain import recorded_predictions

pytestmark = requires_oracle


@pytest.fixture(scope="module")
def result() -> PortfolioResult:
    return backtest(oracle_panel(), recorded_predictions(), TopkDropout(rules="qlib"))


@pytest.fixture(scope="module")
def report() -> pd.DataFrame:
    return pd.read_parquet(ORACLE / "rr_linear" / "portfolio_report.parquet")


def test_the_days_are_the_same(result, report):
    days = report["datetime"].to_numpy(dtype="datetime64[ns]")
    np.testing.assert_array_equal(recorded_predictions().times, days)
    assert all(values.shape == days.shape for values in result.series.values())


@pytest.mark.parametrize("ours", ["cost", "turnover", "returns"])
def test_daily_shares_of_the_account_agree_to_1e_12(result, report, ours):
    theirs = report["return" if ours == "returns" else ours].to_numpy()
    np.testing.assert_allclose(getattr(result, ours), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [("value", "account"), ("cash", "cash")])
def test_money_agrees_to_1e_12_of_the_account(result, report, ours, theirs):
    np.testing.assert_allclose(getattr(result, ours), report[theirs].to_numpy(), rtol=0, atol=1e-12 * 1e8)


def test_the_benchmark_agrees_to_the_float32_of_qlibs_expressions(result, report):
    np.testing.assert_allclose(result.benchmark, report["bench"].to_numpy(), rtol=0, atol=1.2e-7)
    assert np.abs(result.benchmark - report["bench"].to_numpy()).max() > 1e-9


@pytest.mark.parametrize(
    ("series", "cost"), [("excess_return", "with_cost"), ("excess_return_without_cost", "without_cost")]
)
@pytest.mark.parametrize("name", ["mean", "std", "annualized_return", "information_ratio", "max_drawdown"])
def test_the_risk_analysis_agrees_to_the_benchmarks_rounding(result, series, cost, name):
    ours = getattr(risk_analysis(result.series[series], periods=238), name)
    theirs = read_json("rr_linear", "metrics.json")[f"1day.excess_return_{cost}.{name}"]
    assert ours == pytest.approx(theirs, rel=5e-5, abs=1e-6)


def test_given_qlibs_own_returns_the_risk_analysis_agrees_to_1e_12(report):
    excess = (report["return"] - report["bench"] - report["cost"]).to_numpy()
    risk = risk_analysis(excess, periods=238)
    recorded = read_json("rr_linear", "metrics.json")
    for name in ("mean", "std", "annualized_return", "information_ratio", "max_drawdown"):
        assert getattr(risk, name) == pytest.approx(recorded[f"1day.excess_return_with_cost.{name}"], rel=1e-12)


def test_lots_are_in_effect_and_matter(result, report):
    """Without lots the account differs from qlib's, so that the agreement above is not blind to them."""
    free = backtest(oracle_panel(), recorded_predictions(), TopkDropout(rules="qlib", trade_unit=None))
    assert np.abs(free.value - report["account"].to_numpy()).max() > 1e3
    assert np.abs(result.value - report["account"].to_numpy()).max() < 1e-3
