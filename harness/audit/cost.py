"""What a leak is worth: the leaky twin beside the clean run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.audit.replay import Unreal
from harness.config import ExperimentConfig
from harness.config.contracts import traits_of
from harness.data.panel import Panel
from harness.data.source import Source
from harness.errors import HarnessError
from harness.execution.progress import Observer, Silent
from harness.features.label import ForwardReturn
from harness.run.experiment import run
from harness.samples.interfaces import (
    FittedModel,
    FittedPreprocess,
    LeakyTwins,
    LearnSet,
    Model,
    ModelTraits,
    Preprocess,
)
from harness.samples.table import AsOfView, SampleTable
from harness.samples.windows import Segment
from harness.store.artifacts import ArtifactStore


def twins(config: ExperimentConfig) -> dict[str, ExperimentConfig]:
    """Return name → the configuration with that leak: six that any may have, then those of its own adaptation."""
    label, adaptation = config.label, config.adaptation
    own = adaptation.leaky_twins() if isinstance(adaptation, LeakyTwins) else {}
    return {
        "survivorship universe": replace(config, data=Survivors(config.data)),
        "gaps filled backwards": replace(config, data=BackwardFilled(config.data)),
        "bars dated a time too early": replace(config, data=EarlyDated(config.data)),
        "no purge": replace(config, label=ShortSightedLabel(label.horizon, label.price, label.expression)),
        "processors of all times": replace(config, preprocess=ProcessorsOfAllTimes(config.preprocess)),
        "fitted on the test period": replace(config, model=FitOnTest(config.model)),
        **{name: replace(config, adaptation=twin) for name, twin in own.items()},
    }


@dataclass(frozen=True)
class Survivors:
    """Leak: only instruments that still trade at the end were ever in the universe."""

    inner: Source

    def load(self) -> Panel:
        """Return the panel with the last traders as members at all times."""
        panel = self.inner.load()
        alive = panel.traded[-20:].any(axis=0) & panel.membership[-20:].any(axis=0)
        return replace(panel, membership=np.ascontiguousarray(np.broadcast_to(alive, panel.membership.shape)))

    def inputs(self) -> dict[str, str]:
        """Return the inner files."""
        return self.inner.inputs()


@dataclass(frozen=True)
class BackwardFilled:
    """Leak: a gap takes the next value instead of staying one."""

    inner: Source

    def load(self) -> Panel:
        """Return the panel with gaps filled backwards."""
        panel = self.inner.load()
        return replace(panel, fields={name: _filled_backwards(values) for name, values in panel.fields.items()})

    def inputs(self) -> dict[str, str]:
        """Return the inner files."""
        return self.inner.inputs()


@dataclass(frozen=True)
class EarlyDated:
    """Leak: every field but the price is dated `by` times too early, as when two calendars are off by one."""

    inner: Source
    by: int = 1

    def load(self) -> Panel:
        """Return the panel with these fields moved towards the past."""
        panel = self.inner.load()
        moved = {name: _moved(values, self.by) for name, values in panel.fields.items() if name != panel.price_field}
        return replace(panel, fields={**panel.fields, **moved})

    def inputs(self) -> dict[str, str]:
        """Return the inner files."""
        return self.inner.inputs()


@dataclass(frozen=True)
class ShortSightedLabel(ForwardReturn):
    """Leak: the label claims to be known `claims` times after its own, so that the purge is too short."""

    claims: int = 2

    def __post_init__(self) -> None:
        """Check nothing: the claim is false on purpose."""

    @property
    def look_ahead(self) -> int:
        """What the label claims."""
        return self.claims


@dataclass(frozen=True)
class ProcessorsOfAllTimes:
    """Leak: processors are fitted on all times, the test range included."""

    inner: Preprocess

    @property
    def refit(self) -> Literal["once", "per_window"]:
        """As the inner one."""
        return self.inner.refit

    def fit(self, view: AsOfView, segment: Segment) -> FittedPreprocess:
        """Fit on everything there is."""
        table = whole_table(view)
        newest = len(table.calendar) - 1
        stop = newest - table.look_ahead + 1
        return self.inner.fit(table.as_of(newest), Segment(0, stop))


@dataclass(frozen=True)
class FitOnTest:
    """Leak: the rows of the next `times` times are learned from too, although their labels are not known."""

    inner: Model
    times: int = 40

    @property
    def needs_valid(self) -> bool:
        """As the inner one."""
        return self.inner.needs_valid

    @property
    def supports_weights(self) -> bool:
        """As the inner one."""
        return self.inner.supports_weights

    @property
    def include_valid(self) -> bool | None:
        """As the inner one."""
        return traits_of(self.inner, ModelTraits).include_valid

    @property
    def threads(self) -> int:
        """As the inner one."""
        return traits_of(self.inner, ModelTraits).threads

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedModel:
        """Fit the inner model on a view of the future."""
        table = whole_table(train.view)
        newest = len(table.calendar) - 1
        stop = min(train.view.decision + self.times, newest - table.look_ahead + 1)
        learn = LearnSet(table.as_of(newest), Segment(train.segment.start, stop), train.time_weights)
        return self.inner.fit(learn, valid)

    def load(self, folder: Path) -> FittedModel:
        """Read what the inner model saved."""
        return self.inner.load(folder)


def whole_table(view: AsOfView) -> SampleTable:
    """Return the table behind a view: what no honest code does."""
    table: SampleTable = vars(view)["_table"]
    return table


def _filled_backwards(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    times = np.arange(values.shape[0])[:, None]
    following = np.where(np.isnan(values), values.shape[0], times)
    following = np.minimum.accumulate(following[::-1], axis=0)[::-1]
    padded = np.concatenate([values, np.full((1, values.shape[1]), np.nan, dtype=np.float32)])
    filled: npt.NDArray[np.float32] = np.take_along_axis(padded, following, axis=0)
    return filled


def _moved(values: npt.NDArray[np.float32], by: int) -> npt.NDArray[np.float32]:
    return np.concatenate([values[by:], np.full((by, values.shape[1]), np.nan, dtype=np.float32)])


_METRICS = ("IC", "rank_IC", "long_short_return", "excess_return")


@dataclass(frozen=True)
class Price:
    """One leak and what it adds.

    Attributes:
        leak: Its name.
        gained: Metric → value of the leaky twin minus that of the clean run; None where either is undefined.
        clean: Metric → value of the clean run.
        refused: Why the twin could not be run; then nothing was gained.
    """

    leak: str
    gained: dict[str, float | None]
    clean: dict[str, float | None]
    refused: str | None = None


def prices(
    config: ExperimentConfig, observer: Observer | None = None, store: ArtifactStore | None = None
) -> tuple[Price, ...]:
    """Return the price of every named leak in IC, rank IC, long-short return, excess return and the user's metrics."""
    observer = observer or Silent()
    store = store or ArtifactStore(Path(config.output.store))
    clean = run(config, observer, store).metrics
    own = [metric.name for metric in config.evaluation.extra]
    known = {name: clean[name] for name in (*_METRICS, *own) if name in clean}
    found = []
    observer.start("prices", len(leaky := twins(config)))
    # A twin's snapshot must not lie among the honest ones.
    with tempfile.TemporaryDirectory() as runs:
        for leak, twin in leaky.items():
            try:
                dirty = run(replace(twin, output=replace(config.output, runs=runs)), Unreal(observer), store).metrics
            except HarnessError as error:
                found.append(Price(leak, dict.fromkeys(known), known, error.what))
            else:
                gained = {name: _difference(dirty.get(name), value) for name, value in known.items()}
                found.append(Price(leak, gained, known))
            observer.advance("prices")
    observer.finish("prices")
    return tuple(found)


def _difference(dirty: float | None, clean: float | None) -> float | None:
    return None if dirty is None or clean is None else dirty - clean
