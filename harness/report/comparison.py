"""How cells stand to each other: a scorecard of many, and two side by side with what differs between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.evaluation.metrics import METRICS, MetricRecord, metrics_of
from harness.report.cells import Report, leaderboard_metrics, positions_of_references
from harness.report.table import MetricRow, Table, TableCell, metric_cell, metric_table, numbers, rank_of, table
from harness.run.finished import FinishedRun
from harness.run.sweep_columns import Difference, RowStatistics, SweepStatistics
from harness.snapshots.comparison import differences
from harness.snapshots.verdicts import ABSENT

_FEWEST = 3
_FULL = 2.0  # half widths of its interval at which a difference has its full colour


def scorecard(report: Report, statistics: SweepStatistics | None) -> Table | None:
    """Return every cell's metrics, shaded by how sure their difference to the reference is; None for two cells.

    A shade is the difference in half widths of its 95 % interval, which is full at two: a pale one is noise. What has
    no paired test, such as a drawdown, and where no side is better, has none.
    """
    if statistics is None or len(report.cells) < _FEWEST:
        return None
    metrics = leaderboard_metrics(report.cells)
    by = METRICS[report.metric]
    ranked = sorted(report.cells, key=lambda cell: rank_of(by, cell.overall.get(by.name)))
    rows = [MetricRow(TableCell(c.name), c.overall, statistics=statistics.row(c.name)) for c in ranked]
    references = positions_of_references(ranked, report, statistics)
    made = metric_table("cell", metrics.values(), rows, caption="Against the reference", references=references)
    shaded = []
    for (name, *cells), row in zip(made.rows, rows, strict=True):
        known = {} if row.statistics is None else row.statistics.differences
        pairs = zip(cells, metrics.values(), strict=True)
        shaded.append((name, *(replace(cell, shade=_shade(metric, known.get(metric.name))) for cell, metric in pairs)))
    return replace(made, rows=tuple(shaded))


def _shade(metric: MetricRecord, found: Difference | None) -> float | None:
    if found is None or found.low is None or found.high is None or metric.direction == "none":
        return None
    half = (found.high - found.low) / 2
    sign = 1.0 if metric.direction == "higher" else -1.0
    return max(-1.0, min(1.0, sign * found.difference / (_FULL * half))) if half > 0 else None


def side_by_side(report: Report, statistics: SweepStatistics | None) -> tuple[Table, Table] | None:
    """Return the metrics of two cells with their differences, and all settings that differ; None for other than two.

    A difference is bold, with the mark of its test; ``=`` stands where the two numbers are equal.
    """
    if len(report.cells) != 2:
        return None
    a, b = report.cells
    row = None if statistics is None else statistics.row(b.name)
    rows: list[list[TableCell | str]] = []
    for metric in metrics_of(a.snapshot.identity, b.snapshot.identity).values():
        if metric.name in a.overall or metric.name in b.overall:
            rows.append([metric.heading, *(_side(metric, run) for run in (a, b)), _difference(metric, a, b, row)])
    metrics = table(f"A: {a.name}; B: {b.name}", ("metric", *numbers("A", "B", "B − A")), rows)
    differ = [(one.path, _shown(one.baseline), _shown(one.candidate)) for one in differences(_record(a), _record(b))]
    return metrics, table(f"{len(differ)} keys differ" if differ else "No key differs", ("key", "A", "B"), differ)


def _side(metric: MetricRecord, run: FinishedRun) -> TableCell:
    return metric_cell(metric, run.overall.get(metric.name), run.snapshot.intervals.get(metric.name))


def _difference(metric: MetricRecord, a: FinishedRun, b: FinishedRun, row: RowStatistics | None) -> TableCell:
    """Return the paired difference in the unit of the metric where it was tested, else that of the two numbers."""
    values, bounds = [run.overall.get(metric.name) for run in (a, b)], dict[str, float]()
    value = None if values[0] is None or values[1] is None else values[1] - values[0]
    if row is not None and (found := row.differences.get(metric.name)) is not None:
        factor = metric.factor((a.snapshot.identity.get("year") or {}).get("periods"), a.horizon)
        value = factor * found.difference
        if found.low is not None and found.high is not None:
            bounds = {"low": factor * found.low, "high": factor * found.high}
    if values[0] == values[1]:
        return TableCell("=", None if value is None else 0.0)
    return MetricRow(TableCell(""), {metric.name: value}, {metric.name: bounds}, row).cell(metric, value)


_PROVENANCE = ("code", "packages", "platform", "python", "threads", "user_code")


def _record(run: FinishedRun) -> dict[str, Any]:
    """Return what a run was made of and by: its identity, and of its provenance what is no time or place."""
    provenance = run.snapshot.provenance
    return {**run.snapshot.identity, **{key: provenance[key] for key in _PROVENANCE if key in provenance}}


def _shown(side: object) -> str:
    return "–" if side is ABSENT else str(side)
