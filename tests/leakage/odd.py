"""Clean but odd: what an audit must not take for a leak, each a part that somebody might write."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source, truncate
from harness.evaluation.portfolio.strategy import Decision, Orders
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_expression
from harness.samples.interfaces import LearnSet
from harness.samples.plan import Batch, Known, WindowPlan
from harness.samples.preprocess import Processor
from harness.samples.windows import Window
from tests.leakage.held_edges import WEEKLY, Spread, weeks, with_processor
from tests.leakage.held_parts import correlation
from tests.leakage.held_sources import portfolio
from tests.leakage.mutant import Change
from tests.leakage.parts import (
    TRADING,
    Changed,
    Chosen,
    Doubles,
    Linearly,
    Planning,
    Scores,
    Shifted,
    judged_by,
    solve,
)

__all__ = ["ODD"]

SHAPE = np.random.default_rng(7).normal(size=(4, 12)) / 2
MEMO: dict[bytes, Doubles] = {}


@dataclass(frozen=True, slots=True)
class Slots:
    """A linear model in a class without a dictionary."""

    alpha: float = 1.0
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        return Scores(solve(train.features, train.label, self.alpha))

    def load(self, folder: Path) -> Scores:
        return Scores(np.load(folder / "theta.npy"))


@dataclass(frozen=True)
class OddFit:
    """Predicts from a column, a constant, or random projections of all columns."""

    theta: Doubles
    how: str

    def predict(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        known = np.nan_to_num(features)
        if self.how == "a fixed projection":
            basis = np.resize(SHAPE, (known.shape[1], SHAPE.shape[1]))
            return np.asarray(np.tanh(known @ basis) @ self.theta)
        if self.how == "a random score":
            return np.sin(known @ np.resize(SHAPE, known.shape[1]) * 1e3)
        if self.how == "scores missing where a feature is extreme":
            return np.where(np.abs(known).max(axis=1) > 2.5, np.nan, (known * self.theta).sum(axis=1))
        if self.how == "neighbours":
            return np.array([self.theta[int(abs(row).sum() * 1e6) % self.theta.size] for row in known])
        return known[:, 0] if self.how == "momentum" else (known * self.theta).sum(axis=1)

    def save(self, folder: Path) -> None:
        np.save(folder / "theta.npy", self.theta)


@dataclass(frozen=True)
class Odd:
    """A model that is odd in the way that `how` names."""

    how: str
    prior: str | None = None
    prior_ends: str | None = None
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    seconds: list[float] = field(default_factory=list, compare=False)

    def fit(self, train: LearnSet, valid: LearnSet | None) -> OddFit:
        began, (x, y) = time.perf_counter(), (np.nan_to_num(train.features), train.label)
        if self.how == "a constant":
            theta = np.zeros(x.shape[1])
        elif self.how == "a fixed projection":
            theta = solve(np.tanh(x @ np.resize(SHAPE, (x.shape[1], SHAPE.shape[1]))), y)
        elif self.how == "a scratch file":
            theta = scratch(x, y)
        elif self.how == "a memo":
            theta = MEMO.setdefault(y.tobytes() + x.tobytes(), solve(x, y))
        elif self.how == "the size of labels":
            theta = -solve(x, np.abs(y) - np.abs(y).mean())
        elif self.how == "a pool of threads":
            with ThreadPoolExecutor(2) as pool:
                theta = sum(pool.map(solve, np.array_split(x, 3), np.array_split(y, 3))) / 3  # type: ignore[assignment]
        elif self.how == "a log and a seed of everything":
            logging.getLogger(__name__).warning("fitting %s rows", len(x))
            os.environ["OWN_SEED"] = "3"
            np.random.seed(int(os.environ["OWN_SEED"]))  # noqa: NPY002
            theta = solve(x, y) + np.random.normal(scale=1e-4, size=x.shape[1])  # noqa: NPY002
        elif self.how == "seeded noise":
            theta = solve(x, y) + np.random.default_rng(3).normal(scale=1e-4, size=x.shape[1])
        else:
            theta = solve(x, y)
        if self.how == "a timer":
            self.seconds.append(time.perf_counter() - began)
        return OddFit(theta, self.how)

    def load(self, folder: Path) -> OddFit:
        return OddFit(np.load(folder / "theta.npy"), self.how)


def scratch(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Doubles:
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "rows.npy", np.c_[x, y])
        rows = np.load(Path(folder) / "rows.npy", mmap_mode="r")
        return solve(np.array(rows[:, :-1]), np.array(rows[:, -1]))


@dataclass(frozen=True)
class Together:
    """A source that joins two, each as it is known at its time."""

    sources: tuple[Source, ...]

    def load(self) -> Panel:
        panel, other = (source.load() for source in self.sources)
        known = ~np.isnan(panel.fields["close"])
        before = np.concatenate([other.fields["close"][:1], other.fields["close"][:-1]])
        joined = np.where(known, before, np.float32(np.nan))
        return replace(panel, fields={**panel.fields, "other": joined})

    def inputs(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class Typical:
    """A source that adds the price orders are filled at: between the day's low and high."""

    inner: Source

    def load(self) -> Panel:
        panel = self.inner.load()
        middle = ((panel.fields["low"] + panel.fields["high"]) / 2).astype(np.float32)
        return replace(panel, fields={**panel.fields, "deal": middle})

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


def picked_before_the_test(panel: Panel) -> dict[str, str]:
    """Of some candidates the two with the highest |IC| up to the end of the train segment."""
    past = truncate(panel, 130)
    label = compute_expression(past, "Ref($close, -6)/Ref($close, -1) - 1")
    pool = {f"m{k}": f"$close/Ref($close, {k}) - 1" for k in (1, 2, 3, 5, 8, 13, 21)}
    names = sorted(pool, key=lambda name: -abs(correlation(past, pool[name], label)))[:2]
    return {name: pool[name] for name in names}


@dataclass(frozen=True)
class Quantiles(Linearly):
    """Quantiles as far apart as the errors in what was learned."""

    quantile_levels: ClassVar[tuple[float, ...]] = (0.1, 0.5, 0.9)

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Spread:
        fitted = Scores(solve(train.features, train.label))
        return Spread(fitted, float(np.std(train.label - fitted.predict(train.features))))


@dataclass(frozen=True)
class Each(Linearly):
    """A model of each instrument."""

    per_instrument: ClassVar[bool] = True

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        return Scores(solve(train.features, train.label))


@dataclass(frozen=True)
class RankWithin(Processor):
    """A processor of one's own: ranks within a time."""

    def transform(self, values: Any, offsets: Any, state: Any) -> None:
        for start, stop in itertools.pairwise(offsets.tolist()):
            values[start:stop] = np.argsort(np.argsort(values[start:stop], axis=0), axis=0) / max(stop - start, 1)


@dataclass(frozen=True)
class Stopping(TopkDropout):
    """A strategy that sells what has fallen a tenth below the best price that it has seen while it held it."""

    peaks: dict[str, float] = field(default_factory=dict, compare=False)

    def orders(self, decision: Decision) -> Orders:
        score = decision.score.copy()
        for at in range(score.size):
            if not decision.shares[at] > 0:
                self.peaks.pop(decision.instruments[at], None)
                continue
            peak = max(self.peaks.get(decision.instruments[at], 0.0), float(np.nan_to_num(decision.price[at])))
            self.peaks[decision.instruments[at]] = peak
            score[at] = -1e9 if decision.price[at] < 0.9 * peak else score[at]
        return super().orders(replace(decision, score=score))


def less_what_was_seen(window: Window, known: Known) -> WindowPlan:
    """Features less the mean of the times before, which the transform remembers from time to time."""
    seen = [np.zeros(5, dtype=np.float32)]

    def centred(batch: Batch) -> Any:
        mean = np.mean(seen, axis=0)
        seen.append(batch.features.mean(axis=0))
        return batch.features - mean

    return WindowPlan(transform=Shifted(seen=centred))


def worst_so_far(predictions: Predictions) -> Doubles:
    daily = np.add.reduceat(np.nan_to_num(predictions.score * predictions.label), predictions.offsets[:-1])
    return np.minimum.accumulate(daily.astype(float))


CLEANLY: dict[str, Callable[..., Any]] = {
    "weeks of days": partial(weeks, dated=4),
    "features picked before the test": picked_before_the_test,
    "a transform that remembers": less_what_was_seen,
    "the worst day so far": worst_so_far,
}


def cleanly(name: str) -> str:
    return f"{__name__}:CLEANLY:{name}"


@dataclass(frozen=True)
class Hits:
    """A metric of one time after the other."""

    name: str = "hits"
    direction: str = "higher"

    def compute(self, predictions: Predictions) -> Doubles:
        same = np.sign(predictions.score) == np.sign(predictions.label)
        counts = np.maximum(np.diff(predictions.offsets), 1)
        return np.add.reduceat(same.astype(float), predictions.offsets[:-1]) / counts


def model(how: str, prior: str | None = None, ends: str | None = None) -> Change:
    return lambda config: replace(config, model=Odd(how, prior, ends))


def joined(config: ExperimentConfig) -> ExperimentConfig:
    other = replace(config.data, seed=5)  # type: ignore[type-var]
    return replace(config, data=Together((config.data, other)))


def metric(config: ExperimentConfig) -> ExperimentConfig:
    return replace(config, evaluation=replace(config.evaluation, extra=(Hits(),)))  # type: ignore[arg-type]


PORTFOLIO = ("evaluation=portfolio", "evaluation.significance=null", "evaluation.portfolio.topk=5")
# Name → overrides, and what is put in by hand.
ODD: dict[str, tuple[tuple[str, ...], Change]] = {
    "slots": ((), lambda config: replace(config, model=Slots())),
    **{how: ((), model(how)) for how in ("a constant", "a fixed projection", "a scratch file", "a memo")},
    **{how: ((), model(how)) for how in ("seeded noise", "a timer", "momentum", "neighbours", "the size of labels")},
    "momentum, declared": ((), model("momentum", "rule")),
    "a random score, declared": ((), model("a random score", "random")),
    "pretrained until before the test, declared": ((), model("linear", "pretrained", "2011-12-31")),
    "two sources joined": (("+features.expressions.other='$other/Mean($other, 5)'",), joined),
    "a deal price of the day itself": (
        (*PORTFOLIO, "evaluation.portfolio.deal_price=deal", "evaluation.portfolio.trade_unit=null"),
        lambda config: replace(config, data=Typical(config.data)),
    ),
    "a metric of its own": ((), metric),
    **{
        how: ((), model(how))
        for how in (
            "scores missing where a feature is extreme",
            "a pool of threads",
            "a log and a seed of everything",
        )
    },
    "weeks of days": (WEEKLY, lambda config: replace(config, data=Changed(config.data, cleanly("weeks of days")))),
    "features picked before the test": (
        (),
        lambda config: replace(config, features=Chosen(config.data, cleanly("features picked before the test"))),
    ),
    "quantiles of a model of its own": ((), lambda config: replace(config, model=Quantiles())),
    "a model of each instrument": ((), lambda config: replace(config, model=Each())),
    "a processor of its own": ((), with_processor(RankWithin())),
    "a strategy that remembers": (TRADING, portfolio(lambda fields, _: Stopping(**fields))),
    "a transform that remembers": (
        (),
        lambda config: replace(config, adaptation=Planning(cleanly("a transform that remembers"))),
    ),
    "the worst day so far": ((), judged_by(cleanly("the worst day so far"))),
}
