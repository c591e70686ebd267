"""Weighted least squares by sufficient statistics that windows share (section 5 of the design)."""

from harness.normal_equations.blocks import GramBlocks, Period
from harness.normal_equations.equations import RANK_CUTOFF, NormalEquations, Solution

__all__ = ["RANK_CUTOFF", "GramBlocks", "NormalEquations", "Period", "Solution"]
