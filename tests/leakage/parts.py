"""What leaks are made of: every part of a configuration, with a function that leaks in it.

Parts are plain data, so that a fresh process makes them again; functions lie in tables, by the names of mutants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.evaluation.predictions import Predictions
from harness.features.feature_set import FeatureSet
from harness.samples.interfaces import FittedPreprocess, History, LearnSet, TimeWeights
from harness.samples.plan import Batch, Known, WindowPlan
from harness.samples.table import AsOfView
from harness.samples.windows import Segment, Window
from tests.audit.market import small

Doubles = npt.NDArray[np.float64]
PORTFOLIO = (
    "evaluation=portfolio",
    "evaluation.significance=null",
    "evaluation.portfolio.topk=5",
    "evaluation.portfolio.n_drop=1",
)
TRADING = (*PORTFOLIO, "evaluation.portfolio.trade_unit=null")
OWN_PRICE = (*TRADING, "evaluation.portfolio.deal_price=deal")
EXTRA = ("+features.expressions.other='$other/Mean($other, 5)'",)


def called(by: str) -> Callable[..., Any]:
    """Return the function that ``module:TABLE:name`` names."""
    module, table, name = by.split(":", 2)
    found: Callable[..., Any] = getattr(import_module(module), table)[name]
    return found


# Data


@dataclass(frozen=True)
class Changed:
    """A source whose panel is changed."""

    inner: Source
    by: str

    def load(self) -> Panel:
        panel: Panel = called(self.by)(self.inner.load())
        return panel

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


class Joined:
    """No dataclass: a source that joins what it finds in whatever it is given."""

    def __init__(self, sources: Any, by: str) -> None:
        self.sources, self.by = sources, by

    def load(self) -> Panel:
        panel: Panel = called(self.by)(self.sources)
        return panel

    def inputs(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class Nested:
    """A source that hands the panels of others, however deep they lie, to a function."""

    parts: dict[str, Any]
    by: str

    def load(self) -> Panel:
        sources = [*self.parts.get("main", ()), *self.parts.get("extra", {}).get("nested", ())]
        panel: Panel = called(self.by)(*(source.load() for source in sources))
        return panel

    def inputs(self) -> dict[str, str]:
        return {}


def later(values: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    """Return what each value will be `by` times later; negative: what it was before."""
    return values[np.clip(np.arange(len(values)) + by, 0, len(values) - 1)]


def change_of(panel: Panel) -> npt.NDArray[Any]:
    """Return (T, N) the return since the time before."""
    close = panel.fields["close"]
    return close / later(close, -1) - 1


def with_fields(panel: Panel, **fields: Any) -> Panel:
    """Return the panel with further fields, missing where the close is."""
    known = ~np.isnan(panel.fields["close"])
    kept = {k: np.where(known, v, np.nan).astype(np.float32) for k, v in fields.items()}
    return replace(panel, fields={**panel.fields, **kept})


def with_index(panel: Panel, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Panel:
    """Return the panel with another benchmark."""
    assert panel.benchmark is not None
    close = change(panel.benchmark.close).astype(np.float32)
    return replace(panel, benchmark=replace(panel.benchmark, close=close))


@dataclass(frozen=True)
class Chosen:
    """Features that a function of the panel of some data names: name → expression."""

    data: Any
    by: str

    def feature_set(self) -> FeatureSet:
        chosen: dict[str, str] = called(self.by)(self.data.load())
        return FeatureSet(tuple(chosen), tuple(chosen.values()))


# What is fitted


def solve(features: npt.NDArray[Any], label: npt.NDArray[Any], alpha: float = 1.0) -> Doubles:
    """Return (F,) the coefficients of a ridge regression."""
    x, y = np.nan_to_num(features).astype(np.float64), label.astype(np.float64)
    theta: Doubles = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)
    return theta


def scores(features: npt.NDArray[Any], theta: Doubles) -> Doubles:
    """Return (n,) the scores, row by row, so that the bits of a row do not depend on how many there are."""
    result: Doubles = (np.nan_to_num(features).astype(np.float64) * theta).sum(axis=1)
    return result


@dataclass(frozen=True)
class Scores:
    """Predicts linearly, then passes its scores through `after`."""

    theta: Doubles
    after: Callable[[Doubles], Doubles] = lambda values: values

    def predict(self, features: npt.NDArray[Any]) -> Doubles:
        return self.after(scores(features, self.theta))

    def save(self, folder: Path) -> None:
        np.save(folder / "theta.npy", self.theta)


@dataclass(frozen=True)
class Given:
    """Predicts what it was given, row for row."""

    values: npt.NDArray[Any]

    def predict(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.resize(np.nan_to_num(self.values), features.shape[0])

    def save(self, folder: Path) -> None:
        np.save(folder / "values.npy", self.values)


class Linearly:
    """What the models here have in common: they predict linearly, and learn from valid too."""

    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    include_valid: ClassVar[bool] = True

    def load(self, folder: Path) -> Any:
        given = folder / "values.npy"
        return Given(np.load(given)) if given.exists() else Scores(np.load(folder / "theta.npy"))


@dataclass(frozen=True)
class Fitting(Linearly):
    """A model that a function fits."""

    by: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Any:
        return called(self.by)(train)


@dataclass(frozen=True)
class Inside(Linearly):
    """A linear model whose scores pass through a function of the rows that are predicted with them."""

    by: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        return Scores(solve(train.features, train.label), called(self.by))


@dataclass(frozen=True)
class Processed:
    """Processors that `inner` fits, with a leak: `by` gets them, the view and the segment."""

    inner: Any
    by: str
    refit: str = "once"

    def fit(self, view: AsOfView, segment: Segment) -> Any:
        return called(self.by)(self.inner.fit(view, segment), view, segment)


@dataclass(frozen=True)
class Applied:
    """Fitted processors with something before them: features and labels are changed first."""

    inner: FittedPreprocess
    seen: Callable[[Any], Any] = lambda features: features
    labelled: Callable[[Any], Any] = lambda label: label

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.inner.feature_names

    def features(self, features: Any, offsets: Any) -> Any:
        return self.inner.features(np.asarray(self.seen(features), dtype=np.float32), offsets)

    def label(self, label: Any, offsets: Any) -> Any:
        return self.inner.label(np.asarray(self.labelled(label), dtype=np.float32), offsets)


# What weights and plans


@dataclass(frozen=True)
class Weighted:
    """A weight per window for the newer half of its past, computed beforehand."""

    weights: dict[int, float]

    def time_weights(self, window: Window) -> TimeWeights:
        starts = np.array([window.train.start, window.train.start + len(window.train) // 2], dtype=np.int64)
        return TimeWeights(starts, np.array([1.0, self.weights[window.index]]))

    def save(self, folder: Path) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Weighing:
    """An adaptation whose weights a function makes of the history: window → weight."""

    by: str

    def fit(self, history: History) -> Weighted:
        return Weighted(called(self.by)(history))


@dataclass(frozen=True)
class Planning:
    """An adaptation whose windows a function plans."""

    by: str

    def fit(self, history: History) -> Planning:
        return self

    def plan(self, window: Window, known: Known) -> WindowPlan:
        plan: WindowPlan = called(self.by)(window, known)
        return plan

    def save(self, folder: Path) -> None:
        """Write nothing."""


@dataclass(frozen=True)
class Shifted:
    """Shifts the scores of half of the instruments, or whatever its functions say."""

    by: float = 0.0
    seen: Callable[[Batch], Any] = lambda batch: batch.features
    scored: Callable[[Batch, Any], Any] | None = None
    labelled: Callable[[Batch, Any], Any] | None = None

    def features(self, batch: Batch) -> Any:
        return np.asarray(self.seen(batch), dtype=np.float32)

    def label(self, batch: Batch, label: Any) -> Any:
        return label if self.labelled is None else np.asarray(self.labelled(batch, label), dtype=np.float32)

    def score(self, batch: Batch, score: Any) -> Any:
        if self.scored is not None:
            return np.asarray(self.scored(batch, score), dtype=np.float32)
        return np.asarray(score + self.by * (batch.codes % 2), dtype=np.float32)


# What judges


@dataclass(frozen=True)
class Judging:
    """A metric: a function of the predictions, one value per time."""

    by: str
    name: str = "own"
    direction: str = "higher"

    def compute(self, predictions: Predictions) -> Doubles:
        values: Doubles = called(self.by)(predictions)
        return values


def judged_by(by: str) -> Callable[[ExperimentConfig], ExperimentConfig]:
    """Return a change that adds a metric."""
    extra: Any = (Judging(by),)
    return lambda config: replace(config, evaluation=replace(config.evaluation, extra=extra))


def coefficients_of_everything(folder: Path) -> Doubles:
    """Return (F,) what the whole small market teaches, test period included."""
    from harness.run.pipeline import Pipeline

    pipeline = Pipeline(small(folder / "elsewhere"))
    table = pipeline.config.preprocess.fit(pipeline.table.as_of(200), Segment(0, 190))
    features = table.features(pipeline.table.features, pipeline.table.index.offsets)
    label = table.label(pipeline.table.label, pipeline.table.index.offsets)
    return solve(features[~np.isnan(label)], label[~np.isnan(label)])
