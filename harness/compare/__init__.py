"""Compare snapshots: verdicts, tolerances, and what a difference means."""

from __future__ import annotations

from harness.compare.comparison import (
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
from harness.compare.data_difference import DataDifference, ValueDifference, explain_data_difference
from harness.compare.learning import learn
from harness.compare.leaves import differences, environment, metric_leaves
from harness.compare.markdown import to_markdown
from harness.compare.output import METRIC_COLUMNS, case_record, metric_rows, summary, to_json, to_junit_xml
from harness.compare.tolerances import (
    Absolute,
    Exact,
    Learned,
    Relative,
    Tolerance,
    Tolerances,
    load_tolerances,
    parse_tolerances,
    write_tolerances,
)
from harness.compare.verdicts import (
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
    "METRIC_COLUMNS",
    "Absolute",
    "Basis",
    "CaseVerdict",
    "DataDifference",
    "DifferenceTest",
    "Direction",
    "Exact",
    "ExitCode",
    "IdentityDifference",
    "Learned",
    "MetricVerdict",
    "Problem",
    "Relative",
    "Tolerance",
    "Tolerances",
    "ValueDifference",
    "Verdict",
    "case_record",
    "compare",
    "crashed",
    "damaged",
    "differences",
    "environment",
    "explain_data_difference",
    "failed",
    "leaking",
    "learn",
    "load_tolerances",
    "metric_leaves",
    "metric_rows",
    "orphaned",
    "parse_tolerances",
    "skipped",
    "summary",
    "to_json",
    "to_junit_xml",
    "to_markdown",
    "without_baseline",
    "worst_exit_code",
    "write_tolerances",
]
