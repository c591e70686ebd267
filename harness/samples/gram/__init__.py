"""Weighted least squares by sufficient statistics that windows share (section 5 of the design)."""

from harness.samples.gram.blocks import GramBlocks, Period
from harness.samples.gram.equations import RANK_CUTOFF, NormalEquations, Solution

__all__ = ["RANK_CUTOFF", "GramBlocks", "NormalEquations", "Period", "Solution"]
