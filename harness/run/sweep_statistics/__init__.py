"""What a sweep proves: which cells differ from a reference, which may be the best, what trying many is worth.

Pure functions of the cells' daily series. Cells are compared where they can be: the same data and the same label, at
the times that all of them predict.
"""

from harness.run.sweep_statistics.candidates import Candidate, candidates_of, market_regimes, regimes_at
from harness.run.sweep_statistics.cell_notes import cell_notes
from harness.run.sweep_statistics.columns import caption, csv_heads, csv_values, mark, name_mark
from harness.run.sweep_statistics.records import Difference, RowStatistics, SweepStatistics
from harness.run.sweep_statistics.reference import RULE, by_scenario, reference_of, references
from harness.run.sweep_statistics.statistics import (
    check_reference,
    differences_to,
    statistics_of,
    sweep_statistics,
)

__all__ = [
    "RULE",
    "Candidate",
    "Difference",
    "RowStatistics",
    "SweepStatistics",
    "by_scenario",
    "candidates_of",
    "caption",
    "cell_notes",
    "check_reference",
    "csv_heads",
    "csv_values",
    "differences_to",
    "mark",
    "market_regimes",
    "name_mark",
    "reference_of",
    "references",
    "regimes_at",
    "statistics_of",
    "sweep_statistics",
]
