"""Errors of forecasts of series: by hand, against two libraries, and what the forecasts that anybody can make know."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from utilsforecast import losses

from harness.audit.audit import audit
from harness.audit.verdict import Level
from harness.config import compose_config
from harness.config.records import EvaluationConfig
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import ConfigError
from harness.evaluation import formulas
from harness.evaluation.errors import (
    REFERENCES,
    ErrorEvaluation,
    Target,
    error_cells,
    groups_of,
    pooled,
    reference_forecasts,
    season_of,
)
from harness.evaluation.evaluate import evaluate, group_intervals, intervals
from harness.evaluation.metrics import METRICS, headline, other_forecasters
from harness.evaluation.predictions import Predictions, offsets_of
from harness.evaluation.significance.bootstrap import Bootstrap, Question, bootstrap_intervals, smooth_statistic
from harness.run.experiment import run_experiment

TARGET, START, DAYS = Target("load", 24), 24 * 40, 60
CRITERIA = EvaluationConfig(None, None, Bootstrap(repetitions=99), errors=ErrorEvaluation())


def market(seed: int = 0, hours: int = 24 * DAYS) -> Panel:
    """Return two series with a daily shape, one ten times the other."""
    rng = np.random.default_rng(seed)
    shape = 5 + np.sin(np.arange(hours) * 2 * np.pi / 24)
    load = (shape[:, None] + rng.normal(0, 0.3, (hours, 2))) * np.array([1.0, 10.0])
    calendar = Calendar(np.datetime64("2020-01-01T00", "h") + np.arange(hours))
    load = load.astype(np.float32)
    return Panel(calendar, ("A", "B"), {"load": load}, np.ones(load.shape, dtype=bool), price_field="load")


def forecasts(panel: Panel, seed: int = 1) -> Predictions:
    """Return forecasts of the last days, the truth and some noise."""
    count = len(panel.calendar) - START
    label = np.full((count, 2), np.nan, dtype=np.float32)
    label[:-24] = panel.fields["load"][START + 24 :]
    noise = np.random.default_rng(seed).normal(0, 0.2, label.shape) * [1.0, 10.0]
    score = (np.nan_to_num(label, nan=5.0) + noise).astype(np.float32)
    rows = np.repeat(np.arange(count), 2)
    return Predictions(
        calendar=panel.calendar,
        instruments=panel.instruments,
        start=START,
        offsets=offsets_of(rows),
        codes=np.tile(np.arange(2, dtype=np.int32), count),
        score=score.reshape(-1),
        label=label.reshape(-1),
        window_starts=np.array([START, START + 168]),
    )


def judged(panel: Panel, predictions: Predictions):
    return evaluate(predictions, panel, CRITERIA, horizon=None, look_ahead=24, target=TARGET)


def frame(panel: Panel, predictions: Predictions) -> pd.DataFrame:
    """Return the labelled rows as utilsforecast has them: ``unique_id``, ``ds``, ``y``, ``model``."""
    rows = pd.DataFrame(
        {
            "unique_id": np.array(panel.instruments)[predictions.codes],
            "ds": panel.calendar.times[predictions.row_times] + np.timedelta64(24, "h"),
            "y": predictions.label.astype(np.float64),
            "model": predictions.score.astype(np.float64),
        }
    )
    return rows.dropna()


def test_mae_and_rmse_are_those_of_sklearn_and_of_utilsforecast_pooled_and_per_series() -> None:
    panel = market()
    found, rows = judged(panel, forecasts(panel)), frame(panel, forecasts(panel))
    assert found.overall["MAE"] == pytest.approx(mean_absolute_error(rows.y, rows.model), rel=1e-12)
    assert found.overall["RMSE"] == pytest.approx(root_mean_squared_error(rows.y, rows.model), rel=1e-12)
    assert found.overall["bias"] == pytest.approx((rows.model - rows.y).mean(), rel=1e-9)
    own = {group["name"]: group for group in found.groups if group["by"] == "series"}
    for name, metric in (("MAE", losses.mae), ("RMSE", losses.rmse)):
        theirs = metric(rows, models=["model"]).set_index("unique_id")["model"]
        assert {zone: own[zone][name] for zone in own} == pytest.approx(theirs.to_dict(), rel=1e-12)


def test_mase_is_that_of_utilsforecast_with_everything_known_at_the_first_decision_as_training_set() -> None:
    panel = market()
    rows, known = frame(panel, forecasts(panel)), START + 1
    train = pd.DataFrame(
        {
            "unique_id": np.repeat(panel.instruments, known),
            "ds": np.tile(panel.calendar.times[:known], 2),
            "y": panel.fields["load"][:known].T.reshape(-1).astype(np.float64),
        }
    )
    theirs = losses.mase(rows, models=["model"], seasonality=24, train_df=train).set_index("unique_id")["model"]
    own = {g["name"]: g["MASE"] for g in judged(panel, forecasts(panel)).groups if g["by"] == "series"}
    assert own == pytest.approx(theirs.to_dict(), rel=1e-6)
    assert season_of(panel, ErrorEvaluation()) == 24


def test_normalised_errors_divide_by_the_mean_of_each_series_or_by_the_capacity() -> None:
    panel = market()
    rows = frame(panel, forecasts(panel))
    ratio = [(abs(z.y - z.model).mean() / z.y.abs().mean()) for _, z in rows.groupby("unique_id")]
    assert judged(panel, forecasts(panel)).overall["NMAE"] == pytest.approx(np.mean(ratio), rel=1e-9)
    cells = error_cells(forecasts(panel), panel, TARGET, ErrorEvaluation(capacity=20.0))
    assert formulas.mean(pooled(cells)["NMAE"]) == pytest.approx((rows.y - rows.model).abs().mean() / 20, rel=1e-9)
    squares = pooled(cells)["normalised_squared_error"]
    assert formulas.root_mean(squares) == pytest.approx(root_mean_squared_error(rows.y, rows.model) / 20, rel=1e-9)


def test_skill_is_one_minus_the_ratio_to_persistence() -> None:
    panel = market()
    predictions, rows = forecasts(panel), frame(panel, forecasts(panel))
    naive = reference_forecasts(predictions, panel, TARGET)["persistence"][rows.index]
    expected = 1 - mean_absolute_error(rows.y, rows.model) / mean_absolute_error(rows.y, naive)
    assert judged(panel, predictions).overall["skill"] == pytest.approx(expected, rel=1e-9)
    assert judged(panel, replace(predictions, score=predictions.label)).overall["skill"] == pytest.approx(1.0)


def test_reference_forecasts_are_the_values_that_they_say() -> None:
    panel = market()
    predictions, load = forecasts(panel), panel.fields["load"]
    found = {k: v.reshape(-1, 2) for k, v in reference_forecasts(predictions, panel, TARGET).items()}
    assert list(found) == list(REFERENCES)
    count = len(found["persistence"]) - 24
    assert np.array_equal(found["persistence"][:count], load[START : START + count])
    assert np.array_equal(found["yesterday"][:count], load[START : START + count])
    assert np.array_equal(found["last_week"][:count], load[START - 144 : START - 144 + count])
    at = START + 30  # the hour that is forecast is 6 o'clock in February, of which some are known
    times = pd.DatetimeIndex(panel.calendar.times)
    alike = (times.month == times[at + 24].month) & (times.hour == times[at + 24].hour) & (np.arange(times.size) <= at)
    np.testing.assert_allclose(found["climatology"][30], load[alike].mean(axis=0), rtol=1e-6)


def test_two_days_ahead_yesterday_is_two_days_before_what_is_forecast() -> None:
    panel = market()
    found = reference_forecasts(forecasts(panel), panel, Target("load", 30))["yesterday"].reshape(-1, 2)
    assert np.array_equal(found[0], panel.fields["load"][START + 30 - 48])


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(START, 24 * DAYS - 2), ahead=st.sampled_from([1, 24, 30, 48]))
def test_no_reference_forecast_knows_what_comes_after_it(cut: int, ahead: int) -> None:
    panel = market()
    load = np.array(panel.fields["load"])
    load[cut + 1 :] += 100
    other = replace(panel, fields={"load": load})
    target, predictions = Target("load", ahead), forecasts(panel)
    before = predictions.row_times <= cut
    for name, values in reference_forecasts(predictions, panel, target).items():
        moved = reference_forecasts(predictions, other, target)[name]
        assert np.array_equal(values[before], moved[before], equal_nan=True), name


def test_groups_are_series_hours_and_months_of_the_time_that_is_forecast() -> None:
    panel = market()
    predictions = forecasts(panel)
    groups = list(groups_of(predictions, error_cells(predictions, panel, TARGET, ErrorEvaluation()), TARGET))
    assert [g.name for g in groups if g.by == "series"] == ["A", "B"]
    assert [g.name for g in groups if g.by == "hour"] == [f"{hour:02d}" for hour in range(24)]
    rows = frame(panel, predictions)
    own = formulas.mean(next(g for g in groups if (g.by, g.name) == ("hour", "07")).series["MAE"])
    assert own == pytest.approx(abs(rows.y - rows.model)[rows.ds.dt.hour == 7].mean(), rel=1e-9)
    assert [g.apart for g in groups if g.by == "hour"] == [24] * 24


def test_every_error_metric_has_an_interval_that_holds_it_and_so_has_each_group() -> None:
    panel = market()
    found = judged(panel, forecasts(panel))
    bounds = intervals(found, CRITERIA, Bootstrap(repetitions=99), horizon=None, look_ahead=24)
    for name in ("MAE", "RMSE", "NMAE", "NRMSE", "MASE", "skill"):
        value, low, high = found.overall[name], bounds[name]["low"], bounds[name]["high"]
        assert low is not None
        assert high is not None
        assert low < float(value or 0) < high
    groups = group_intervals(found, Bootstrap(repetitions=99), look_ahead=24)
    assert len(groups) == len(found.groups)
    assert all(math.isfinite(one["MAE"]["low"] or 0.0) for one in groups)


def test_root_and_skill_are_differentiated_as_they_are_computed() -> None:
    rng = np.random.default_rng(3)
    series, base, other = rng.random((3, 50)) + 0.5
    assert smooth_statistic(series, "root").estimate() == pytest.approx(math.sqrt(series.mean()))
    assert smooth_statistic(series, "skill", base=base).estimate() == pytest.approx(formulas.skill(series, base))
    between = smooth_statistic(series, "skill", other, base)
    assert between.estimate() == pytest.approx(formulas.skill(series, base) - formulas.skill(other, base))
    for smooth in (smooth_statistic(series, "root"), smooth_statistic(series, "skill", base=base), between):
        means = smooth.moments.mean(axis=0)
        slopes = []
        for k in range(means.size):
            step = np.zeros_like(means)
            step[k] = 1e-6
            slopes.append((smooth.value(means + step) - smooth.value(means - step)) / 2e-6)
        np.testing.assert_allclose(smooth.gradient(means[None])[0], slopes, rtol=1e-5)


def test_a_better_forecast_is_told_from_a_worse_one_by_its_skill() -> None:
    rng = np.random.default_rng(4)
    base = rng.random(400) + 1.0
    good, bad = 0.5 * base + rng.normal(0, 0.05, 400), 0.8 * base + rng.normal(0, 0.05, 400)
    (found,) = bootstrap_intervals([Question(good, "skill", 1, bad, base)], Bootstrap(repetitions=199))
    assert found.low > 0.2
    assert found.p_value < 0.05


def test_no_metric_of_errors_is_annualised_and_no_metric_across_instruments_is_there() -> None:
    overall = judged(market(), forecasts(market())).overall
    assert {METRICS[name].scale for name in overall} == {"none"}
    assert not set(overall) & {"IC", "rank_IC", "long_short_return", "turnover"}
    assert headline([overall]) == "MAE"
    assert headline([{"IC": 1.0, "rank_IC": 1.0, "MAE": 1.0}]) == "rank_IC"


def _small(tmp_path: Path, *overrides: str) -> list[str]:
    panel = market()
    rows = pd.DataFrame(panel.fields["load"], columns=list(panel.instruments)).assign(time=panel.calendar.texts)
    rows.melt("time", var_name="zone", value_name="load").to_csv(tmp_path / "load.csv", index=False)
    return [
        "data=series",
        f"data.path={tmp_path / 'load.csv'}",
        "data.columns.instrument=zone",
        "data.columns.value=load",
        "features=load",
        "label=forward_value",
        "preprocess=series",
        "evaluation=errors",
        "evaluation.significance=null",
        "windows.step=168",
        f"output.store={tmp_path / 'store'}",
        f"output.runs={tmp_path / 'runs'}",
        *overrides,
    ]


def test_a_csv_of_series_runs_and_its_references_stand_beside_it(tmp_path: Path) -> None:
    result = run_experiment(_small(tmp_path))
    assert list(other_forecasters(result.snapshot.metrics)) == list(REFERENCES.values())
    assert result.references["persistence"]["skill"] == pytest.approx(0.0)
    assert result.metrics["skill"] > 0.1
    assert result.config.case_name.endswith("h24.s168")


def test_errors_of_a_ranked_label_or_of_a_return_are_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another unit") as caught:
        run_experiment(_small(tmp_path, "preprocess=linear"))
    assert "preprocess=series" in str(caught.value.expected)
    with pytest.raises(ConfigError, match="value ahead"):
        run_experiment(_small(tmp_path, "label.expression='Ref($value, -24) - $value'"))
    assert compose_config(["evaluation=errors"]).evaluation.signal is None


@pytest.mark.nightly
def test_a_run_that_is_judged_by_its_errors_passes_an_audit(tmp_path: Path) -> None:
    config = compose_config(_small(tmp_path))
    verdict = audit(config, Level.SAMPLED)
    assert verdict.caught_by == ()
