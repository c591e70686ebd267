"""How a metric responds to what was swept, and how far behind each decision the data were."""

from __future__ import annotations

from typing import Any

from harness.evaluation.metrics import METRICS, metrics_of
from harness.report.cells import Report, leaderboard_metrics, swept_numbers
from harness.report.figures.correlations import error_bars
from harness.report.figures.figure import Figure, Variant, line

_LINES = (("decision", "decision", "lines"), ("newest", "newest time used", "markers"), ("oldest", "oldest", "markers"))


def audit_frontier(report: Report) -> Figure:
    """Return decision, newest and oldest time used of every probed window."""
    variants = []
    for cell in report.cells:
        found: list[dict[str, Any]] = list((cell.audit or {}).get("frontiers", ()))
        if not found:
            continue
        windows = [str(f["window"]) for f in found]
        traces = [
            line(number, label, windows, [None if f[key] is None else str(f[key]) for f in found], mode=mode)
            for number, (key, label, mode) in enumerate(_LINES)
        ]
        waste = [f["waste"] for f in found if f["waste"] is not None]
        summary = f"Largest waste of {cell.name}: {max(waste)} periods." if waste else f"{cell.name} uses no sample."
        layout = {"xaxis": {"title": {"text": "window"}, "type": "category"}, "yaxis": {"type": "date"}}
        variants.append(Variant(cell.name, traces, layout, summary))
    return Figure(
        "frontier",
        "Frontier",
        "A point above the line of the decisions would be a leak; one far below it is waste.",
        tuple(variants),
        choose="cell",
        height=360,
    )


# From this ratio of the largest to the smallest value on, the axis is logarithmic.
_WIDE = 10.0
_SHOWN = ("rank_IC", "IC", "rank_ICIR", "ICIR", "excess_return", "information_ratio", "max_drawdown")


def sweep_response(report: Report) -> Figure:
    """Return each metric over each swept number, where cells differ in one number only."""
    variants = []
    for key, curves in swept_numbers(report.cells).items():
        values = [value for _, curve in curves for value, _ in curve]
        wide = min(values) > 0 and max(values) / min(values) >= _WIDE
        for metric in (*_SHOWN, *(name for name in leaderboard_metrics(report.cells) if name not in METRICS)):
            record = metrics_of(*(cell.snapshot.identity for cell in report.cells))[metric]
            traces: list[dict[str, Any]] = []
            for number, (name, curve) in enumerate(curves):
                if any(cell.overall.get(metric) is None for _, cell in curve):
                    continue
                x, cells = [value for value, _ in curve], [cell for _, cell in curve]
                y = [cell.overall[metric] for cell in cells]
                traces.append(line(number, name or key, x, y, error_y=error_bars(cells, metric)))
            if traces:
                axis = {"title": {"text": key}, "type": "log" if wide else "linear"}
                layout = {"xaxis": axis, "yaxis": {"title": {"text": record.heading}}}
                points = "; ".join(f"{value:g}: {record.text(cell.overall[metric])}" for value, cell in curves[0][1])
                variants.append(Variant(f"{record.heading} over {key}", traces, layout, f"{curves[0][0]} {points}."))
    return Figure(
        "response",
        "Sweep response",
        "One curve per combination of the other settings that differ. Bars: 95% intervals, where the run has them.",
        tuple(variants),
        choose="metric and key",
        height=400,
    )
