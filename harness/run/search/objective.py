"""Which metric a search is for, and which way it is better."""

from __future__ import annotations

from collections.abc import Collection

from harness.config import ExperimentConfig
from harness.errors import ConfigError, closest
from harness.evaluation.metric_records import METRIC_DIRECTIONS
from harness.run.search.study import Direction


def direction_of(metric: str, config: ExperimentConfig) -> Direction:
    """Return which way a metric of a run is better.

    Raises
    ------
    ConfigError
        When there is no such metric, or nothing says which way it is better.
    """
    directions = {**METRIC_DIRECTIONS, **{own.name: own.direction for own in config.evaluation.extra}}
    if metric not in directions:
        raise unknown_metric(metric, directions)
    if directions[metric] == "none":
        raise ConfigError(
            f"Nothing says which way `{metric}` is better.",
            where="--direction",
            got=None,
            expected="minimize or maximize",
        )
    return "minimize" if directions[metric] == "lower" else "maximize"


def unknown_metric(metric: str, known: Collection[str]) -> ConfigError:
    """Return the error for a metric that a run does not have."""
    portfolio = "evaluation=portfolio has the metrics of a portfolio" if metric in METRIC_DIRECTIONS else None
    return ConfigError(
        "A run has no such metric.",
        where="--metric",
        got=metric,
        expected=", ".join(known),
        hint=portfolio or closest(metric, known),
    )
