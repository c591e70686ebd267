"""Audits: prove that nothing used the future, and say what it was worth where it did. Nothing below imports them."""

from harness.audit.audit import audit, audit_result, run_audited
from harness.audit.cost import LeakCost, leak_costs
from harness.audit.poison import poison
from harness.audit.verdict import Check, Finding, Frontier, Level, Outcome, Verdict

__all__ = [
    "Check",
    "Finding",
    "Frontier",
    "LeakCost",
    "Level",
    "Outcome",
    "Verdict",
    "audit",
    "audit_result",
    "leak_costs",
    "poison",
    "run_audited",
]
