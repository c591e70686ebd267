"""Compare snapshots: verdicts, tolerances, and what a difference means."""

from __future__ import annotations

from harness.snapshots.compare.comparison import (
    DifferenceTest,
    compare,
    crashed,
    damaged,
    failed,
    leaking,
    orphaned,
    skipped,
    without_baseline,
)
from harness.snapshots.compare.data_difference import DataDifference, ValueDifference, explain_data_difference
from harness.snapshots.compare.learning import learn
from harness.snapshots.compare.leaves import differences, environment, metric_leaves
from harness.snapshots.compare.verdicts import (
    ABSENT,
    Basis,
    CaseVerdict,
    Direction,
    ExitCode,
    IdentityDifference,
    MetricVerdict,
    Problem,
    Verdict,
    worst_exit_code,
)

__all__ = [
    "ABSENT",
    "Basis",
    "CaseVerdict",
    "DataDifference",
    "DifferenceTest",
    "Direction",
    "ExitCode",
    "IdentityDifference",
    "MetricVerdict",
    "Problem",
    "ValueDifference",
    "Verdict",
    "compare",
    "crashed",
    "damaged",
    "differences",
    "environment",
    "explain_data_difference",
    "failed",
    "leaking",
    "learn",
    "metric_leaves",
    "orphaned",
    "skipped",
    "without_baseline",
    "worst_exit_code",
]
