"""Every cell against the reference: paired tests on the series of the times that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.evaluation import ESTIMATES, METRIC_DIRECTIONS
from harness.report.cells import Cell
from harness.significance import Bootstrap, paired_difference

__all__ = ["LEVEL", "Mark", "compare"]

LEVEL = 0.05
# Enough for p-values about 0.05; the draws are seeded, so that a report can be made again.
_BOOTSTRAP = Bootstrap(seed=0, repetitions=500)
_PLAIN = ("IC", "ICIR", "rank_IC", "rank_ICIR", "long_short_return", "excess_return", "information_ratio")


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
    return {cell.name: _marks(cell, reference) for cell in others}


def _marks(cell: Cell, reference: Cell) -> dict[str, Mark]:
    shared, left, right = np.intersect1d(cell.times, reference.times, return_indices=True)
    found = {}
    for metric in _PLAIN:
        estimate = ESTIMATES[metric]
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
            verdict=_verdict(metric, tested.estimate, p),
            times=int(shared.size),
        )
    return found


def _verdict(metric: str, difference: float, p: float) -> str:
    if not p <= LEVEL or difference == 0:
        return "same"
    higher_is_better = METRIC_DIRECTIONS[metric] != "lower"
    return "better" if (difference > 0) == higher_is_better else "worse"
