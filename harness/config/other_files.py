"""Files of the tree that Hydra does not compose: suites and tolerances, as their readers take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.config.tolerances import Absolute, Learned, Relative

Rule = Literal["exact"] | Absolute | Relative | Learned


@dataclass(frozen=True)
class CaseFile:
    """One experiment of a suite.

    Attributes
    ----------
    case
        Its name, once in the suite.
    overrides
        Hydra overrides that compose it, after those of the suite.
    needs
        Files and folders without which it is skipped, and says so.
    """

    case: str
    overrides: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuiteFile:
    """A named list of experiments that `bench check`, `bless` and `nightly` run.

    Attributes
    ----------
    regression
        The tolerances that they are held to: a file of `regression/`.
    overrides
        Hydra overrides of every case.
    cases
        The experiments, in the order in which they run.
    """

    regression: str
    cases: tuple[CaseFile, ...]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class TolerancesFile:
    """How far metrics may move between environments.

    Attributes
    ----------
    significance
        A difference beyond its tolerance whose paired test gives a larger p-value is inconclusive.
    metrics
        Pattern → rule; the first pattern that matches a metric's path (`per_window.3.IC`) or a part of it (`IC`) holds.
    default
        The rule of every other metric.
    """

    default: Rule
    metrics: dict[str, Rule] = field(default_factory=dict)
    significance: float = 0.05
