"""One line of the meta-training history; apart from the training itself, so that reading it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MetaScore:
    """One line of the meta-training history.

    Attributes:
        stage: ``unweighted``: all weights 1; ``initial``: before the first update; ``trained``: epoch `epoch`.
        epoch: 1, 2, …; 0 before training.
        phase: The tasks it is averaged over.
        loss: Mean of the criterion over the tasks. In a training epoch each task counts before its own update.
        rank_ic: Mean rank IC over all times of the tasks.
    """

    stage: Literal["unweighted", "initial", "trained"]
    epoch: int
    phase: str
    loss: float
    rank_ic: float
