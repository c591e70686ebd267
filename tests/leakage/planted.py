"""A bug of the harness, planted again in every fresh process of an audit: as if its code had it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Planted"]

PLANTED: set[str] = set()


@dataclass(frozen=True)
class Planted:
    """Part of a configuration that changes no number: where it is made by a fresh process, it plants a mutant's bug.

    A test process plants and removes its bugs itself; it has pytest, a fresh one has not.
    """

    name: str

    def __post_init__(self) -> None:
        if "pytest" in sys.modules and not PLANTED:
            return
        import pytest

        from tests.leakage import matrix, planning

        if self.name not in PLANTED:
            PLANTED.add(self.name)
            known = (*matrix.MUTANTS, *planning.CLEAN.values())
            mutant = next(mutant for mutant in known if mutant.name == self.name)
            assert mutant.patch is not None
            mutant.patch(pytest.MonkeyPatch())

    def check(self) -> None:
        """Refuse nothing."""

    def send(self, folders: Sequence[Path], runs: Path, observer: Any) -> None:
        """Send nothing."""
