"""Where the audit found the newest and the oldest sample that moves a window's predictions."""

from __future__ import annotations

from typing import Any

from harness.report.cells import Report
from harness.report.figures.figure import Figure, Variant

_LINES = (("decision", "decision", "lines"), ("newest", "newest time used", "markers"), ("oldest", "oldest", "markers"))


def audit_frontier(report: Report) -> Figure | None:
    """Return decision, newest and oldest time used of every probed window; None when no audit probed one."""
    variants = []
    for cell in report.cells:
        found: list[dict[str, Any]] = list((cell.audit or {}).get("frontiers", ()))
        if not found:
            continue
        traces = [
            {
                "type": "scatter",
                "mode": mode,
                "palette": number,
                "name": label,
                "x": [str(f["window"]) for f in found],
                "y": [None if f[key] is None else str(f[key]) for f in found],
            }
            for number, (key, label, mode) in enumerate(_LINES)
        ]
        waste = [f["waste"] for f in found if f["waste"] is not None]
        summary = f"Largest waste of {cell.name}: {max(waste)} periods." if waste else f"{cell.name} uses no sample."
        layout = {"xaxis": {"title": {"text": "window"}, "type": "category"}, "yaxis": {"type": "date"}}
        variants.append(Variant(cell.name, traces, layout, summary))
    if not variants:
        return None
    return Figure(
        "frontier",
        "Frontier",
        "A point above the line of the decisions would be a leak; one far below it is waste.",
        tuple(variants),
        choose="cell",
        height=360,
    )
