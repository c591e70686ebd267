"""Audits: prove that nothing used the future, and price it where it did. An outsider: nothing below imports it."""

from harness.audit.audit import audit, audit_result, run_audited, with_verdict
from harness.audit.cost import Price, prices
from harness.audit.poison import PoisonedSource, poison, poisoned
from harness.audit.verdict import Check, Finding, Frontier, Level, Outcome, Verdict

__all__ = [
    "Check",
    "Finding",
    "Frontier",
    "Level",
    "Outcome",
    "PoisonedSource",
    "Price",
    "Verdict",
    "audit",
    "audit_result",
    "poison",
    "poisoned",
    "prices",
    "run_audited",
    "with_verdict",
]
