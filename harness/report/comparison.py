"""Every cell against the reference: paired tests on the series of the times that both have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.evaluation import ESTIMATES, METRIC_DIRECTIONS, Estimate
from harness.report.cells import Cell
from harness.report.columns import directions
from harness.significance import Bootstrap, paired_difference

__all__ = ["LEVEL", "Mark", "compare"]

LEVEL = 0.05
# Enough for p-values about 0.05; the draws are seeded, so that a report can be made again.
_BOOTSTRAP = Bootstrap(seed=0, repetitions=500)
_TESTED = ("IC", "ICIR", "rank_IC", "rank_ICIR", "long_short_return", "excess_return", "information_ratio")


@dataclass(frozen=True)
class Mark:
    """How one metric of a cell stands to the reference's.

    Attributes
    ----------
    difference
        In the unit of the series: cell minus reference.
    p
        Two-sided p-value of no difference, by the paired bootstrap; None when undefined.
    verdict
        ``better``, ``worse``, or ``same`` when the test cannot tell.
    times
        How many times both series have.
    """

    difference: float
    p: float | None
    verdict: str
    times: int


def compare(cells: Sequence[Cell]) -> dict[str, dict[str, Mark]]:
    """Return cell name → metric → mark against the first cell, which has none itself."""
    reference, *others = cells
    better = directions(cells)
    own = {name: Estimate(name) for name in better if name not in METRIC_DIRECTIONS}
    estimates = {**{name: ESTIMATES[name] for name in _TESTED}, **own}
    return {cell.name: _marks(cell, reference, estimates, better) for cell in others}


def _marks(
    cell: Cell, reference: Cell, estimates: Mapping[str, Estimate], better: Mapping[str, str]
) -> dict[str, Mark]:
    shared, left, right = np.intersect1d(cell.times, reference.times, return_indices=True)
    found = {}
    for metric, estimate in estimates.items():
        if estimate.series not in cell.series or estimate.series not in reference.series or not shared.size:
            continue
        look_ahead = max(cell.look_ahead, reference.look_ahead) if estimate.overlap == "label" else 1
        tested = paired_difference(
            cell.series[estimate.series][left],
            reference.series[estimate.series][right],
            "ir" if estimate.statistic == "ir" else "mean",
            bootstrap=_BOOTSTRAP,
            look_ahead=look_ahead,
        )
        p = tested.bootstrap.p_value
        found[metric] = Mark(
            difference=tested.estimate,
            p=p if math.isfinite(p) else None,
            verdict=_verdict(better[metric], tested.estimate, p),
            times=int(shared.size),
        )
    return found


def _verdict(direction: str, difference: float, p: float) -> str:
    if not p <= LEVEL or difference == 0 or direction == "none":
        return "same"
    return "better" if (difference > 0) == (direction == "higher") else "worse"
