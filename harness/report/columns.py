"""Which metrics are shown, under which heading, and which way they are better."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluation.extra import own_metrics
from harness.evaluation.metric_records import COLUMNS, METRICS, MetricRecord, headings_of
from harness.report.cells import Cell


def metrics_of(cells: Sequence[Cell]) -> dict[str, MetricRecord]:
    """Return the records of all metrics: the harness's in their order, then the users' own by name."""
    own: dict[str, MetricRecord] = {}
    for cell in cells:
        own |= own_metrics(cell.snapshot.identity)
    return {**METRICS, **dict(sorted(own.items()))}


def headings(cells: Sequence[Cell]) -> dict[str, str]:
    """Return metric → heading of those that some cell has: the harness's in their order, then the users' own."""
    known = metrics_of(cells)
    shown = [m for m in known if m in COLUMNS or m not in METRICS]
    return headings_of(known[m] for m in shown if any(m in c.overall for c in cells))


def directions(cells: Sequence[Cell]) -> dict[str, str]:
    """Return metric → ``higher``, ``lower`` or ``none``; a user's own as its configuration says."""
    return {name: metric.direction for name, metric in metrics_of(cells).items()}
