"""How a metric responds to what was swept, and how far behind each decision the data were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.evaluation.metrics import METRICS, MetricRecord, metrics_of
from harness.report.cells import Curve, Report, curves_over, differing_keys, leaderboard_metrics, swept_numbers
from harness.report.figures.figure import Figure, Variant, axes, line
from harness.run.finished import FinishedRun

_BARS = "Bars: 95% intervals, where the run has them."
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
_RATIOS = ("rank_IC", "IC", "rank_ICIR", "ICIR")
_SHOWN = (*_RATIOS, "excess_return", "information_ratio", "max_drawdown")


def ic_decay(report: Report) -> Figure:
    """Return the ICs over the label's horizon, where it varies."""
    keys = [key for key in differing_keys(report.cells) if not key.startswith("label.")]
    curves = curves_over(report.cells, keys, [cell.horizon for cell in report.cells])
    variants = _responses(curves, "horizon in periods", map(METRICS.__getitem__, _RATIOS))
    return Figure("decay", "IC over horizons", _BARS, tuple(variants), height=360)


def sweep_response(report: Report) -> Figure:
    """Return each metric over each swept number, where cells differ in one number only."""
    known = metrics_of(*(cell.snapshot.identity for cell in report.cells))
    own = (name for name in leaderboard_metrics(report.cells) if name not in METRICS)
    metrics = [known[name] for name in (*_SHOWN, *own)]
    swept = swept_numbers(report.cells).items()
    return Figure(
        "response",
        "Sweep response",
        f"One curve per combination of the other settings that differ. {_BARS}",
        tuple(variant for key, curves in swept for variant in _responses(curves, key, metrics)),
        choose="metric and key",
        height=400,
    )


def _responses(curves: Sequence[Curve], x: str, metrics: Iterable[MetricRecord]) -> Iterator[Variant]:
    """Yield the plot of every metric that is defined along some curve."""
    values = [value for _, curve in curves for value, _ in curve]
    for metric in metrics:
        traces = []
        for number, (name, curve) in enumerate(curves):
            cells = [cell for _, cell in curve]
            y = [cell.overall.get(metric.name) for cell in cells]
            if None not in y:
                bars = _error_bars(cells, metric.name)
                traces.append(line(number, name or x, [value for value, _ in curve], y, error_y=bars))
        if traces:
            layout = axes(x, metric.heading)
            layout["xaxis"]["type"] = "log" if min(values) > 0 and max(values) / min(values) >= _WIDE else "linear"
            first = traces[0]
            points = "; ".join(
                f"{at:g}: {metric.text(value)}" for at, value in zip(first["x"], first["y"], strict=True)
            )
            yield Variant(f"{metric.heading} over {x}", traces, layout, f"{first['name']} {points}.")


def _error_bars(cells: Sequence[FinishedRun], metric: str) -> dict[str, Any]:
    """Return Plotly error bars from the intervals of the runs."""
    above, below = [], []
    for cell in cells:
        value, interval = cell.overall[metric], cell.snapshot.intervals.get(metric) or {}
        low, high = interval.get("low"), interval.get("high")
        is_known = low is not None and high is not None
        above.append(high - value if is_known else None)
        below.append(value - low if is_known else None)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "width": 4}
