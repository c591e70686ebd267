"""Figures of what the cells of a sweep have in common and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.evaluation.metrics import METRICS, MetricRecord, metrics_of
from harness.report.cells import Curve, Report, curves_over, differing_keys, leaderboard_metrics, swept_numbers
from harness.report.figures.plot import Figure, Variant, axes, line
from harness.run.finished import FinishedRun

# From this ratio of the largest to the smallest value on, the axis is logarithmic.
_WIDE = 10.0
_RATIOS = ("rank_IC", "IC", "rank_ICIR", "ICIR")
_SHOWN = (*_RATIOS, "excess_return", "information_ratio", "max_drawdown")


def ic_over_horizons(report: Report) -> Iterator[Variant]:
    """Yield the ICs over the label's horizon, where it varies."""
    keys = [key for key in differing_keys(report.cells) if not key.startswith("label.")]
    curves = curves_over(report.cells, keys, [cell.horizon for cell in report.cells])
    return _responses(curves, "horizon in periods", map(METRICS.__getitem__, _RATIOS))


def sweep_response(report: Report) -> Iterator[Variant]:
    """Yield each metric over each swept number, where cells differ in one number only."""
    known = metrics_of(*(cell.snapshot.identity for cell in report.cells))
    own = (name for name in leaderboard_metrics(report.cells) if name not in METRICS)
    metrics = [known[name] for name in (*_SHOWN, *own)]
    for key, curves in swept_numbers(report.cells).items():
        yield from _responses(curves, key, metrics)


def _responses(curves: Sequence[Curve], x: str, metrics: Iterable[MetricRecord]) -> Iterator[Variant]:
    """Yield the plot of every metric that is defined along some curve."""
    values = [value for _, curve in curves for value, _ in curve]
    for metric in metrics:
        traces = []
        for number, (name, curve) in enumerate(curves):
            cells = [cell for _, cell in curve]
            y = [cell.overall.get(metric.name) for cell in cells]
            if any(value is not None for value in y):  # an undefined one is a gap
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
    bars: dict[str, Any] = {"type": "data", "symmetric": False, "thickness": 1, "width": 4}
    values = [cell.overall.get(metric) for cell in cells]
    for key, end, sign in (("array", "high", 1.0), ("arrayminus", "low", -1.0)):
        bounds = [(cell.snapshot.intervals.get(metric) or {}).get(end) for cell in cells]
        # Negative where the interval leaves the value out, as that of a drawdown may.
        reach = zip(bounds, values, strict=True)
        bars[key] = [None if bound is None or value is None else sign * (bound - value) for bound, value in reach]
    return bars


FIGURES = (
    Figure(
        "horizons", "IC over horizons", "Bars: 95% intervals, where the run has them.", ic_over_horizons, height=360
    ),
    Figure(
        "response",
        "Sweep response",
        "One curve per combination of the other settings that differ. Bars: 95% intervals, where the run has them.",
        sweep_response,
        choose="metric and key",
        height=400,
    ),
)
