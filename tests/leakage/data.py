"""Leaks in the data: what a panel must not know of its own future, and features and labels that look ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.audit.cost import BackwardFilled, EarlyDated, ShortSightedLabel, Survivors
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.features.feature_set import FeatureSet
from tests.leakage.mutant import Change, Mutant
from tests.leakage.parts import Changed

Floats = npt.NDArray[np.float32]
LEVELS = ("+features.expressions.level='Log($close)'", "+features.expressions.trade='Log($volume)'")
HALTS = ("data.suspension_rate=0.03",)


def adjusted_forwards(panel: Panel) -> Panel:
    """Prices as a share of the last one, as when split factors are applied from the end of history."""

    def share(values: Floats) -> Floats:
        last = values[-1 - np.isfinite(values[::-1]).argmax(axis=0), np.arange(values.shape[1])]
        scale: Floats = np.where(np.isfinite(last), last, 1.0).astype(np.float32)
        return values / scale

    prices = [name for name in panel.fields if name not in ("volume", "factor")]
    return replace(panel, fields={**panel.fields, **{name: share(panel.fields[name]) for name in prices}})


def centred(panel: Panel) -> Panel:
    volume = panel.fields["volume"]
    padded = np.pad(volume, ((2, 2), (0, 0)), mode="edge")
    mean = np.mean([padded[k : k + volume.shape[0]] for k in range(5)], axis=0).astype(np.float32)
    return replace(panel, fields={**panel.fields, "volume": mean})


def early_members(panel: Panel) -> Panel:
    membership = np.array(panel.membership)
    membership[:-20] |= panel.membership[20:]
    return replace(panel, membership=membership)


def clipped_by_all_times(panel: Panel) -> Panel:
    volume = panel.fields["volume"]
    low, high = np.nanquantile(volume, [0.05, 0.95])
    return replace(panel, fields={**panel.fields, "volume": np.clip(volume, np.float32(low), np.float32(high))})


def listed_on_two_days(panel: Panel) -> Panel:
    """A range of dates given as a list: whoever trades on its first and last day, instead of everyone between."""
    on_both = panel.traded[[len(panel.calendar) // 3, -1]].all(axis=0)
    return replace(panel, membership=panel.membership & on_both)


def target_declared(panel: Panel) -> Panel:
    return replace(panel, known_ahead={"close": 6})


def target_renamed(panel: Panel) -> Panel:
    """The price under another name, as if somebody had forecast it."""
    outlook = panel.fields["close"] * np.float32(2)
    return replace(panel, fields={**panel.fields, "outlook": outlook}, known_ahead={"outlook": 6})


TAMPERING: dict[str, Callable[[Panel], Panel]] = {
    "prices adjusted from the end of history": adjusted_forwards,
    "volume smoothed by a centred mean": centred,
    "members known 20 days early": early_members,
    "volume clipped at quantiles of all times": clipped_by_all_times,
    "a list of two dates instead of a range": listed_on_two_days,
    "the target declared to be known ahead": target_declared,
    "the target under another name, declared to be known ahead": target_renamed,
}


class Unchecked(FeatureSet):
    """A feature set that nobody has checked."""

    def __post_init__(self) -> None:
        """Refuse nothing."""


@dataclass(frozen=True)
class LookingAhead:
    """Features one of which reads the future."""

    expression: str

    def feature_set(self) -> FeatureSet:
        return Unchecked(("momentum", "ahead"), ("$close/Ref($close, 20) - 1", self.expression))


def source(wrap: Callable[[Source], Source]) -> Change:
    return lambda config: replace(config, data=wrap(config.data))


def feature(expression: str) -> Change:
    return lambda config: replace(config, features=LookingAhead(expression))


def claiming(claims: int) -> Change:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        label = config.label
        return replace(config, label=ShortSightedLabel(label.horizon, label.price, label.expression, claims))

    return change


def tampered(how: str) -> Mutant:
    return Mutant("data", how, (*LEVELS, *HALTS), source(lambda inner: Changed(inner, f"{__name__}:TAMPERING:{how}")))


OUTLOOK = (
    "+features.expressions.outlook='Ref($outlook, -6)/Ref($outlook, -1) - 1'",
    "features.known_ahead={outlook: 6}",
)
MUTANTS = (
    *(tampered(how) for how in TAMPERING if TAMPERING[how] is not target_renamed),
    replace(tampered("the target under another name, declared to be known ahead"), overrides=OUTLOOK),
    Mutant("data", "survivors only", HALTS, source(Survivors)),
    Mutant("data", "gaps filled backwards", HALTS, source(BackwardFilled)),
    Mutant("data", "bars dated a day too early", (), source(EarlyDated)),
    Mutant("features", "the label itself", (), feature("Ref($close, -6)/Ref($close, -1) - 1")),
    Mutant("features", "a flag of tomorrow's rise", (), feature("If(Gt(Ref($close, -1), $close), 1, 0)")),
    Mutant("label", "purge off by one", (), claiming(5)),
)
