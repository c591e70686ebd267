"""How a sweep goes: its cells on their way, the time left, and what it has taken in the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.cli.progress import ProgressObserver
from harness.execution.machine import peak_memory_mb
from harness.execution.progress import TimeLeft
from harness.run.experiment import ExperimentResult
from harness.run.sweep import Cell, CellResult
from harness.snapshots.provenance import Cost

_STAGE = "cells"
_LEAST_FITTED = 0.5  # share of its windows; a cell that has fitted fewer does not say how long one takes


@dataclass(frozen=True)
class Meter:
    """Wall time and processor time of this process since it was made."""

    began: float = field(default_factory=time.perf_counter)
    used: float = field(default_factory=time.process_time)

    def cost(self, results: Sequence[ExperimentResult]) -> Cost:
        """Return what some results have taken together, workers included."""
        costs = [result.cost for result in results]
        elsewhere = sum(cost.worker_cpu for cost in costs)
        return Cost(
            wall=time.perf_counter() - self.began,
            cpu=time.process_time() - self.used + elsewhere,
            windows=sum(cost.windows for cost in costs),
            stored=sum(cost.stored for cost in costs),
            workers=max((cost.workers for cost in costs), default=0),
            worker_cpu=elsewhere,
            memory_mb=max([peak_memory_mb(), *(cost.memory_mb for cost in costs)]),
        )


class CellProgress:
    """Tells of each cell that has ended, and how long the others will take.

    What a cell takes is learned from cells of the same data, model and adaptation that were computed. One that the
    store held, in whole or for the most part, says nothing about the others; nor does one that was refused or failed.

    Args:
        cells: Of the sweep.
        observer: Told of the stage ``cells``.
    """

    def __init__(self, cells: Sequence[Cell], observer: ProgressObserver) -> None:
        self._observer, self._count, self._left = observer, len(cells), TimeLeft()
        for cell in cells:
            self._expect(cell, 1)
        observer.start(_STAGE, self._count)

    def tell(self, ended: CellResult) -> None:
        """Take note of a cell that has ended."""
        if ended.reason is not None:
            self._observer.notice(f"{ended.cell.name}: {ended.outcome}: {ended.reason}")
        self._expect(ended.cell, -1)
        if _is_typical(ended):
            self._left.measured(_kind(ended.cell), ended.seconds_here)
        seconds, at_least = self._left.seconds(alike=True)
        self._observer.estimate(_STAGE, self._count, seconds, at_least=at_least)
        self._observer.advance(_STAGE, note=f"{ended.cell.name}: {_how(ended)}")

    def finish(self) -> None:
        """End."""
        self._observer.finish(_STAGE)

    def _expect(self, cell: Cell, count: int) -> None:
        if cell.config is not None:
            self._left.expect(_kind(cell), count)


def _how(ended: CellResult) -> str:
    stored = ended.result is not None and ended.result.reused
    return f"{ended.outcome}, {'from the store' if stored else f'{ended.seconds:.1f} s of work'}"


def _is_typical(ended: CellResult) -> bool:
    """Return whether the others of its kind will take as long: what workers have made is there for all of them."""
    result = ended.result
    if result is None or result.reused:
        return False
    if result.seconds_elsewhere is not None:
        return True
    return result.cost.windows - result.cost.stored >= _LEAST_FITTED * result.cost.windows


def _kind(cell: Cell) -> tuple[str, ...]:
    """Return what decides how long a cell takes, roughly."""
    choices = {} if cell.config is None else cell.config.choices
    return tuple(choices.get(group, "") for group in ("data", "model", "adaptation"))
