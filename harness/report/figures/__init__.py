"""The figures of a report, one file per question."""

from harness.report.figures.figure import Figure, Variant

__all__ = ["Figure", "Variant"]
