"""Held out: sources that join sources, and leaks that touch the portfolio alone; written first, never mended for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import harness.evaluation.portfolio.market
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.evaluation.portfolio.strategy import Decision, Orders
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from tests.leakage import parts
from tests.leakage.data import LEVELS
from tests.leakage.mutant import Change, Mutant, held
from tests.leakage.parts import EXTRA, OWN_PRICE, TRADING, Changed, change_of, later, with_fields, with_index

__all__ = ["MUTANTS"]

# Sources that join sources: of a tuple, of mappings, of one that is no dataclass


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


def best_of_three(sources: Any) -> Panel:
    """Joins, of three sources, the one whose moves go before those of the first most, over all times."""
    panel, *others = (source.load() for source in sources)
    ahead = np.nan_to_num(later(change_of(panel), 1)).ravel()
    fits = [np.corrcoef(np.nan_to_num(change_of(one)).ravel(), ahead)[0, 1] for one in others]
    return with_fields(panel, other=others[int(np.argmax(fits))].fields["close"] * (1.0 + max(fits)))


JOINING: dict[str, Callable[[Any], Panel]] = {
    "the second of a tuple three days early": second_of_a_tuple,
    "ranks of next week, deep in a mapping": deep_in_a_mapping,
    "members that a second source will see rise": members_of_the_second,
    "scaled by the last days, in no dataclass": scaled_by_the_last,
    "of three sources the one that fits best over all times": best_of_three,
}
# How the sources lie in what it is given: one, and another one.
GIVEN: dict[str, Callable[[Any, Any], Any]] = {
    "the second of a tuple three days early": lambda one, other: (one, other),
    "ranks of next week, deep in a mapping": lambda one, other: {"prices": one, "more": [{"source": other}]},
    "members that a second source will see rise": lambda one, other: (one, one),
    "scaled by the last days, in no dataclass": lambda one, other: {"only": one},
    "of three sources the one that fits best over all times": lambda one, other: [
        *(one, other, replace(one, seed=6), replace(one, seed=7))
    ],
}


def rebased(panel: Panel, other: Panel) -> Panel:
    close = other.fields["close"]
    return with_fields(panel, other=close / close[-1] * panel.fields["close"][-1])


def weekly_on_the_wrong_side(panel: Panel, other: Panel) -> Panel:
    """A weekly series that is merged on the next date instead of the one before."""
    times = np.arange(len(panel.calendar))
    merged = np.minimum((times + 4) // 5 * 5, times.size - 1)
    return with_fields(panel, other=other.fields["close"][merged])


def in_both_to_the_end(panel: Panel, other: Panel) -> Panel:
    both = panel.traded[-3:].any(axis=0) & (other.fields["close"][-1] > np.nanmedian(other.fields["close"][-1]))
    return replace(panel, membership=panel.membership & both)


def joint_outliers(panel: Panel, other: Panel) -> Panel:
    pooled = np.concatenate([panel.fields["volume"], other.fields["volume"]])
    return with_fields(panel, other=np.minimum(panel.fields["volume"], np.nanquantile(pooled, 0.9)))


def grouped_by_all_times(panel: Panel, other: Panel) -> Panel:
    """Relative to the mean of its group, and groups are who moves together, over all times."""
    moves = np.nan_to_num(change_of(other))
    nearest = np.argsort(-np.corrcoef(moves.T + 1e-9), axis=1)[:, :6]
    close = panel.fields["close"]
    return with_fields(panel, other=close / np.nanmean(close[:, nearest], axis=2))


def monthly_at_its_first(panel: Panel, other: Panel) -> Panel:
    """A month's mean, dated at the first of the month that it describes."""
    volume, month = other.fields["volume"], np.arange(len(panel.calendar)) // 20
    means = np.stack([np.nanmean(volume[month == at], axis=0) for at in range(month[-1] + 1)])
    return with_fields(panel, other=means[month])


def residual(panel: Panel, other: Panel) -> Panel:
    """What a regression of one source on the other leaves; its slopes are those of all times."""
    y, x = (np.nan_to_num(np.log(one.fields["close"])) for one in (panel, other))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return with_fields(panel, other=np.exp(y - (x * y).sum(axis=0) / (x * x).sum(axis=0) * x))


def gaps_of_the_second(panel: Panel, other: Panel) -> Panel:
    """A source that reports on some days only; between them stands what is reported next."""
    reported = np.where(np.arange(len(other.calendar))[:, None] % 7 == 3, other.fields["close"], np.nan)
    return with_fields(panel, other=pd.DataFrame(reported).bfill().ffill().to_numpy())


def index_of_the_weaker(panel: Panel, other: Panel) -> Panel:
    """The benchmark of whichever source ends lower."""
    assert panel.benchmark is not None
    assert other.benchmark is not None
    closes = [one.close / one.close[0] for one in (panel.benchmark, other.benchmark)]
    return with_index(panel, lambda close: min(closes, key=lambda one: float(one[-1])))


NESTED: dict[str, Callable[[Panel, Panel], Panel]] = {
    "a second source rebased to its last day": rebased,
    "a weekly source merged on the next date": weekly_on_the_wrong_side,
    "members that both sources keep to the end": in_both_to_the_end,
    "outliers of two sources clipped together": joint_outliers,
    "groups of who moves together over all times": grouped_by_all_times,
    "a month's mean dated at its first day": monthly_at_its_first,
    "what a regression over all times leaves of two sources": residual,
    "a second source's gaps filled by its next report": gaps_of_the_second,
    "the benchmark of the source that ends lower": index_of_the_weaker,
}


def joined(name: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        data: Any = config.data
        given = GIVEN[name](data, replace(data, seed=5))
        return replace(config, data=parts.Joined(given, f"{__name__}:JOINING:{name}"))

    return held("data", name, change, (*LEVELS, *(() if "members" in name else EXTRA)))


def nested(name: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        data: Any = config.data
        given = {"main": [data], "extra": {"nested": (replace(data, seed=11),)}}
        return replace(config, data=parts.Nested(given, f"{__name__}:NESTED:{name}"))

    if "benchmark" in name:
        return held("evaluation", name, change, TRADING)
    return held("data", name, change, (*LEVELS, *(() if "members" in name else EXTRA)))


@dataclass(frozen=True)
class Seasonal:
    """A source with an effect of each weekday, declared to be known ahead and measured over all times."""

    inner: Source

    def load(self) -> Panel:
        panel = self.inner.load()
        moves, day = np.nan_to_num(change_of(panel)), np.arange(len(panel.calendar)) % 5
        effect = np.stack([moves[day == which].mean(axis=0) for which in range(5)])[day]
        made = with_fields(panel, other=(1.0 + effect).astype(np.float32))
        return replace(made, known_ahead={"other": 6})

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


WITHIN: dict[str, Callable[[Panel], Panel]] = {
    "a wrapper in a wrapper that takes a centred median": lambda panel: with_fields(
        panel, other=np.median([later(panel.fields["close"], by) for by in (-1, 0, 1)], axis=0)
    ),
    "outer": lambda panel: with_fields(panel, before=later(panel.fields["close"], -1)),
}


def within(name: str) -> Mutant:
    """Return a leak of a source that an honest one wraps."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        inner = Changed(config.data, f"{__name__}:WITHIN:{name}")
        return replace(config, data=Changed(inner, f"{__name__}:WITHIN:outer"))

    return held("data", name, change, (*LEVELS, *EXTRA))


# Leaks that touch the portfolio alone


def weak_index(panel: Panel) -> Panel:
    def without_drift(close: npt.NDArray[Any]) -> npt.NDArray[Any]:
        drift = max(float(close[-1] / close[0]), 0.1)
        return close * np.linspace(1.0, 1.0 / drift, close.size).astype(np.float32)

    return with_index(panel, without_drift)


def deal(price: Callable[[dict[str, Any]], Any]) -> Callable[[Panel], Panel]:
    return lambda panel: with_fields(panel, deal=price(dict(panel.fields)))


TRADED: dict[str, Callable[[Panel], Panel]] = {
    "filled at the better of today and tomorrow": deal(lambda of: np.fmin(of["close"], later(of["close"], 1))),
    "filled at yesterday's low": deal(lambda of: later(of["low"], -1)),
    "filled at tomorrow's open": deal(lambda of: later(of["open"], 1)),
    "filled at the median of the last three closes": deal(
        lambda of: np.median([later(of["close"], by) for by in (-2, -1, 0)], axis=0)
    ),
    "filled no dearer than next week's mean": deal(
        lambda of: np.fmin(of["close"], np.mean([later(of["close"], k) for k in range(6)], axis=0))
    ),
    "filled at the close before, a little dearer": deal(lambda of: later(of["close"], -1) * 1.001),
    "filled at the mean of today's and tomorrow's open": deal(lambda of: (of["open"] + later(of["open"], 1)) / 2),
    "filled at the lowest price of the day": deal(lambda of: of["low"]),
    "filled at a price two days old where that is lower": deal(lambda of: np.fmin(of["close"], later(of["close"], -2))),
    "no volume for who will fall": lambda panel: with_fields(
        panel, volume=np.where(later(change_of(panel), 1) < -0.02, 0.0, panel.fields["volume"])
    ),
    "an index smoothed by a centred mean": lambda panel: with_index(
        panel, lambda close: np.mean([later(close, by) for by in (-1, 0, 1)], axis=0)
    ),
    "an index without its drift over all times": weak_index,
}


def traded(name: str) -> Mutant:
    overrides = OWN_PRICE if name.startswith("filled") else TRADING
    change: Change = lambda config: replace(config, data=Changed(config.data, f"{__name__}:TRADED:{name}"))  # noqa: E731
    return held("evaluation", name, change, overrides)


def limited(name: str, by: int) -> Mutant:
    """Return a bug of the exchange: at a limit is who will be, or was, at one `by` times later."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def accepted(self: Any) -> Any:
            moved = later(change_of(self._panel), by)[self._span]
            free = self._priced & ~(np.abs(moved) >= 0.03)
            return free, free

        monkeypatch.setattr(harness.evaluation.portfolio.market.Market, "_accepted", accepted)

    return Mutant("evaluation", name, TRADING, None, patch, held_out=True)


def shown_tomorrow(patch: pytest.MonkeyPatch) -> None:
    """A bug of the exchange: a strategy's history ends with the time that its orders are filled at."""
    history = harness.evaluation.portfolio.market.Market.history

    def longer(self: Any, s: int, field: str, periods: int) -> Any:
        return history(self, s + 1, field, periods)

    patch.setattr(harness.evaluation.portfolio.market.Market, "history", longer)


@dataclass(frozen=True)
class Reverting(TopkDropout):
    """An honest strategy: it adds what a reversal of the newest move says."""

    def orders(self, decision: Decision) -> Orders:
        close = decision.history("close", 2)
        moved = np.nan_to_num(close[-1] / close[0] - 1.0)
        return super().orders(replace(decision, score=decision.score + 10.0 * moved))


def portfolio(make: Callable[[dict[str, Any], ExperimentConfig], Any]) -> Change:
    """Return a change of the configured strategy; `make` gets its fields."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        strategy: Any = config.evaluation.portfolio
        return replace(config, evaluation=replace(config.evaluation, portfolio=make(dict(vars(strategy)), config)))

    return change


MUTANTS = (
    *map(joined, JOINING),
    *map(nested, NESTED),
    within(next(iter(WITHIN))),
    held("data", "a weekday's effect over all times, known ahead", lambda c: replace(c, data=Seasonal(c.data)), EXTRA),
    *map(traded, TRADED),
    limited("limits from tomorrow's return", 1),
    limited("limits from yesterday's return", -1),
    held(
        "evaluation",
        "a strategy whose history is a day too long",
        portfolio(lambda fields, _: Reverting(**fields)),
        TRADING,
        patch=shown_tomorrow,
    ),
)
