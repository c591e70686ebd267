"""Drift-triggered retraining: the model is kept until a detector rings on its own matured errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from harness.errors import ConfigError, closest
from harness.errors.extras import missing_extra
from harness.errors.limits import Count, Seed, check_limits
from harness.samples.interfaces import Doubles, History
from harness.samples.plan import Feedback, Known, WindowPlan
from harness.samples.windows import Window

# What river calls them, and their parameters.
_DETECTORS: Mapping[str, tuple[str, frozenset[str]]] = MappingProxyType(
    {
        "adwin": ("ADWIN", frozenset({"delta", "clock", "max_buckets", "min_window_length", "grace_period"})),
        "page_hinkley": ("PageHinkley", frozenset({"min_instances", "delta", "threshold", "alpha"})),
        "kswin": ("KSWIN", frozenset({"alpha", "window_size", "stat_size"})),
    }
)
_SINCE = "since"


@dataclass(frozen=True, kw_only=True)
class Triggered:
    """Keep the model until a drift detector rings on the errors of its forecasts, then fit anew on the whole past.

    The detector reads one number per time, in time order, of the times whose labels have matured since the model in use
    began to forecast. It is z-scored by the first `warm_up` of them, which are not judged, so that thresholds are in
    standard deviations. An alarm is acted on at the next window: `windows.step` says how soon that is.

    ``adwin`` (Bifet and Gavaldà, SDM 2007) compares the means of all ways to cut its window in two, ``page_hinkley``
    (Page, Biometrika 1954) sums what lies above the mean, ``kswin`` (Raab et al., Neurocomputing 2020) compares the
    newest values with older ones by a Kolmogorov–Smirnov test.

    Attributes:
        detector: Which; needs the extra ``driftbench[river]``.
        parameters: Of the detector, by river's names; those left out are river's own.
        error: ``mse`` is the mean square of forecast − label over the instruments; ``ic`` is 1 − their correlation.
        warm_up: Times that only set the scale, again after every fit.
        longest: Fit anew after so many windows without an alarm; None waits for ever.
        seed: For ``kswin``, which samples.

    Raises:
        ConfigError: For an impossible value, or a parameter that the detector does not have.
    """

    detector: Literal["adwin", "page_hinkley", "kswin"]
    parameters: dict[str, Annotated[float, Ge(-1e9), Le(1e9)]] = field(default_factory=dict)
    error: Literal["mse", "ic"]
    warm_up: Annotated[int, Ge(2), Le(1_000_000)]
    longest: Count | None = None
    seed: Seed | None = None

    def __post_init__(self) -> None:
        check_limits(self, "adaptation")
        known = sorted(_DETECTORS[self.detector][1])
        for name in self.parameters:
            if name not in known:
                what, where = f"{self.detector} has no such parameter.", "adaptation.parameters"
                hint = closest(name, known)
                raise ConfigError(what, where=where, got=name, expected=", ".join(known), hint=hint)

    def fit(self, history: History) -> AlarmWaiter:
        self.new_detector(0)
        return AlarmWaiter(self, history.seed if self.seed is None else self.seed)

    def new_detector(self, seed: int) -> Any:
        """Return a detector that has seen nothing; raises `ConfigError` without river, or for a value it refuses."""
        try:
            from river import drift
        except ModuleNotFoundError as error:
            raise missing_extra("This adaptation", "river", "adaptation._target_") from error
        given: dict[str, Any] = {k: int(v) if float(v).is_integer() else v for k, v in self.parameters.items()}
        if self.detector == "kswin":
            given["seed"] = seed
        elif self.detector == "page_hinkley":
            given["mode"] = "up"
        try:
            return getattr(drift, _DETECTORS[self.detector][0])(**given)
        except (TypeError, ValueError) as error:
            what, where = f"{self.detector} refuses its parameters: {error}", "adaptation.parameters"
            raise ConfigError(what, where=where, got=self.parameters, expected="values that river accepts") from error


@dataclass(frozen=True, eq=False)
class AlarmWaiter:
    """Nothing was learned: whether an alarm rings follows from the run's own past."""

    settings: Triggered
    seed: int

    def plan(self, window: Window, known: Known) -> WindowPlan:
        feedback, now = known.feedback, np.array([window.test.start, window.index], dtype=np.int64)
        if feedback.learned is None:
            return WindowPlan(state={_SINCE: now})
        since, fitted_in = feedback.state[_SINCE].tolist()
        overdue = self.settings.longest is not None and window.index - fitted_in >= self.settings.longest
        if overdue or self.rings(errors(feedback, since, self.settings.error)):
            return WindowPlan(state={_SINCE: now})
        return WindowPlan(refit=False, state=dict(feedback.state))

    def rings(self, stream: Doubles) -> bool:
        """Whether a new detector rings anywhere in a stream of errors, in time order."""
        first, rest = np.split(stream, [self.settings.warm_up])
        if rest.size == 0:
            return False
        scale = float(first.std(ddof=1)) or 1.0
        detector = self.settings.new_detector(self.seed)
        for value in ((rest - first.mean()) / scale).tolist():
            detector.update(value)
            if detector.drift_detected:
                return True
        return False

    def save(self, folder: Path) -> None:
        """Write nothing."""


def errors(feedback: Feedback, since: int, error: Literal["mse", "ic"]) -> Doubles:
    """Return the error of each matured time from position `since` on; times without a defined one are left out."""
    found = []
    for first, last in itertools.pairwise(feedback.offsets[max(0, since - feedback.start) :].tolist()):
        score, label = (values[first:last].astype(np.float64) for values in (feedback.score, feedback.label))
        both = np.isfinite(score) & np.isfinite(label)
        score, label = score[both], label[both]
        if error == "mse" and label.size:
            found.append(float(np.mean(np.square(score - label))))
        elif error == "ic" and label.size > 1 and np.ptp(score) > 0 and np.ptp(label) > 0:
            found.append(1.0 - float(np.corrcoef(score, label)[0, 1]))
    return np.array(found, dtype=np.float64)
