"""Everything in this process, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from harness.execution.task import Pool, Work


@dataclass(frozen=True)
class Serial:
    """No workers; stages that cells share stay in memory from one cell to the next."""

    def start(self, work: Work) -> Pool | None:
        """Bring nothing up."""
        return None
