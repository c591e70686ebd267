"""How often tests find something in nothing where few labels fit into the test range, and what they still find."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.evaluation.significance.bootstrap import Bootstrap, bootstrap_interval, paired_difference
from harness.evaluation.significance.hac import SPANS, hac_mean
from harness.run.experiment import run_experiment
from tests.evaluation.significance.series import (
    LOOK_AHEAD,
    Doubles,
    autoregressive,
    ics_of_nothing,
    overlapping,
    plausible,
)

QUICK = Bootstrap(repetitions=199)
LENGTHS = (5, 10, 20, 50)  # labels side by side
NOTHING = ("overlap", "overlap and noise", "ICs")


def of_nothing(kind: str, repetitions: int, count: int) -> Doubles:
    generator = np.random.default_rng(count)
    if kind == "ICs":
        return np.stack([ics_of_nothing(generator, count)[0] for _ in range(repetitions)])
    noise = 0.0 if kind == "overlap" else 1.0
    shape = (repetitions, count)
    return overlapping(generator, shape) + noise * np.sqrt(20) * generator.standard_normal(shape)


def rejected(series: Doubles) -> float:
    return float(np.mean([hac_mean(row, look_ahead=LOOK_AHEAD).p_value <= 0.05 for row in series]))


@pytest.mark.parametrize("labels", LENGTHS)
def test_few_labels_bring_no_more_false_t_values_than_promised(labels: int) -> None:
    rate = rejected(of_nothing("overlap", 300, labels * LOOK_AHEAD))
    assert rate <= plausible(0.03, 0.06, 300)[1]


def test_the_normal_critical_value_would_find_far_more_in_few_labels() -> None:
    # the test above can fail: this is what it would find if |t| were held against 1.96
    series = of_nothing("overlap", 300, 5 * LOOK_AHEAD)
    found = np.mean([abs(hac_mean(row, look_ahead=LOOK_AHEAD).t_value) > 1.96 for row in series])
    assert found > 2 * plausible(0.03, 0.06, 300)[1] - 0.05


@pytest.mark.nightly
@pytest.mark.parametrize("kind", NOTHING)
@pytest.mark.parametrize("labels", LENGTHS)
def test_the_size_holds_at_every_length(kind: str, labels: int) -> None:
    series = of_nothing(kind, 3000, labels * LOOK_AHEAD)
    assert rejected(series) <= plausible(0.03, 0.065, 3000)[1]
    beyond = [bootstrap_interval(row, look_ahead=LOOK_AHEAD, bootstrap=QUICK).p_value <= 0.05 for row in series[:1000]]
    assert np.mean(beyond) <= plausible(0.03, 0.07, 1000)[1]


@pytest.mark.nightly
@pytest.mark.parametrize("days", [600, 1800])
def test_markets_without_signal_are_found_to_have_none(days: int, tmp_path: Path) -> None:
    """ICs of the whole pipeline: labels overlap, and features, scores and volatilities are slow."""
    small = [f"data.days={days}", "data.signal=0", "evaluation.significance.repetitions=199"]
    output = [f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs"]
    tests, intervals = 0, 0
    for seed in range(40):
        found = run_experiment([*small, f"data.seed={seed}", *output]).intervals
        assert found is not None
        tests += sum(found[name]["p"] <= 0.05 for name in ("IC", "rank_IC"))
        intervals += sum(found[name]["low"] > 0 or found[name]["high"] < 0 for name in ("IC", "rank_IC"))
    # IC and rank IC of a seed go together: counted as one
    assert tests / 80 <= plausible(0.03, 0.06, 40)[1]
    assert intervals / 80 <= plausible(0.03, 0.06, 40)[1]


@pytest.mark.parametrize("labels", [5, 10, 20])
def test_a_large_planted_effect_is_found_as_often_as_theory_says(labels: int) -> None:
    count, generator = labels * LOOK_AHEAD, np.random.default_rng(labels)
    noncentrality, found, promised = 6.0, 0.0, 0.0
    effect = noncentrality * 20 / np.sqrt(count)  # long-run standard deviation of the sums: 20
    for difference in overlapping(generator, (200, count)):
        test = hac_mean(difference + effect, look_ahead=LOOK_AHEAD)
        critical = stats.t.ppf(0.975, test.degrees)
        promised += float(stats.nct.sf(critical, test.degrees, noncentrality)) / 200
        found += (test.p_value <= 0.05) / 200
    low, high = plausible(promised - 0.04, min(promised + 0.04, 1.0), 200)
    assert promised > 0.6
    assert low <= found <= high


def test_below_five_label_lengths_there_is_neither_t_nor_p_nor_interval() -> None:
    series = overlapping(np.random.default_rng(1), (2, SPANS * LOOK_AHEAD))
    for shortened in (series[0, 1:], np.append(series[0, 1:], np.nan)):
        test, interval = (
            hac_mean(shortened, look_ahead=LOOK_AHEAD),
            bootstrap_interval(shortened, look_ahead=LOOK_AHEAD),
        )
        assert all(map(math.isnan, (test.t_value, test.p_value, interval.low, interval.p_value)))
    pair = paired_difference(series[0, 1:], series[1, 1:], look_ahead=LOOK_AHEAD)
    assert math.isnan(pair.hac.p_value)
    assert math.isnan(pair.bootstrap.p_value)
    assert math.isfinite(hac_mean(series[0], look_ahead=LOOK_AHEAD).p_value)


def test_persistence_beyond_the_label_is_allowed_for_where_the_series_shows_it() -> None:
    slow = autoregressive(np.random.default_rng(3), (200, 50 * LOOK_AHEAD), 0.97)
    assert rejected(slow) <= plausible(0.03, 0.07, 200)[1]
