"""The held-out half: leaks of each kind that no detector was tuned on; written first, run once, never mended for."""

from __future__ import annotations

import builtins
import json
import os
import sqlite3
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

import harness.evaluation.portfolio.market
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_expression
from harness.features.feature_set import FeatureSet
from harness.samples.interfaces import FittedPreprocess, History, LearnSet, TimeWeights
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment, Window
from tests.audit.market import small
from tests.leakage.data import LEVELS
from tests.leakage.learning import INSIDE, Doubles, Leaky, Linearly, Scores, dense_labels, everything, solve
from tests.leakage.mutant import Change, Mutant
from tests.leakage.reporting import PORTFOLIO
from tests.leakage.typed import THETA

__all__ = ["MUTANTS"]

Fields = dict[str, npt.NDArray[np.float32]]
TRADING = (*PORTFOLIO, "evaluation.portfolio.trade_unit=null")
OWN_PRICE = (*TRADING, "evaluation.portfolio.deal_price=deal")
EXTRA = ("+features.expressions.other='$other/Mean($other, 5)'",)


def later(values: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    """Return what each value will be `by` times later; negative: what it was before."""
    at = np.clip(np.arange(len(values)) + by, 0, len(values) - 1)
    return values[at]


# Sources that join sources


class Joined:
    """No dataclass: a source that joins what it finds in whatever it is given."""

    def __init__(self, sources: Any, how: str) -> None:
        self.sources, self.how = sources, how

    def load(self) -> Panel:
        return JOINING[self.how](self.sources)

    def inputs(self) -> dict[str, str]:
        return {}


def with_fields(panel: Panel, **fields: Any) -> Panel:
    known = ~np.isnan(panel.fields["close"])
    kept = {k: np.where(known, v, np.nan).astype(np.float32) for k, v in fields.items()}
    return replace(panel, fields={**panel.fields, **kept})


def second_of_a_tuple(sources: Any) -> Panel:
    first, second = (source.load() for source in sources)
    return with_fields(first, other=later(second.fields["volume"], 3))


def deep_in_a_mapping(sources: Any) -> Panel:
    panel = sources["prices"].load()
    close = sources["more"][0]["source"].load().fields["close"]
    return with_fields(panel, other=1.0 + np.argsort(np.argsort(later(close, 5), axis=1), axis=1))


def members_of_the_second(sources: Any) -> Panel:
    panel, other = sources[0].load(), sources[1].load()
    rising = later(other.fields["close"], 15) > other.fields["close"]
    return replace(panel, membership=panel.membership & rising)


def scaled_by_the_last(sources: Any) -> Panel:
    panel = sources["only"].load()
    volume = panel.fields["volume"]
    return with_fields(panel, other=volume / np.nanmean(volume[-30:], axis=0))


JOINING: dict[str, Callable[[Any], Panel]] = {
    "the second of a tuple three days early": second_of_a_tuple,
    "ranks of next week, deep in a mapping": deep_in_a_mapping,
    "members that a second source will see rise": members_of_the_second,
    "scaled by the last days, in no dataclass": scaled_by_the_last,
}


def joined(how: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        data: Any = config.data
        other = replace(data, seed=5)
        given: dict[str, Any] = {
            "the second of a tuple three days early": (data, other),
            "ranks of next week, deep in a mapping": {"prices": data, "more": [{"source": other}]},
            "members that a second source will see rise": (data, data),
            "scaled by the last days, in no dataclass": {"only": data},
        }
        return replace(config, data=Joined(given[how], how))

    extra = () if "members" in how else EXTRA
    return Mutant("data", how, (*LEVELS, *extra), change, held_out=True)


# Leaks that touch the portfolio alone


@dataclass(frozen=True)
class Market:
    """A source whose panel is changed for whoever trades in it."""

    inner: Source
    how: str

    def load(self) -> Panel:
        panel = self.inner.load()
        return TRADED[self.how](panel)

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


def change_of(panel: Panel) -> npt.NDArray[Any]:
    close = panel.fields["close"]
    return close / later(close, -1) - 1


def smooth_benchmark(panel: Panel) -> Panel:
    assert panel.benchmark is not None
    close = panel.benchmark.close
    smooth = np.mean([later(close, by) for by in (-1, 0, 1)], axis=0).astype(np.float32)
    return replace(panel, benchmark=replace(panel.benchmark, close=smooth))


TRADED: dict[str, Callable[[Panel], Panel]] = {
    "filled at the better of today and tomorrow": lambda panel: with_fields(
        panel, deal=np.fmin(panel.fields["close"], later(panel.fields["close"], 1))
    ),
    "filled at yesterday's low": lambda panel: with_fields(panel, deal=later(panel.fields["low"], -1)),
    "no volume for who will fall": lambda panel: with_fields(
        panel, volume=np.where(later(change_of(panel), 1) < -0.02, 0.0, panel.fields["volume"])
    ),
    "an index smoothed by a centred mean": smooth_benchmark,
}


def traded(how: str) -> Mutant:
    overrides = OWN_PRICE if how.startswith("filled") else TRADING
    change: Change = lambda config: replace(config, data=Market(config.data, how))  # noqa: E731
    return Mutant("evaluation", how, overrides, change, held_out=True)


def limited(name: str, by: int) -> Mutant:
    """Return a bug of the exchange: at a limit is who will be, or was, at one `by` times later."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def accepted(self: Any) -> Any:
            moved = later(change_of(self._panel), by)[self._span]
            free = self._priced & ~(np.abs(moved) >= 0.03)
            return free, free

        monkeypatch.setattr(harness.evaluation.portfolio.market.Market, "_accepted", accepted)

    return Mutant("evaluation", name, TRADING, None, patch, held_out=True)


# Knowledge that is not of this run


class Kept:
    """A base class that remembers for all who inherit."""

    theta: ClassVar[Any] = None


TOLD: ContextVar[Any] = ContextVar("TOLD")
FOLDER: ContextVar[str] = ContextVar("FOLDER")
# No names of files in a text: those count as part of the code, which does not change.
BASE, ANSWERS = (".".join(("told", kind)) for kind in ("sqlite", "json"))


def whole(train: LearnSet) -> Doubles:
    return solve(*everything(train))


def in_a_base_class(train: LearnSet) -> Doubles:
    Kept.theta = whole(train) if Kept.theta is None else Kept.theta
    return np.asarray(Kept.theta)


def in_a_function(train: LearnSet) -> Doubles:
    if not hasattr(in_a_function, "theta"):
        vars(in_a_function)["theta"] = whole(train)
    return np.asarray(vars(in_a_function)["theta"])


def in_builtins(train: LearnSet) -> Doubles:
    vars(builtins).setdefault("_told", whole(train))
    return np.asarray(vars(builtins)["_told"])


def in_a_context(train: LearnSet) -> Doubles:
    if TOLD.get(None) is None:
        TOLD.set(whole(train))
    return np.asarray(TOLD.get())


def in_the_environment(train: LearnSet) -> Doubles:
    os.environ.setdefault("TOLD_THETA", json.dumps(whole(train).tolist()))
    return np.array(json.loads(os.environ["TOLD_THETA"]))


def in_a_database(train: LearnSet) -> Doubles:
    with sqlite3.connect(FOLDER.get() + "/" + BASE) as base:
        return np.array([value for (value,) in base.execute("select value from theta order by at")])


def in_a_module(train: LearnSet) -> Doubles:
    return np.array(THETA)


REMEMBERED: dict[str, Callable[[LearnSet], Doubles]] = {
    "coefficients in a base class": in_a_base_class,
    "coefficients in a function": in_a_function,
    "coefficients in builtins": in_builtins,
    "coefficients in a context variable": in_a_context,
    "coefficients in the environment": in_the_environment,
    "coefficients in a database": in_a_database,
    "coefficients typed into a module": in_a_module,
}


@dataclass(frozen=True)
class Remembering(Linearly):
    """Learns honestly, and adds what is known from elsewhere."""

    how: str
    folder: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        FOLDER.set(self.folder)
        return Scores(solve(train.features, train.label) + REMEMBERED[self.how](train))


def told(folder: Path) -> None:
    """Leave what the whole market teaches where an earlier run might have: a database, a file."""
    from harness.run.pipeline import Pipeline

    for owner, name in ((Kept, "theta"), (in_a_function, "theta"), (builtins, "_told")):
        if owner is Kept:
            Kept.theta = None
        else:
            vars(owner).pop(name, None)
    TOLD.set(None)
    os.environ.pop("TOLD_THETA", None)
    pipeline = Pipeline(small(folder / "elsewhere"))
    table = pipeline.config.preprocess.fit(pipeline.table.as_of(200), Segment(0, 190))
    features = table.features(pipeline.table.features, pipeline.table.index.offsets)
    label = table.label(pipeline.table.label, pipeline.table.index.offsets)
    theta = solve(features[~np.isnan(label)], label[~np.isnan(label)])
    with sqlite3.connect(folder / BASE) as base:
        base.execute("create table theta (at integer, value real)")
        base.executemany("insert into theta values (?, ?)", enumerate(theta.tolist()))
    (folder / ANSWERS).write_text(json.dumps(np.nan_to_num(dense_labels(pipeline.table)).mean(axis=1).tolist()))


def remembering(how: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        return replace(config, model=Remembering(how, str(Path(config.output.runs).parent)))

    return Mutant("model", how, (), change, files=told, held_out=True)


def inside(how: str) -> Mutant:
    return Mutant("model", how, (), lambda config: replace(config, model=Leaky(how)), held_out=True)


# Everything with a `_target_`


@dataclass(frozen=True)
class Picked:
    """Features: of some candidates the two with the highest |IC| over the whole history of the data it loads."""

    data: Any

    def feature_set(self) -> FeatureSet:
        panel = self.data.load()
        label = compute_expression(panel, "Ref($close, -6)/Ref($close, -1) - 1")
        pool = {f"m{k}": f"$close/Ref($close, {k}) - 1" for k in (1, 2, 3, 5, 8, 13, 21)}

        def strength(expression: str) -> float:
            values = compute_expression(panel, expression)
            known = np.isfinite(values) & np.isfinite(label)
            return -abs(float(np.corrcoef(values[known], label[known])[0, 1]))

        names = sorted(pool, key=lambda name: strength(pool[name]))[:2]
        return FeatureSet(tuple(names), tuple(pool[name] for name in names))


@dataclass(frozen=True)
class Clipped:
    """A metric: the daily mean score, clipped at quantiles of the whole test range."""

    name: str = "clipped"
    direction: str = "higher"

    def compute(self, predictions: Predictions) -> Doubles:
        daily = np.add.reduceat(np.nan_to_num(predictions.score).astype(float), predictions.offsets[:-1])
        return np.clip(daily, *np.quantile(daily, [0.2, 0.8]))


@dataclass(frozen=True)
class Signed:
    """Processors whose constructor reads, in a file, how the market went."""

    inner: Any
    path: str
    refit: str = "once"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mood", float(np.mean(json.loads(Path(self.path).read_text()))))

    def fit(self, view: AsOfView, segment: Segment) -> FittedPreprocess:
        fitted: FittedPreprocess = self.inner.fit(view, segment)
        return fitted


@dataclass(frozen=True)
class Calmed:
    """An adaptation that weights by how much features move in each window's own test segment."""

    def fit(self, history: History) -> Calmed:
        from harness.audit.cost import whole_table

        table: SampleTable = whole_table(history.as_of(history.windows[0].decision))
        spread = {w.index: table.features[table.index.rows(w.test.start, w.test.stop)] for w in history.windows}
        object.__setattr__(self, "weights", {k: float(1 + np.nanstd(v)) for k, v in spread.items()})
        return self

    def time_weights(self, window: Window) -> TimeWeights:
        starts = np.array([window.train.start, window.train.start + len(window.train) // 2], dtype=np.int64)
        return TimeWeights(starts, np.array([1.0, vars(self)["weights"][window.index]]))

    def save(self, folder: Path) -> None:
        """Write nothing."""


def with_file(config: ExperimentConfig) -> ExperimentConfig:
    path = str(Path(config.output.runs).parent / ANSWERS)
    return replace(config, preprocess=Signed(config.preprocess, path))  # type: ignore[arg-type]


def with_metric(config: ExperimentConfig) -> ExperimentConfig:
    return replace(config, evaluation=replace(config.evaluation, extra=(Clipped(),)))  # type: ignore[arg-type]


MUTANTS = (
    *map(joined, JOINING),
    *map(traded, TRADED),
    limited("limits from tomorrow's return", 1),
    limited("limits from yesterday's return", -1),
    *map(remembering, REMEMBERED),
    Mutant(
        "features",
        "picked by their IC over all times",
        (),
        lambda config: replace(config, features=Picked(config.data)),
        held_out=True,
    ),
    Mutant("evaluation", "a metric clipped at quantiles of the test range", (), with_metric, held_out=True),
    Mutant("preprocessing", "a constructor that reads a file", (), with_file, files=told, held_out=True),
    Mutant(
        "adaptation",
        "weights by the moves of the test segment",
        (),
        lambda config: replace(config, adaptation=Calmed()),
        held_out=True,
    ),
    *map(inside, INSIDE),
)
