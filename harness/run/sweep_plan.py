"""What a sweep would do: which stages its cells share, and what the store holds already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import ExperimentConfig
from harness.errors import HarnessError
from harness.execution.progress import Observer
from harness.run.job import Job
from harness.run.sweep import Cell, Outcome
from harness.samples.interfaces import StoredAdaptation
from harness.snapshots.provenance import Stopwatch
from harness.store.artifacts import ArtifactStore, Key
from harness.store.memory import Shelf


@dataclass(frozen=True, eq=False)
class CellPlan:
    """One cell.

    Attributes
    ----------
    cell
        Which one.
    refusal
        Why it will not run; None when nothing is known against it.
    windows
        How many it walks; 0 when it is refused.
    stored
        How many of them are in the store; None when that cannot be told before the adaptation is fitted.
    finished
        The whole result is in the store.
    outcome
        How it would end, as far as is known.
    """

    cell: Cell
    refusal: str | None
    windows: int = 0
    stored: int | None = None
    finished: bool = False
    outcome: Outcome = Outcome.DONE


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """All cells, and the stages below them.

    Attributes
    ----------
    cells
        In order.
    stages
        Stage → (how many different ones the cells need, how many of them are in the store).
    """

    cells: tuple[CellPlan, ...]
    stages: dict[str, tuple[int, int]]


@dataclass(eq=False)
class _Needed:
    """Keys, and whether the store holds them."""

    keys: dict[Key, bool] = field(default_factory=dict)

    def add(self, key: Key, store: ArtifactStore) -> bool:
        self.keys[key] = store.holds(key)
        return self.keys[key]


def plan_cells(cells: Sequence[Cell], observer: Observer) -> SweepPlan:
    """Look every stage of every cell up in the store; only panels are made, for windows need their calendar."""
    needed, shelf = _Needed(), Shelf()
    observer.start("plan", len(cells))
    planned = []
    for cell in cells:
        planned.append(_plan(cell, needed, observer, shelf))
        observer.advance("plan")
    observer.finish("plan")
    stages: dict[str, tuple[int, int]] = {}
    for key, held in needed.keys.items():
        count, stored = stages.get(key.stage, (0, 0))
        stages[key.stage] = (count + 1, stored + held)
    return SweepPlan(tuple(planned), stages)


def keys_of(config: ExperimentConfig, observer: Observer) -> frozenset[Key]:
    """Return the keys of the stages of one experiment, as far as they can be told without computing anything."""
    needed = _Needed()
    _plan(Cell({}, (), config), needed, observer, Shelf())
    return frozenset(needed.keys)


def _plan(cell: Cell, needed: _Needed, observer: Observer, shelf: Shelf) -> CellPlan:
    if cell.config is None:
        return CellPlan(cell, cell.refusal, outcome=cell.outcome)
    store = ArtifactStore(Path(cell.config.output.store))
    job = Job(cell.config, store, Stopwatch(), observer, shelf)
    try:
        job.check()
        table = job.stages.table_key(job.panel)
        has_table = all([needed.add(job.stages.panel_key(), store), *(needed.add(key, store) for key in table.both)])
        fits = isinstance(cell.config.adaptation, StoredAdaptation)
        has_adaptation = needed.add(job.adaptation_key, store) if fits else True
        stored = None
        if has_table and has_adaptation:
            stage = job.window_stage
            stored = sum(needed.add(stage.key(at), store) for at in range(len(job.windows)))
            if not stage.refits and store.holds(stage.processed_key):
                needed.add(stage.processed_key, store)
        return CellPlan(cell, None, len(job.windows), stored, needed.add(job.result_key, store))
    except HarnessError as error:
        return CellPlan(cell, str(error), outcome=Outcome.of(error))
