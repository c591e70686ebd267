"""What a leak is worth: the leaky twin beside the clean run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from harness.audit.replay import Unreal
from harness.audit.twins import twins
from harness.config import ExperimentConfig
from harness.errors import HarnessError
from harness.execution.progress import Observer, Silent
from harness.run.experiment import run
from harness.store.artifacts import ArtifactStore

_METRICS = ("IC", "rank_IC", "long_short_return", "excess_return")


@dataclass(frozen=True)
class Price:
    """One leak and what it adds.

    Attributes
    ----------
    leak
        Its name.
    gained
        Metric → value of the leaky twin minus that of the clean run; None where either is undefined.
    clean
        Metric → value of the clean run.
    refused
        Why the twin could not be run; then nothing was gained.
    """

    leak: str
    gained: dict[str, float | None]
    clean: dict[str, float | None]
    refused: str | None = None


def prices(
    config: ExperimentConfig, observer: Observer | None = None, store: ArtifactStore | None = None
) -> tuple[Price, ...]:
    """Return the price of every named leak in IC, rank IC, long-short return and, with a portfolio, excess return."""
    observer = observer or Silent()
    store = store or ArtifactStore(Path(config.output.store))
    clean = run(config, observer, store).metrics
    known = {name: clean[name] for name in _METRICS if name in clean}
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
