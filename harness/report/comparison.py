"""Every cell against the reference, by the tests that `bench run -m` makes."""

from __future__ import annotations

from harness.report.cells import Report, candidates
from harness.run.sweep_statistics import SweepStatistics, sweep_statistics

METRIC = "rank_IC"


def compare(report: Report) -> SweepStatistics | None:
    """Return paired tests against the reference of each scenario, confidence sets, deflation; None for one cell."""
    asked = (report.reference.name, *report.references)
    return sweep_statistics(candidates(report.cells), metric=METRIC, reference=asked)
