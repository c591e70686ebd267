"""What a command has cost: time, and memory, of its own and of its workers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.execution.machine import peak_memory_mb
from harness.run.experiment import ExperimentResult
from harness.snapshots.provenance import Cost


def cost_of(since: tuple[float, float], results: Sequence[ExperimentResult]) -> Cost:
    """Return what this process has taken since a wall time and a processor time of it, and its workers for results."""
    costs = [result.cost for result in results]
    elsewhere = sum(cost.worker_cpu for cost in costs)
    return Cost(
        wall=time.perf_counter() - since[0],
        cpu=time.process_time() - since[1] + elsewhere,
        windows=sum(cost.windows for cost in costs),
        stored=sum(cost.stored for cost in costs),
        workers=max((cost.workers for cost in costs), default=0),
        worker_cpu=elsewhere,
        memory_mb=max([peak_memory_mb(), *(cost.memory_mb for cost in costs)]),
    )


def cost_text(cost: Cost) -> str:
    workers = "" if cost.workers == 0 else f" on {cost.workers} worker{'s' * (cost.workers > 1)}"
    stored = f"{cost.stored:,} of {cost.windows:,} windows from the store"
    memory = f"peak memory {round(cost.memory_mb):,} MB"
    return f"wall {cost.wall:.1f} s, CPU {cost.cpu:.1f} s{workers}, {stored}, {memory}"
