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

    A test process plants and removes its bugs itself; the program of a fresh one is the sandbox.
    """

    name: str

    def __post_init__(self) -> None:
        # What is audited imports pytest here and there, so that its presence says nothing.
        if Path(getattr(sys.modules["__main__"], "__file__", None) or "").name != "sandbox.py":
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
