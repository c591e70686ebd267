"""Somebody's own adaptation, with a bug."""

from __future__ import annotations

from dataclasses import dataclass

from harness.samples.interfaces import FittedAdaptation, History


@dataclass(frozen=True)
class Broken:
    """Raises what no library of ours would."""

    def fit(self, history: History) -> FittedAdaptation:
        """Fail."""
        raise ZeroDivisionError("a bug of its author")
