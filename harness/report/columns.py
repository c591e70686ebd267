"""Which metrics are shown, under which heading, and which way they are better."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluation import METRIC_DIRECTIONS
from harness.leaderboard import COLUMNS
from harness.report.cells import Cell

__all__ = ["directions", "headings"]


def headings(cells: Sequence[Cell]) -> dict[str, str]:
    """Return metric → heading of those that some cell has: the harness's in their order, then the users' own."""
    own = sorted(_own(cells))
    return {**{m: h for m, h in COLUMNS.items() if any(m in c.overall for c in cells)}, **{name: name for name in own}}


def directions(cells: Sequence[Cell]) -> dict[str, str]:
    """Return metric → ``higher``, ``lower`` or ``none``; a user's own as its configuration says."""
    return {**METRIC_DIRECTIONS, **_own(cells)}


def _own(cells: Sequence[Cell]) -> dict[str, str]:
    extra = [metric for cell in cells for metric in cell.config["evaluation"].get("extra", ())]
    return {str(metric["name"]): str(metric["direction"]) for metric in extra}
