"""Every cell against the reference, by the tests that `bench run -m` makes."""

from __future__ import annotations

from harness.evidence import DailySeries
from harness.report.cells import Report
from harness.sweep_statistics import Candidate, SweepStatistics, sweep_statistics

__all__ = ["METRIC", "compare"]

METRIC = "rank_IC"


def compare(report: Report) -> SweepStatistics | None:
    """Return paired tests against the report's reference, confidence set and deflation; None for a single cell."""
    candidates = [Candidate(c.name, c.snapshot, DailySeries(c.times, c.series)) for c in report.cells]
    return sweep_statistics(candidates, metric=METRIC, reference=report.reference.name)
