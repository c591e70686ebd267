from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import ConfigError, DataError
from harness.evaluation import formulas as metrics
from harness.evaluation.errors import ErrorEvaluation
from harness.evaluation.evaluate import DailySeries, Evaluation, evaluate
from harness.evaluation.formulas import risk_analysis
from harness.evaluation.metrics import METRICS, Metric, SignalEvaluation
from harness.evaluation.portfolio.backtest import backtest
from harness.evaluation.portfolio.strategy import Rules
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions

TIMES, NAMES, START = 60, 20, 10
SIGNAL, QLIB_YEAR = SignalEvaluation(), SignalEvaluation(periods_per_year=238)
STRATEGY = TopkDropout(topk=5, n_drop=1, trade_unit=None, benchmark="universe")


@dataclass(frozen=True)
class Both:
    signal: SignalEvaluation = SIGNAL
    portfolio: TopkDropout | None = STRATEGY
    extra: tuple[Metric, ...] = ()
    errors: ErrorEvaluation | None = None
    rules: Rules = "harness"


def market(first: str = "2019-11-15") -> Panel:
    rng = np.random.default_rng(0)
    close = (10.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, (TIMES, NAMES)), axis=0))).astype(np.float32)
    return Panel(
        calendar=Calendar(np.datetime64(first, "ns") + np.arange(TIMES) * np.timedelta64(1, "D")),
        instruments=tuple(f"S{i:02d}" for i in range(NAMES)),
        fields={"close": close},
        membership=np.ones(close.shape, dtype=bool),
    )


def signal(panel: Panel, *, last_labels: int = TIMES) -> Predictions:
    """Scores that know a little of the labels; labels only up to calendar position `last_labels`."""
    rng = np.random.default_rng(1)
    size = TIMES - START
    label = rng.standard_normal((size, NAMES)).astype(np.float32) * np.float32(0.05)
    score = (label + 0.2 * rng.standard_normal(label.shape)).astype(np.float32)
    label[last_labels - START :] = np.nan
    return Predictions(
        calendar=panel.calendar,
        instruments=panel.instruments,
        start=START,
        offsets=np.arange(0, size * NAMES + 1, NAMES),
        codes=np.tile(np.arange(NAMES, dtype=np.int32), size),
        score=score.reshape(-1),
        label=label.reshape(-1),
        window_starts=np.arange(START, TIMES, 20),
    )


def judged(predictions: Predictions, horizon: int | None = 20) -> Evaluation:
    """Return the evaluation of the signal alone."""
    return evaluate(predictions, market(), Both(portfolio=None), horizon=horizon)


class TestSignal:
    def test_overall_summarises_the_series(self):
        predictions = signal(market())
        result = judged(predictions)
        ic = metrics.ic(predictions.score, predictions.label, predictions.offsets)
        np.testing.assert_array_equal(result.series["IC"], ic)
        assert result.overall["IC"] == metrics.mean(ic)
        assert result.overall["ICIR"] == metrics.ir(ic)
        assert result.overall["days"] == TIMES - START
        assert result.overall["rows"] == result.overall["labelled_rows"] == predictions.score.size

    def test_windows_partition_the_days(self):
        result = judged(signal(market()))
        assert [r["window"] for r in result.per_window] == [0, 1, 2]
        assert [r["days"] for r in result.per_window] == [20, 20, 10]
        assert result.per_window[0]["start"] == "2019-11-25"
        assert result.per_window[0]["stop"] == "2019-12-14"
        assert result.per_window[1]["IC"] == pytest.approx(result.series["IC"][20:40].mean(), rel=1e-12)

    def test_years_partition_the_days(self):
        result = judged(signal(market()))
        assert [(r["year"], r["days"]) for r in result.per_year] == [(2019, 37), (2020, 13)]
        assert result.per_year[1]["IC"] == pytest.approx(result.series["IC"][37:].mean(), rel=1e-12)

    def test_returns_are_annualised_by_the_horizon(self):
        daily: Mapping[str, Any] = judged(signal(market()), 1).overall
        monthly: Mapping[str, Any] = judged(signal(market())).overall
        for name in ("long_short_return", "long_average_return"):
            assert daily[name] == pytest.approx(20 * monthly[name])
        assert daily["IC"] == monthly["IC"]

    def test_the_return_of_a_label_that_is_none_is_undefined(self):
        overall = judged(signal(market()), None).overall
        assert overall["long_short_return"] is None
        assert overall["IC"] is not None

    def test_what_is_undefined_is_null_and_counted_and_stays(self):
        predictions = signal(market(), last_labels=50)
        result = judged(predictions)
        assert result.per_window[2]["IC"] is None
        assert result.per_window[2]["ICIR"] is None
        assert result.per_window[2]["undefined_days"] == 10
        assert result.per_window[2]["labelled_rows"] == 0
        assert result.overall["undefined_days"] == 10
        assert result.series["IC"].size == TIMES - START
        assert set(result.per_window[2]) == set(result.per_window[0])
        assert "NaN" not in json.dumps([result.overall, result.per_window, result.per_year], allow_nan=False)

    @pytest.mark.parametrize("wrong", [{"quantile": 0.0}, {"quantile": 0.6}, {"periods_per_year": 0}, {"lag": 0}])
    def test_an_impossible_number_is_refused_by_name(self, wrong):
        with pytest.raises(ConfigError) as caught:
            SignalEvaluation(**wrong)
        assert next(iter(wrong)) in str(caught.value.where)


class TestPortfolio:
    def test_it_reports_the_risk_of_the_excess_return(self):
        panel = market()
        account = backtest(panel, signal(panel), STRATEGY)
        overall: Mapping[str, Any] = evaluate(signal(panel), panel, Both(QLIB_YEAR), horizon=20).overall
        risk = risk_analysis(account.series["excess_return"], 238)
        assert overall["excess_return"] == risk.annualized_return
        assert overall["information_ratio"] == risk.information_ratio
        assert overall["max_drawdown"] == risk.max_drawdown
        assert overall["excess_return_without_cost"] == pytest.approx(
            overall["excess_return"] + overall["portfolio_cost"]
        )

    def test_compounding_is_an_option_of_the_strategy(self):
        panel = market()
        compounding = replace(STRATEGY, accumulate="product")
        account = backtest(panel, signal(panel), compounding)
        growth = np.prod(1.0 + account.returns - account.cost)
        overall = evaluate(
            signal(panel), panel, Both(SignalEvaluation(periods_per_year=50), compounding), horizon=20
        ).overall
        assert overall["portfolio_return"] == pytest.approx(growth - 1.0)

    def test_the_series_give_back_the_value(self):
        panel = market()
        series = backtest(panel, signal(panel), STRATEGY).series
        growth = np.cumprod(1.0 + series["portfolio_return"])
        np.testing.assert_allclose(series["portfolio_value"], STRATEGY.account * growth, rtol=1e-12)


class TestTogether:
    def test_signal_and_portfolio_stand_in_the_same_records(self):
        panel = market()
        result = evaluate(signal(panel), panel, Both(), horizon=20)
        records: tuple[Mapping[str, Any], ...] = (result.overall, *result.per_window, *result.per_year)
        for record in records:
            assert {"IC", "turnover", "excess_return", "portfolio_turnover"} <= set(record)
        assert [r["window"] for r in result.per_window] == [0, 1, 2]

    def test_without_a_strategy_there_is_the_signal_alone(self):
        panel = market()
        result = evaluate(signal(panel), panel, Both(portfolio=None), horizon=20)
        assert "excess_return" not in result.overall

    def test_every_metric_has_a_direction_and_every_direction_a_metric(self):
        panel = market()
        result = evaluate(signal(panel), panel, Both(), horizon=20)
        of_errors = {name for name, metric in METRICS.items() if metric.series not in result.series}
        assert set(result.overall) == set(METRICS) - {name for name in of_errors if METRICS[name].statistic != "count"}
        assert "MAE" in of_errors


class TestSeries:
    def test_what_is_written_is_read_back_exactly(self, tmp_path):
        result = judged(signal(market(), last_labels=40))
        result.write_series(tmp_path / "series.parquet")
        read = DailySeries.read(tmp_path / "series.parquet")
        np.testing.assert_array_equal(read.times, result.times)
        assert list(read.values) == list(result.series)
        for name, values in read.values.items():
            np.testing.assert_array_equal(values, result.series[name])

    def test_equal_series_give_equal_bytes(self, tmp_path):
        for name in ("one", "two"):
            judged(signal(market())).write_series(tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_an_unreadable_file_is_named(self, tmp_path):
        (tmp_path / "series.parquet").write_text("nothing")
        with pytest.raises(DataError, match="cannot be read") as caught:
            DailySeries.read(tmp_path / "series.parquet")
        assert "series.parquet" in str(caught.value)

    def test_a_table_without_times_is_refused(self, tmp_path):
        result = judged(signal(market()))
        result.write_series(tmp_path / "series.parquet")
        table = pq.read_table(tmp_path / "series.parquet").drop_columns(["datetime"])
        pq.write_table(table, tmp_path / "series.parquet")
        with pytest.raises(DataError, match="holds no series"):
            DailySeries.read(tmp_path / "series.parquet")
