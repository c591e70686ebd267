"""Figures of what the cells of a sweep have in common and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from harness.evaluation.metrics import METRICS, MetricRecord, metrics_of
from harness.evaluation.significance.hac import cumulative_difference
from harness.report.cells import (
    METRIC,
    Curve,
    Report,
    curves_over,
    differing_keys,
    leaderboard_metrics,
    swept_numbers,
)
from harness.report.figures.plot import Doubles, Figure, Variant, axes, band, curve, date_texts, line
from harness.run.finished import FinishedRun, Times, flatten
from harness.run.sweep_statistics import common_times, scenarios
from harness.snapshots.evidence import overlap_of

# From this ratio of the largest to the smallest value on, the axis is logarithmic.
_WIDE = 10.0
_RATIOS = ("rank_IC", "IC", "rank_ICIR", "ICIR")
_SHOWN = (*_RATIOS, "excess_return", "information_ratio", "max_drawdown")


_SUMMED = ("rank_IC", "IC", "excess_return")
_BESIDE = 0.015  # of the time shown: how far the intervals at its end stand apart


def difference_to_reference(report: Report) -> Iterator[Variant]:
    """Yield the summed difference of every cell to the reference of its scenario, with its band and its interval."""
    groups = scenarios(report.cells, (report.reference.name, *report.references))
    bases = {cell: base for base, members in groups.items() for cell in members if cell is not base}
    for metric in map(METRICS.__getitem__, _SUMMED):
        traces: list[dict[str, Any]] = []
        told: list[str] = []
        for at, cell in enumerate(report.cells):
            found = None if cell not in bases else _summed(metric, cell, bases[cell])
            if found is None:
                continue
            times, value, half = found
            end, last = times[-1] + (times[-1] - times[0]) * _BESIDE * (len(told) + 1), float(value[-1])
            bars = {
                "type": "data",
                "array": [None if np.isnan(half[-1]) else float(half[-1])],
                "thickness": 2,
                "width": 4,
            }
            traces += [
                band(times, value - half, value + half, cell=at),
                curve(times, value, "%{x}: %{y:.4f}", name=cell.name, cell=at),
                {**line(at, cell.name, date_texts(np.array([end])), [last], mode="markers", error_y=bars), "cell": at},
            ]
            told.append(f"{cell.name} {last:.4f} ± {half[-1]:.4f}")
        if traces:
            title = {"text": f"summed difference of {metric.heading}"}
            axis = {"title": title, "zeroline": True, "tickformat": ".4~f"}
            layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
            yield Variant(metric.heading, traces, layout, f"At the end: {', '.join(told[:6])}.")


def _summed(metric: MetricRecord, cell: FinishedRun, base: FinishedRun) -> tuple[Times, Doubles, Doubles] | None:
    """Return times, summed difference and half its band, up to the last time that both have; None without one."""
    if metric.series not in cell.series or metric.series not in base.series:
        return None
    times = common_times([cell, base])
    ours, theirs = (one.at(metric.series, times) for one in (cell, base))
    known = np.flatnonzero(~np.isnan(ours - theirs))
    if known.size < 2:
        return None
    overlap = overlap_of(cell.snapshot.identity, metric)
    value, half = cumulative_difference(ours, theirs, look_ahead=overlap)
    shown = slice(0, int(known[-1]) + 1)
    return times[shown], value[shown], half[shown]


_FEWEST_CELLS = 3
_MOST_TICKS = 8  # values of a setting that are all written beside its axis


def parallel_coordinates(report: Report) -> Iterator[Variant]:
    """Yield one line per cell through its settings and metrics, coloured by rank IC."""
    keys = differing_keys(report.cells)
    if not keys or len(report.cells) < _FEWEST_CELLS:
        return
    known = metrics_of(*(cell.snapshot.identity for cell in report.cells))
    metrics = [known[name] for name in _SHOWN if name not in ("IC", "ICIR")]
    columns = [_setting(report, key) for key in keys]
    columns += [column for metric in metrics if (column := _measured(report, metric)) is not None]
    names = [name for name, *_ in columns]
    shades = next((heights for name, heights, *_ in columns if name == METRICS[METRIC].heading), None)
    traces = [
        {
            **{"type": "scatter", "mode": "lines+markers", "name": cell.name, "x": list(range(len(columns)))},
            **{
                "y": [heights[at] for _, heights, *_ in columns],
                "customdata": [texts[at] for _, _, texts, _ in columns],
            },
            **{"hovertemplate": "%{fullData.name}<br>%{customdata}<extra></extra>", "connectgaps": True},
            "shade": None if shades is None else shades[at],
        }
        for at, cell in enumerate(report.cells)
    ]
    notes = [
        {"x": at, "y": height, "text": text, "showarrow": False, "xanchor": "left", "xshift": 7}
        for at, (*_, ticks) in enumerate(columns)
        for height, text in ticks
    ]
    layout: dict[str, Any] = {
        "xaxis": {
            "tickvals": list(range(len(columns))),
            "ticktext": names,
            "side": "top",
            "range": [-0.2, len(names) - 0.3],
        },
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "annotations": notes,
    }
    summary = f"{len(report.cells)} cells through {', '.join(names)}."
    yield Variant("cells", traces, layout, summary, width=105 * (len(columns) + 1))


# Of a column: its name, per cell the height and the text, and heights with the texts beside the axis.
_Column = tuple[str, list[float | None], list[str], list[tuple[float, str]]]


def _setting(report: Report, key: str) -> _Column:
    """Return the column of a setting: its values evenly spaced, numbers in their order, then texts in theirs."""
    values = [flatten(cell.config).get(key) for cell in report.cells]
    target = key.endswith("._target_")
    texts = ["–" if value is None else str(value).rpartition(".")[2] if target else str(value) for value in values]

    def order(value: object) -> tuple[bool, float, str]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (not is_number, float(value) if isinstance(value, int | float) else 0.0, str(value))

    ranked = list(dict(sorted(zip(texts, values, strict=True), key=lambda pair: order(pair[1]))))
    height = {text: at / max(len(ranked) - 1, 1) for at, text in enumerate(ranked)}
    shown = ranked if len(ranked) <= _MOST_TICKS else [ranked[0], ranked[-1]]
    name = key.removesuffix("._target_").rpartition(".")[2]
    return name, [height[text] for text in texts], texts, [(height[text], text) for text in shown]


def _measured(report: Report, metric: MetricRecord) -> _Column | None:
    """Return the column of a metric, better values higher; None where it does not vary."""
    values = [cell.overall.get(metric.name) for cell in report.cells]
    known = [value for value in values if value is not None]
    if not known or min(known) == max(known):
        return None
    low, high = (max(known), min(known)) if metric.direction == "lower" else (min(known), max(known))
    heights = [None if value is None else (value - low) / (high - low) for value in values]
    return metric.heading, heights, list(map(metric.text, values)), [(0.0, metric.text(low)), (1.0, metric.text(high))]


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
        elsewhere = _RATIOS if key == "label.horizon" else ()  # the figure above has them
        yield from _responses(curves, key, [metric for metric in metrics if metric.name not in elsewhere])


def _responses(curves: Sequence[Curve], x: str, metrics: Iterable[MetricRecord]) -> Iterator[Variant]:
    """Yield the plot of every metric that is defined along some curve."""
    values = [value for _, curve in curves for value, _ in curve]
    for metric in metrics:
        traces = []
        for number, (name, run) in enumerate(curves):
            cells = [cell for _, cell in run]
            y = [cell.overall.get(metric.name) for cell in cells]
            if any(value is not None for value in y):  # an undefined one is a gap
                bars = _error_bars(cells, metric.name)
                traces.append(line(number, name or x, [value for value, _ in run], y, error_y=bars))
        if traces:
            layout = axes(x, metric.heading)
            layout["xaxis"]["type"] = "log" if min(values) > 0 and max(values) / min(values) >= _WIDE else "linear"
            if len(set(values)) <= _MOST_TICKS:
                layout["xaxis"] |= {
                    "tickvals": sorted(set(values)),
                    "ticktext": [f"{v:g}" for v in sorted(set(values))],
                }
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


DIFFERENCE = Figure(
    "difference",
    "Difference to the reference over time",
    "The difference to the reference of its scenario at each time, added up: a line that rises is better then. At the "
    "end the 95% interval of each sum, allowing for labels that overlap: where it leaves zero out, the two differ by "
    "the test. Shaded, while at most three cells are switched on: the interval at every time.",
    difference_to_reference,
)
FIGURES = (
    Figure(
        "parallel",
        "Settings and metrics",
        "One line per cell, all of them, through its settings and what they led to; the darker its colour, the higher "
        "its rank IC (in dark mode: the brighter). Better values stand higher.",
        parallel_coordinates,
    ),
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
