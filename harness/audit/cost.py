"""What a leak is worth: a leaky variant of a configuration beside the clean run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.audit.replay import ProgressOnly, each
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.data.source import Source
from harness.errors import HarnessError
from harness.evaluation.metrics import METRICS, columns_of
from harness.execution.progress import Observer, Silent
from harness.features.feature_set import ForwardReturn
from harness.run.experiment import run
from harness.run.stages import Cache
from harness.samples.interfaces import FittedModel, FittedPreprocess, LeakyVariants, LearnSet
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment
from harness.store.artifacts import ArtifactStore

_METRICS = ("IC", "rank_IC", "long_short_return", "excess_return")
_LAST_TIMES = 20  # who trades in one of them has survived
_TIMES_AHEAD = 40  # of the test period, that `FitOnTest` learns from


def leaky_variants(config: ExperimentConfig) -> dict[str, ExperimentConfig]:
    """Return name → the configuration with that leak: six that any may have, then those its adaptation offers."""
    label, adaptation = config.label, config.adaptation
    offered = adaptation.leaky_variants() if isinstance(adaptation, LeakyVariants) else {}
    return {
        "survivorship universe": replace(config, data=Survivors(config.data)),
        "gaps filled backwards": replace(config, data=BackwardFilled(config.data)),
        "bars dated a time too early": replace(config, data=EarlyDated(config.data)),
        "no purge": replace(config, label=ShortSightedLabel(label.horizon, label.price, label.expression)),
        "processors of all times": replace(config, preprocess=ProcessorsOfAllTimes(config.preprocess)),
        "fitted on the test period": replace(config, model=FitOnTest(config.model)),
        **{name: replace(config, adaptation=variant) for name, variant in offered.items()},
    }


@dataclass(frozen=True)
class _LeakySource:
    """A source whose panel is changed with knowledge of later times."""

    inner: Source

    def inputs(self) -> dict[str, str]:
        return self.inner.inputs()


class Survivors(_LeakySource):
    """Leak: only instruments that still trade at the end were ever in the universe."""

    def load(self) -> Panel:
        panel = self.inner.load()
        alive = panel.traded[-_LAST_TIMES:].any(axis=0) & panel.membership[-_LAST_TIMES:].any(axis=0)
        return replace(panel, membership=np.ascontiguousarray(np.broadcast_to(alive, panel.membership.shape)))


class BackwardFilled(_LeakySource):
    """Leak: a gap takes the next value instead of staying one."""

    def load(self) -> Panel:
        import pandas as pd

        panel = self.inner.load()
        filled = {name: pd.DataFrame(values).bfill().to_numpy() for name, values in panel.fields.items()}
        return replace(panel, fields={name: np.ascontiguousarray(values) for name, values in filled.items()})


class EarlyDated(_LeakySource):
    """Leak: every field but the price is dated a time too early, as when two calendars are off by one."""

    def load(self) -> Panel:
        panel = self.inner.load()
        gap = np.full((1, len(panel.instruments)), np.nan, dtype=np.float32)
        moved = {name: np.concatenate([values[1:], gap]) for name, values in panel.fields.items()}
        return replace(panel, fields={**moved, panel.price_field: panel.fields[panel.price_field]})


@dataclass(frozen=True)
class ShortSightedLabel(ForwardReturn):
    """Leak: the label claims to be known `claims` times after its own, so that the purge is too short."""

    claims: int = 2

    def __post_init__(self) -> None:
        """Check nothing: the claim is false on purpose."""

    @property
    def look_ahead(self) -> int:
        return self.claims


@dataclass(frozen=True)
class _LeakyFit:
    """A preprocess or a model that is `inner` in everything but what it is fitted on."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)


class ProcessorsOfAllTimes(_LeakyFit):
    """Leak: processors are fitted on all times, the test range included."""

    def fit(self, view: AsOfView, segment: Segment) -> FittedPreprocess:
        table = whole_table(view)
        newest = len(table.calendar) - 1
        fitted: FittedPreprocess = self.inner.fit(table.as_of(newest), Segment(0, newest - table.look_ahead + 1))
        return fitted


class FitOnTest(_LeakyFit):
    """Leak: the rows of the next 40 times are learned from too, although their labels are not known."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedModel:
        table = whole_table(train.view)
        newest = len(table.calendar) - 1
        stop = min(train.view.decision + _TIMES_AHEAD, newest - table.look_ahead + 1)
        learn = LearnSet(table.as_of(newest), Segment(train.segment.start, stop), train.time_weights)
        fitted: FittedModel = self.inner.fit(learn, valid)
        return fitted


def whole_table(view: AsOfView) -> SampleTable:
    """Return the table behind a view: what no honest code does."""
    table: SampleTable = vars(view)["_table"]
    return table


@dataclass(frozen=True)
class LeakCost:
    """One leak and what it adds."""

    leak: str
    # metric → value of the leaky variant minus that of the clean run; None where either is undefined
    gained: dict[str, float | None]
    clean: dict[str, float | None]
    refused: str | None = None  # why the variant could not be run; then nothing was gained


def leak_costs(
    config: ExperimentConfig, observer: Observer | None = None, store: ArtifactStore | None = None
) -> tuple[LeakCost, ...]:
    """Return what every named leak adds to the metrics: IC, rank IC and returns, or errors; and the user's."""
    observer = observer or Silent()
    store = store or ArtifactStore(Path(config.output.store))
    clean = run(config, observer, Cache(store)).metrics
    own = [metric.name for metric in config.evaluation.extra]
    # Without a ranking what is judged by is whatever leaderboards show.
    ranked = _METRICS if config.evaluation.signal is not None else tuple(columns_of(METRICS, [clean]))
    known = {name: clean[name] for name in (*ranked, *own) if name in clean}
    found = []
    # A leaky snapshot must not lie among the honest ones.
    with tempfile.TemporaryDirectory() as runs:
        output = replace(config.output, runs=runs)
        for leak, variant in each(observer, "prices", leaky_variants(config).items()):
            leaky, refused = dict[str, Any](), None
            try:
                leaky = run(replace(variant, output=output), ProgressOnly(observer), Cache(store)).metrics
            except HarnessError as error:
                refused = error.what
            pairs = {name: (leaky.get(name), value) for name, value in known.items()}
            gained = {name: None if None in pair else pair[0] - pair[1] for name, pair in pairs.items()}
            found.append(LeakCost(leak, gained, known, refused))
    return tuple(found)
