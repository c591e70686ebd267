"""Held out: leaks at the edges of time, and of plug-ins that nobody had tried; written before any check met them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from harness.audit.cost import whole_table
from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.data.panel import ALWAYS, Panel
from harness.evaluation.portfolio.costs import SquareRootImpact
from harness.evaluation.portfolio.strategy import Decision, Orders
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions
from harness.samples.interfaces import LearnSet
from harness.samples.plan import Batch, Known, WindowPlan
from harness.samples.preprocess import Processor
from harness.samples.table import AsOfView
from harness.samples.windows import Segment, Window
from tests.leakage.data import LEVELS
from tests.leakage.held_sources import portfolio
from tests.leakage.learning import ahead
from tests.leakage.mutant import Change, Mutant, held
from tests.leakage.parts import (
    EXTRA,
    TRADING,
    Changed,
    Doubles,
    Judging,
    Linearly,
    Planning,
    Scores,
    Shifted,
    change_of,
    judged_by,
    later,
    solve,
    with_fields,
)

__all__ = ["MUTANTS"]

# Sources whose calendar, names, members or declarations know more than a day can


def at_times(panel: Panel, kept: npt.NDArray[Any]) -> Panel:
    """Return the panel of some calendar positions."""
    assert panel.benchmark is not None
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[kept]),
        fields={name: np.ascontiguousarray(values[kept]) for name, values in panel.fields.items()},
        membership=np.ascontiguousarray(panel.membership[kept]),
        benchmark=replace(panel.benchmark, close=panel.benchmark.close[kept].copy()),
        truth=None,
    )


def without_the_worst_days(panel: Panel) -> Panel:
    moves = np.nan_to_num(np.nanmean(change_of(panel), axis=1))
    return at_times(panel, np.flatnonzero(moves >= np.quantile(moves, 0.1)))


def weeks(panel: Panel, dated: int) -> Panel:
    """Weeks of five days: the last close, and what was traded; the date is that of the day `dated`."""
    first = np.arange(0, len(panel.calendar) - 4, 5)
    last = at_times(panel, first + 4)
    times = Calendar(panel.calendar.times[first + dated])
    return replace(last, calendar=times, membership=np.ascontiguousarray(panel.membership[first + dated]))


def numbered_by_their_end(panel: Panel) -> Panel:
    """Codes in the order of how the instruments end: who is last has risen most."""
    close = panel.fields["close"]
    last = np.array([column[~np.isnan(column)][-1] / column[~np.isnan(column)][0] for column in close.T])
    order = np.argsort(last)
    fields = {name: np.ascontiguousarray(values[:, order]) for name, values in panel.fields.items()}
    return replace(panel, fields=fields, membership=np.ascontiguousarray(panel.membership[:, order]), truth=None)


def members_of_the_month_end(panel: Panel) -> Panel:
    ends = np.minimum(np.arange(len(panel.calendar)) // 20 * 20 + 19, len(panel.calendar) - 1)
    return replace(panel, membership=np.ascontiguousarray(panel.membership[ends]))


def betas_of_all_times(panel: Panel) -> Panel:
    assert panel.benchmark is not None
    moves, index = np.nan_to_num(change_of(panel)), panel.benchmark.close
    market = np.nan_to_num(index / later(index, -1) - 1)
    beta = (moves * market[:, None]).sum(axis=0) / (market @ market)
    return with_fields(panel, other=np.exp(np.cumsum(moves - beta * market[:, None], axis=0)))


def volume_declared(panel: Panel) -> Panel:
    return replace(panel, known_ahead={"volume": 3})


def days_to_the_next_fall(panel: Panel) -> Panel:
    """Declared to be of the calendar, as holidays are."""
    falls = np.flatnonzero(np.nan_to_num(np.nanmean(change_of(panel), axis=1)) < -0.01)
    times = np.arange(len(panel.calendar))
    at = np.searchsorted(falls, times, side="right")
    gap = np.where(at < falls.size, falls[np.minimum(at, falls.size - 1)] - times, 50)
    weights = 1.0 + np.arange(len(panel.instruments)) / len(panel.instruments)
    made = with_fields(panel, other=(1.0 + gap)[:, None] ** weights)
    return replace(made, known_ahead={"other": ALWAYS})


def out_before_a_halt(panel: Panel) -> Panel:
    """Who will not trade in three days is no member today."""
    traded = panel.traded
    return replace(panel, membership=panel.membership & later(traded, 1) & later(traded, 2) & later(traded, 3))


def volume_around_the_day(panel: Panel) -> Panel:
    volume = panel.fields["volume"]
    return with_fields(panel, volume=np.mean([later(volume, by) for by in range(-5, 6)], axis=0))


def lots_of_the_last_day(panel: Panel) -> Panel:
    end = panel.fields["close"][-1] / np.nanmean(panel.fields["close"][-1])
    return with_fields(panel, factor=np.broadcast_to(np.nan_to_num(end, nan=1.0), panel.membership.shape))


CHANGED: dict[str, Callable[[Panel], Panel]] = {
    "days that fall most left out of the calendar": without_the_worst_days,
    "weeks dated by their first day": partial(weeks, dated=0),
    "instruments numbered by how they end": numbered_by_their_end,
    "members as of the end of each month": members_of_the_month_end,
    "betas to the index over all times": betas_of_all_times,
    "volume declared to be known three days ahead": volume_declared,
    "days to the next fall, of the calendar": days_to_the_next_fall,
    "no member in the days before a halt": out_before_a_halt,
    "impact by volumes around the day": volume_around_the_day,
    "lots by the factor of the last day": lots_of_the_last_day,
}
WEEKLY = ("data.days=1200", "windows.step=5", "label.horizon=2")
GIVEN: dict[str, tuple[str, ...]] = {
    "weeks dated by their first day": WEEKLY,
    "betas to the index over all times": EXTRA,
    "volume declared to be known three days ahead": (
        "+features.expressions.coming='Ref($volume, -3)/Mean($volume, 5)'",
        "features.known_ahead={volume: 3}",
    ),
    "days to the next fall, of the calendar": (
        "+features.expressions.other='Log($other)'",
        f"features.known_ahead={{other: {ALWAYS}}}",
    ),
    "no member in the days before a halt": ("data.suspension_rate=0.03",),
    "impact by volumes around the day": (*TRADING, "~features.expressions.turnover"),
    "lots by the factor of the last day": (*TRADING[:-1], "evaluation.portfolio.account=2000000"),
}


def by_code(window: Window, known: Known) -> WindowPlan:
    return WindowPlan(transform=Shifted(scored=lambda batch, score: score + np.float32(0.01) * batch.codes))


def changed(name: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        data = Changed(config.data, f"{__name__}:CHANGED:{name}")
        if "numbered" in name:
            return replace(config, data=data, adaptation=Planning(f"{__name__}:PLANS:scores by code"))
        if "impact" in name:
            return portfolio(lambda fields, _: TopkDropout(**{**fields, "costs": (SquareRootImpact(),)}))(
                replace(config, data=data)
            )
        return replace(config, data=data)

    group = "evaluation" if TRADING[0] in GIVEN.get(name, ()) else "data"
    return held(group, name, change, GIVEN.get(name, LEVELS))


# Strategies, costs and metrics


@dataclass(frozen=True)
class Behind(TopkDropout):
    """A strategy that reaches behind the history that it is handed, at the market of tomorrow."""

    def orders(self, decision: Decision) -> Orders:
        cells: Any = [cell.cell_contents for cell in decision.history.__closure__ or ()]
        market = next(one for one in cells if hasattr(one, "times"))
        at = int(np.searchsorted(market.times, decision.time)) + 1
        rise = np.nan_to_num(market.close[min(at, len(market.times) - 1)] / decision.price - 1.0)
        return super().orders(replace(decision, score=decision.score + 10.0 * rise))


def mends(predictions: Predictions) -> Doubles:
    """Turns scores that were wrong, in the record that every other metric is made of."""
    score, wrong = predictions.score, np.nan_to_num(predictions.label) * predictions.score < 0
    score.setflags(write=True)
    score[wrong] *= np.float32(-1)
    return np.zeros(predictions.offsets.size - 1)


def daily(predictions: Predictions, values: npt.NDArray[Any]) -> Doubles:
    parts = np.split(np.nan_to_num(values).astype(float), predictions.offsets[1:-1])
    return np.array([part.mean() if part.size else 0.0 for part in parts])


def hits(predictions: Predictions) -> Doubles:
    return daily(predictions, np.sign(predictions.score) == np.sign(predictions.label))


def by_the_mood_to_come(predictions: Predictions) -> Doubles:
    """The hit rate of days, weighted by how well the month after them goes."""
    mood = np.convolve(daily(predictions, predictions.label), np.full(20, 0.05))[19:]
    return hits(predictions) * (1.0 + np.sign(mood))


METRICS: dict[str, Callable[[Predictions], Doubles]] = {
    "a metric that mends the scores it is given": mends,
    "hits": hits,
    "a metric by the mood of the month to come": by_the_mood_to_come,
}


def by_metric(name: str) -> tuple[str, Change]:
    return name, judged_by(f"{__name__}:METRICS:{name}")


def mended(config: ExperimentConfig) -> ExperimentConfig:
    names = ("a metric that mends the scores it is given", "hits")
    extra: Any = tuple(Judging(f"{__name__}:METRICS:{name}", name.split()[-1]) for name in names)
    return replace(config, evaluation=replace(config.evaluation, extra=extra))


# Models: quantiles, single instruments, and the first and last days


@dataclass(frozen=True)
class Spread:
    """A linear model with quantiles that are `width` apart; None: as wide as the scores predicted together."""

    inner: Scores
    width: float | None

    def predict(self, features: npt.NDArray[Any]) -> Doubles:
        return self.inner.predict(features)

    def predict_quantiles(self, features: npt.NDArray[Any]) -> Doubles:
        score = self.inner.predict(features)
        width = float(np.std(score)) if self.width is None else self.width
        return score[:, None] + width * np.array([-1.0, 0.0, 1.0])

    def save(self, folder: Path) -> None:
        self.inner.save(folder)


@dataclass(frozen=True)
class Quantiles(Linearly):
    """Scores are honest; the width of the quantiles is that of the batch, or of the errors to come."""

    width: str
    quantile_levels: ClassVar[tuple[float, ...]] = (0.1, 0.5, 0.9)

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Spread:
        fitted = Scores(solve(train.features, train.label))
        if self.width == "quantiles as wide as the batch":
            return Spread(fitted, None)
        features, label = ahead(train, 20)
        errors = label[~np.isnan(label)] - fitted.predict(features[~np.isnan(label)])
        return Spread(fitted, float(np.std(errors)) if errors.size else 1.0)


def first_with_second(values: Doubles) -> Doubles:
    """The first rows of a batch less the mean of those that come right after."""
    first = values.copy()
    first[:18] -= values[18:36].mean() if values.size > 36 else 0.0
    return first


def last_but_one_with_last(values: Doubles) -> Doubles:
    made = values.copy()
    made[-36:-18] -= values[-18:].mean()
    return made


INSIDE: dict[str, Callable[[Doubles], Doubles]] = {
    "the first day of a segment less the second": first_with_second,
    "the last day but one less the last": last_but_one_with_last,
}


@dataclass(frozen=True)
class AtTheEdge(Linearly):
    """Honest but in one window, where it learns from the segment that it is asked to predict."""

    which: str
    border: ClassVar[dict[str, Callable[[int], bool]]] = {
        "a model that peeks in the last window with labels only": lambda decision: 270 <= decision < 290,
        "a model that peeks in the first window only": lambda decision: decision < 200,
    }

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        features, label = train.features, train.label
        if self.border[self.which](train.view.decision):
            more, answers = ahead(train, 15)
            known = ~np.isnan(answers)
            features, label = np.concatenate([features, more[known]]), np.concatenate([label, answers[known]])
        return Scores(solve(features, label))


@dataclass(frozen=True)
class Tailed(Linearly):
    """A linear model whose scores pass through one of `INSIDE`."""

    by: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        return Scores(solve(train.features, train.label), INSIDE[self.by])


# Processors and adaptations


class Together(Processor):
    """A processor that takes off the mean of 1,000 rows, whichever times they are of."""

    def transform(self, values: Any, offsets: Any, state: Any) -> None:
        for at in range(0, len(values), 1000):
            values[at : at + 1000] -= np.nan_to_num(np.nanmean(values[at : at + 1000], axis=0))


def with_processor(first: Processor) -> Change:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        pipeline: Any = config.preprocess
        return replace(config, preprocess=replace(pipeline, features=(first, *pipeline.features)))

    return change


@dataclass(frozen=True)
class Restored:
    """Labels in units of each series' deviation; forecasts come back by that of all times."""

    inner: Any
    refit: str = "once"
    restores_label: ClassVar[bool] = True
    keeps_label_unit: ClassVar[bool] = True

    def fit(self, view: AsOfView, segment: Segment) -> Any:
        table = whole_table(view)
        scale = [np.nanstd(table.label[table.index.codes == code]) for code in range(len(table.instruments))]
        return Restoring(self.inner.fit(view, segment), np.nan_to_num(np.array(scale), nan=1.0))


@dataclass(frozen=True)
class Restoring:
    inner: Any
    scale: Doubles

    @property
    def feature_names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.inner.feature_names
        return names

    def features(self, features: Any, offsets: Any) -> Any:
        return self.inner.features(features, offsets)

    def label(self, label: Any, offsets: Any) -> Any:
        return label

    def restore(self, score: Any, codes: Any) -> Any:
        return (score * self.scale[codes]).astype(np.float32)


def running_down(window: Window, known: Known) -> WindowPlan:
    table = whole_table(known.view)
    rows = table.index.rows(window.decision + 1, min(window.decision + 2, len(table.calendar)))
    gap = float(np.nan_to_num(table.features[rows])[:, 0].mean())

    def seen(batch: Batch) -> Any:
        return batch.features + np.float32(gap) * (batch.codes % 3)[:, None]

    return WindowPlan(transform=Shifted(seen=seen))


TOMORROW = "features shifted by those of the day after the decision"
PLANS: dict[str, Callable[[Window, Known], WindowPlan]] = {
    "scores by code": by_code,
    TOMORROW: running_down,
}


def model(name: str, make: Callable[[str], Any], overrides: tuple[str, ...] = (), **more: Any) -> Mutant:
    return held("model", name, lambda config: replace(config, model=make(name)), overrides, **more)


MUTANTS = (
    *map(changed, CHANGED),
    held("evaluation", "a strategy that reaches behind its history", portfolio(lambda f, _: Behind(**f)), TRADING),
    held("evaluation", "a metric that mends the scores it is given", mended),
    held("evaluation", *by_metric("a metric by the mood of the month to come")),
    model("quantiles as wide as the batch", Quantiles),
    model("quantiles as wide as the errors to come", Quantiles),
    *(model(name, Tailed) for name in INSIDE),
    *(model(name, AtTheEdge) for name in AtTheEdge.border),
    held("preprocessing", "a processor that centres 1,000 rows together", with_processor(Together())),
    held(
        "preprocessing",
        "forecasts restored by the deviation of all times",
        lambda config: replace(config, preprocess=Restored(config.preprocess)),  # type: ignore[arg-type]
    ),
    held("plans", TOMORROW, lambda c: replace(c, adaptation=Planning(f"{__name__}:PLANS:{TOMORROW}"))),
)
