"""Everything that is annualised takes the year from the calendar, and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from harness.config import compose_config
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.evaluation import formulas as metrics
from harness.evaluation.evaluate import evaluate, intervals, year_of
from harness.evaluation.metrics import SignalEvaluation
from harness.evaluation.predictions import Predictions
from harness.evaluation.significance.bootstrap import Bootstrap
from harness.samples.preprocess import Pipeline
from harness.samples.processors import CSRankNorm, DropnaLabel
from tests.evaluation.test_evaluation import Both, market, signal

ANNUALISED = ("long_short_return", "long_average_return", "excess_return", "portfolio_return", "portfolio_cost")
PLAIN = ("IC", "ICIR", "rank_IC", "rank_ICIR", "turnover", "autocorrelation", "max_drawdown", "portfolio_turnover")


def on(freq: str) -> tuple[Panel, Predictions]:
    panel = market()
    calendar = Calendar(pd.date_range("2018-01-05", periods=len(panel.calendar), freq=freq).to_numpy())
    panel = replace(panel, calendar=calendar)
    return panel, signal(panel)


def judged(freq: str, **signal_keys: int) -> dict[str, float]:
    panel, predictions = on(freq)
    found = evaluate(predictions, panel, Both(SignalEvaluation(**signal_keys)), horizon=5).overall
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(("freq", "periods"), [("W-FRI", 52), ("B", 252), ("D", 365), ("h", 8760)])
def test_returns_and_ratios_are_annualised_by_the_calendar(freq: str, periods: int) -> None:
    base, other = judged("ME"), judged(freq)
    for name in ANNUALISED:
        assert other[name] == pytest.approx(base[name] * periods / 12)
    ratio = other["information_ratio"] / base["information_ratio"]
    assert ratio == pytest.approx((periods / 12) ** 0.5)
    assert {name: other[name] for name in PLAIN} == {name: base[name] for name in PLAIN}


def test_a_weekly_label_of_five_weeks_is_annualised_by_weeks() -> None:
    panel, predictions = on("W-FRI")
    series = metrics.long_short_return(predictions.score, predictions.label, predictions.offsets)
    found = evaluate(predictions, panel, Both(), horizon=5).overall["long_short_return"]
    assert found == pytest.approx(series.mean() * 52 / 5)


def test_an_explicit_number_is_honoured_and_said() -> None:
    assert judged("h", periods_per_year=12) == judged("ME")
    year = year_of(on("h")[0].calendar, 12, "harness")
    assert (year.periods, year.note) == (12, None)
    assert year.source == "as configured; the calendar is hourly, every day"


def test_intervals_are_in_the_same_unit() -> None:
    panel, predictions = on("W-FRI")
    found = evaluate(predictions, panel, Both(), horizon=5)
    bootstrap = Bootstrap(repetitions=49, block_length=6.0)
    for name, interval in intervals(found, Both(), bootstrap, horizon=5, look_ahead=6).items():
        if name in ANNUALISED:
            low, high = interval["low"], interval["high"]
            assert low is not None
            assert high is not None
            assert (low + high) / 2 == pytest.approx(found.overall[name], abs=1e-9)


def test_qlibs_238_days_are_those_of_an_exchange_and_elsewhere_a_note_says_they_are_not_taken() -> None:
    daily, hourly = (year_of(on(freq)[0].calendar, None, "qlib") for freq in ("B", "h"))
    assert (daily.periods, daily.note) == (238, None)
    assert hourly.periods == 8760
    assert hourly.note is not None
    assert "8760" in hourly.note
    panel, predictions = on("h")
    assert evaluate(predictions, panel, Both(rules="qlib"), horizon=5).notes[0] == hourly.note
    assert compose_config(["compat=qlib"]).evaluation.rules == "qlib"
    assert compose_config([]).evaluation.periods_per_year is None


def test_an_error_metric_needs_scores_in_the_unit_of_the_label() -> None:
    panel, predictions = on("B")
    for same_unit in (True, False):
        found = evaluate(predictions, panel, Both(), horizon=5, same_unit=same_unit)
        assert (found.overall["MSE"] is not None) is same_unit
        assert bool(np.isnan(found.series["MSE"]).all()) is not same_unit
    assert Pipeline((), (DropnaLabel(),), "once").keeps_label_unit
    assert not Pipeline((), (DropnaLabel(), CSRankNorm()), "once").keeps_label_unit
