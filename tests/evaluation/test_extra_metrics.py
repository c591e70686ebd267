"""A user's own metric stands on the same footing: in the snapshot and the identity, and refused when wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from harness.config import EvaluationConfig, compose_config
from harness.errors import ConfigError, DataError
from harness.evaluation.evaluate import Evaluation, evaluate
from harness.evaluation.metrics import METRICS, Direction, SignalEvaluation
from harness.evaluation.predictions import Predictions
from harness.store.records import describe
from tests.evaluation.test_evaluation import market, signal


@dataclass(frozen=True)
class Spread:
    """Largest score minus the smallest."""

    name: str = "spread"
    direction: Direction = "higher"
    factor: float = 1.0

    def compute(self, predictions: Predictions) -> Any:
        bounds = zip(predictions.offsets[:-1], predictions.offsets[1:], strict=True)
        return np.array([self.factor * float(np.ptp(predictions.score[a:b])) for a, b in bounds])


@dataclass(frozen=True)
class Returning(Spread):
    """Returns what a test hands it."""

    what: Any = None

    def compute(self, predictions: Predictions) -> Any:
        return self.what


def criteria(*extra: Any) -> EvaluationConfig:
    return EvaluationConfig(SignalEvaluation(), None, None, tuple(extra))


def judged(predictions: Predictions, *extra: Any) -> Evaluation:
    return evaluate(predictions, market(), criteria(*extra), horizon=20)


def test_it_is_the_mean_of_its_series_overall_per_window_and_per_year() -> None:
    predictions = signal(market())
    found = judged(predictions, Spread(), Spread("twice", factor=2.0))
    series = Spread().compute(predictions)
    assert found.overall["spread"] == pytest.approx(series.mean())
    assert found.overall["twice"] == pytest.approx(2 * series.mean())
    assert len(found.per_window) == predictions.window_starts.size
    assert sum(record["spread"] is not None for record in found.per_year) == len(found.per_year)


def test_it_counts_in_the_identity_and_its_absence_changes_nothing() -> None:
    plain, extra = describe(criteria()), describe(criteria(Spread()))
    assert isinstance(plain, dict)
    assert isinstance(extra, dict)
    assert "extra" not in plain
    assert extra["extra"][0]["name"] == "spread"
    assert extra["extra"][0]["direction"] == "higher"


def test_the_standard_configuration_has_none() -> None:
    assert compose_config([]).evaluation.extra == ()


@pytest.mark.parametrize(
    ("metric", "where"),
    [
        (Spread("IC"), "evaluation.extra[0].name"),
        (Spread("my metric"), "evaluation.extra[0].name"),
        (Spread("window"), "evaluation.extra[0].name"),
        (Spread(direction="up"), "evaluation.extra[0].direction"),  # type: ignore[arg-type]
        (SignalEvaluation(), "evaluation.extra[0]"),
    ],
)
def test_what_is_no_metric_is_refused(metric: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        criteria(metric)
    assert caught.value.where == where


def test_a_name_occurs_once() -> None:
    with pytest.raises(ConfigError):
        criteria(Spread(), replace(Spread(), factor=2.0))


@pytest.mark.parametrize("what", [None, 1.0, np.zeros(3), "text", np.array(["a"])])
def test_anything_but_one_number_per_time_is_refused(what: Any) -> None:
    predictions = signal(market())
    with pytest.raises(DataError, match="something else than a series"):
        judged(predictions, Returning(what=what))


def test_an_infinite_value_is_refused() -> None:
    predictions = signal(market())
    values = np.zeros(predictions.times.size)
    values[3] = np.inf
    with pytest.raises(DataError, match="something else than a series"):
        judged(predictions, Returning(what=values))


def test_no_name_of_the_harness_is_free() -> None:
    for name in METRICS:
        with pytest.raises(ConfigError):
            criteria(Spread(name))
