"""The figures of a report: one or several plots each that the reader switches between, in Plotly's form."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.evaluation import formulas
from harness.evaluation.metrics import METRICS, MetricRecord, metrics_of
from harness.evaluation.predictions import Predictions
from harness.report.cells import Curve, Report, curves_over, differing_keys, leaderboard_metrics, swept_numbers
from harness.run.finished import FinishedRun

Doubles = npt.NDArray[np.float64]
# About twice the width of a plot in pixels.
MOST_POINTS = 1500
MOST_SQUARES = 90
SHORTEST_WINDOW = 60
QUANTILES = 5


@dataclass(frozen=True)
class Variant:
    """One plot, in Plotly's form."""

    label: str
    # plotly traces; the key ``cell`` (index of a cell) gives a trace that cell's colour and switches it with the
    # cell, ``daily`` marks the faint values behind a line
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)  # plotly layout, without colours: the page's theme gives them
    summary: str = ""  # what a reader who cannot see it should know


def axes(x: str, y: str, **both: Any) -> dict[str, Any]:
    """Return the layout of a plot whose axes have these titles, and further settings of both."""
    return {"xaxis": {"title": {"text": x}, **both}, "yaxis": {"title": {"text": y}, **both}}


def line(number: int, name: str, x: list[Any], y: list[Any], **more: Any) -> dict[str, Any]:
    """Return the trace of one curve with a marker at every point, in the colour of its number."""
    return {"type": "scatter", "mode": "lines+markers", "palette": number, "name": name, "x": x, "y": y, **more}


def heat_map(x: list[Any], y: list[Any], z: npt.NDArray[Any], hover: str, **more: Any) -> dict[str, Any]:
    """Return the trace of a heat map in colours to both sides of its middle."""
    shown = {"hovertemplate": f"{hover}<extra></extra>", **more}
    return {"type": "heatmap", "x": x, "y": y, "z": packed(z), "scale": "diverging", **shown}


def thinned(size: int, most: int = MOST_POINTS) -> npt.NDArray[np.int64]:
    """Return the positions that are shown of `size` times: evenly spaced, the last among them, at most `most`."""
    stride = max(1, -(-size // most))
    return np.arange(size - 1, -1, -stride, dtype=np.int64)[::-1]


def packed(values: npt.NDArray[Any]) -> dict[str, str]:
    """Return a number array in Plotly's binary form, in single precision; NaN becomes a gap."""
    array = np.ascontiguousarray(values, dtype="<f4")
    record = {"dtype": "f4", "bdata": base64.b64encode(array.tobytes()).decode("ascii")}
    if array.ndim > 1:
        record["shape"] = ", ".join(map(str, array.shape))
    return record


def date_texts(times: npt.NDArray[np.datetime64]) -> list[str]:
    """Return times as text: days without an hour when all are at midnight."""
    has_hours = bool((times.astype("datetime64[D]") != times).any())
    return [str(text) for text in times.astype("datetime64[m]" if has_hours else "datetime64[D]")]


_RETURNS = (
    ("after cost", "excess_return", "Top-k portfolio minus benchmark, after cost"),
    ("before cost", "excess_return_without_cost", "Top-k portfolio minus benchmark, before cost"),
    ("long-short", "long_short_return", "Half of top minus bottom quantile by score, label return divided by horizon"),
)
_PANELS: dict[str, Any] = {
    "xaxis": {"type": "date", "anchor": "y2"},
    "yaxis": {"domain": [0.36, 1], "tickformat": ".2~f", "title": {"text": "return"}},
    "yaxis2": {"domain": [0, 0.28], "tickformat": ".2~f", "title": {"text": "drawdown"}},
    "hovermode": "x",
}


def accumulated(returns: Doubles, compounds: bool) -> Doubles:
    """Return (S,) the return up to each time: the sum, or the product minus one; NaN counts as no return."""
    filled = np.nan_to_num(returns)
    result: Doubles = np.expm1(np.cumsum(np.log1p(filled))) if compounds else np.cumsum(filled)
    return result


def drawdown(value: Doubles, *, compounds: bool) -> Doubles:
    """Return (S,) how far each value lies below the highest before it (from 0 on), relative when it compounds."""
    top = np.maximum.accumulate(np.maximum(value, 0.0))
    return (1 + value) / (1 + top) - 1 if compounds else value - top


def cumulative_returns(report: Report) -> Iterator[Variant]:
    """Yield the curve of every cell above its drawdown."""
    for label, name, what in _RETURNS:
        cells = [(i, cell) for i, cell in enumerate(report.cells) if name in cell.series]
        if cells:
            traces = [trace for i, cell in cells for trace in _curve(i, cell, name)]
            final = {cell.name: float(accumulated(*_returns(cell, name))[-1]) for _, cell in cells[:6]}
            ends = ", ".join(f"{cell} {METRICS['excess_return'].text(value)}" for cell, value in final.items())
            yield Variant(label, traces, _PANELS, f"{what}. At the end: {ends}.")


def quantile_returns(report: Report) -> Iterator[Variant]:
    """Yield the mean label of each fifth of the ranking, relative to all, of cells whose times have enough rows."""
    names = [f"Q{q}" for q in range(1, QUANTILES + 1)]
    means = ((at, cell.name, quantile_means(cell.predictions())) for at, cell in enumerate(report.cells))
    traces: list[dict[str, Any]] = [
        {"type": "bar", "cell": at, "name": name, "x": names, "y": found.tolist()}
        for at, name, found in means
        if found is not None
    ]
    layout = axes("fifth of the ranking, lowest scores first", "mean label minus that of all")
    layout["yaxis"] |= {"tickformat": ".4~f", "zeroline": True}
    if traces:
        first = ((x, METRICS["excess_return"].text(y)) for x, y in zip(names, traces[0]["y"], strict=True))
        ends = ", ".join(f"{x} {y}" for x, y in first)
        yield Variant("mean", traces, layout, f"{traces[0]['name']}: {ends}.")


def quantile_means(predictions: Predictions, count: int = QUANTILES) -> Doubles | None:
    """Return (count,) the mean over time of each quantile's mean label minus the mean label of all.

    Times with fewer than two labelled rows per quantile are left out; None when that leaves none.
    """
    frame = pd.DataFrame({"score": predictions.score, "label": predictions.label}, predictions.row_times).dropna()
    frame = frame.astype(np.float64)[frame.groupby(level=0)["label"].transform("size") >= 2 * count]
    if frame.empty:
        return None
    by_time = frame.groupby(level=0)
    quantile = (by_time["score"].rank(method="first") - 1) * count // by_time["score"].transform("size")
    excess = frame["label"] - by_time["label"].transform("mean")
    return excess.groupby([frame.index, quantile]).mean().groupby(level=1).mean().to_numpy()


def _returns(cell: FinishedRun, name: str) -> tuple[Doubles, bool]:
    """Return a series of returns, and whether they are multiplied instead of added."""
    if name == "long_short_return":
        return cell.series[name] / cell.horizon, False
    portfolio = cell.config["evaluation"].get("portfolio")
    return cell.series[name], portfolio is not None and portfolio.get("accumulate") == "product"


def _curve(index: int, cell: FinishedRun, name: str) -> list[dict[str, Any]]:
    returns, compounds = _returns(cell, name)
    value = accumulated(returns, compounds=compounds)
    shown = thinned(value.size)
    times = date_texts(cell.series.times[shown])
    base = {"type": "scatter", "mode": "lines", "cell": index, "name": cell.name, "x": times}
    below = drawdown(value, compounds=compounds)[shown]
    return [
        {**base, "y": packed(value[shown]), "hovertemplate": "%{x}: %{y:.4f}"},
        {**base, "y": packed(below), "yaxis": "y2", "showlegend": False, "hovertemplate": "%{x}: %{y:.4f} below"},
    ]


_CORRELATIONS = (("rank IC", "rank_IC"), ("IC", "IC"))
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def monthly_means(times: npt.NDArray[np.datetime64], series: Doubles) -> tuple[list[int], Doubles]:
    """Return the years and (years, 12) the mean of the defined values of every month, NaN where there is none."""
    dates = pd.DatetimeIndex(times)
    frame = pd.DataFrame({"year": dates.year, "month": dates.month, "mean": series})
    years = list(range(int(dates.year.min()), int(dates.year.max()) + 1))
    means = frame.pivot_table("mean", "year", "month").reindex(index=years, columns=range(1, 13))
    return years, means.to_numpy(dtype=np.float64)


def rolling_width(report: Report) -> int:
    """Return over how many periods the ICs are averaged."""
    return max(SHORTEST_WINDOW, 3 * max(cell.look_ahead for cell in report.cells))


def ic_over_time(report: Report) -> Iterator[Variant]:
    """Yield the rolling mean of the ICs, with the single values behind it when few cells are shown."""
    width = rolling_width(report)
    for label, name in _CORRELATIONS:
        traces = [t for i, cell in enumerate(report.cells) if name in cell.series for t in _lines(i, cell, name, width)]
        if traces:
            means = ", ".join(f"{c.name} {METRICS[name].text(formulas.mean(c.series[name]))}" for c in report.cells[:6])
            axis = {"title": {"text": label}, "zeroline": True}
            layout = {"xaxis": {"type": "date"}, "yaxis": axis, "hovermode": "x"}
            yield Variant(label, traces, layout, f"Mean {label}: {means}.")


def _lines(index: int, cell: FinishedRun, name: str, width: int) -> list[dict[str, Any]]:
    values = cell.series[name]
    means = pd.Series(values).rolling(width, min_periods=max(1, width // 2)).mean().to_numpy()
    shown = thinned(values.size)
    base = {"type": "scatter", "cell": index, "name": cell.name, "x": date_texts(cell.series.times[shown])}
    daily = {"mode": "markers", "daily": True, "showlegend": False, "hoverinfo": "skip"}
    return [
        {**base, **daily, "y": packed(values[shown])},
        {**base, "mode": "lines", "y": packed(means[shown]), "hovertemplate": "%{x}: %{y:.4f}"},
    ]


def monthly_ic(report: Report) -> Iterator[Variant]:
    """Yield one heat map per cell: years down, months across."""
    pairs = [(cell, name, label) for label, name in _CORRELATIONS for cell in report.cells if name in cell.series]
    tables = [monthly_means(cell.series.times, cell.series[name]) for cell, name, _ in pairs]
    reach = max((float(np.nanmax(np.abs(means))) for _, means in tables if not np.isnan(means).all()), default=1.0)
    style = {"zmin": -reach, "zmax": reach, "texttemplate": "%{z:.2f}", "xgap": 2, "ygap": 2}
    layout = {"yaxis": {"type": "category", "autorange": "reversed"}, "xaxis": {"side": "top", "showgrid": False}}
    for (cell, _, label), (years, means) in zip(pairs, tables, strict=True):
        trace = heat_map(_MONTHS, list(map(str, years)), means, "%{y} %{x}: %{z:.4f}", **style)
        known = means[~np.isnan(means)]
        share = float((known > 0).mean()) if known.size else float("nan")
        summary = f"Monthly {label} of {cell.name}: positive in {share:.0%} of the months."
        yield Variant(f"{label} · {cell.name}", [trace], layout, summary)


# From this ratio of the largest to the smallest value on, the axis is logarithmic.
_WIDE = 10.0
_RATIOS = ("rank_IC", "IC", "rank_ICIR", "ICIR")
_SHOWN = (*_RATIOS, "excess_return", "information_ratio", "max_drawdown")


def ic_decay(report: Report) -> Iterator[Variant]:
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


def learned_weights(report: Report) -> Iterator[Variant]:
    """Yield one heat map per cell that saved weights: windows down, blocks of past times across."""
    for cell in report.cells:
        path = cell.adaptation_file("weights.parquet")
        if path is None:
            continue
        found = pd.read_parquet(path).pivot_table("weight", "test_time", "block_time")
        weights, tests, starts = found.to_numpy(), found.index.to_numpy(), found.columns.to_numpy()
        hover = "test from %{y}, block from %{x}: %{z:.3f}"
        style = {"zmid": 1.0, "colorbar": {"title": {"text": "weight"}}}
        trace = heat_map(date_texts(starts), date_texts(tests), weights, hover, **style)
        layout = _categories("first time of the block", "decision", 12)
        reach = f"{np.nanmin(weights):.3f} to {np.nanmax(weights):.3f}"
        yield Variant(cell.name, [trace], layout, f"Weights of {cell.name}: {reach}.")


def similarity(report: Report) -> Iterator[Variant]:
    """Yield how well the proxy of each block ranks every other period, where a cell saved it; equal ones once."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for cell in report.cells:
        values, times = (cell.adaptation_file(f"{name}.npy") for name in ("similarity_0", "calendar"))
        record = cell.adaptation_file("record.json")
        if values is not None and times is not None and record is not None:
            regime = json.loads(record.read_text(encoding="utf-8"))["eras"][0]
            found.setdefault(values.read_bytes(), (cell.name, np.load(values), np.load(times), regime))
    for name, values, calendar, regime in found.values():
        step, start = int(regime["step"]), int(regime["start"])
        whole = values[: values.shape[0] // step * step].astype(np.float64)
        squares = _block_means(whole, step, axis=0)
        shown = coarse(squares)
        times = calendar.astype("datetime64[ns]")
        rows, columns = (
            date_texts(times[np.minimum(start + step * -(-count // kept) * np.arange(kept), times.size - 1)])
            for count, kept in zip(squares.shape, shown.shape, strict=True)
        )
        is_known = not np.isnan(squares).all()
        reach = float(np.nanmax(np.abs(shown))) if is_known else 1.0
        style = {"zmin": -reach, "zmax": reach, "colorbar": {"title": {"text": "rank IC"}}}
        trace = heat_map(columns, rows, shown, "proxy of %{x} at %{y}: %{z:.3f}", **style)
        mean = float(np.nanmean(squares)) if is_known else float("nan")
        layout = _categories("block of the proxy", "judged from", 10)
        yield Variant(name, [trace], layout, f"Mean similarity of {name}: {mean:.4f}.")


def meta_training(report: Report) -> Iterator[Variant]:
    """Yield loss and rank IC over the epochs of meta-training, per cell that saved them."""
    saved = [(cell, cell.adaptation_file("meta_training.parquet")) for cell in report.cells]
    scores = [(cell, pd.read_parquet(path)) for cell, path in saved if path is not None]
    for metric, label in (("loss", "loss"), ("rank_ic", "rank IC")):
        for cell, epochs in scores:
            curves: list[dict[str, Any]] = []
            points = []
            for (stage, phase), rows in epochs.groupby(["stage", "phase"], sort=False):
                name, values = f"{stage}, {phase}", rows[metric].to_numpy(dtype=np.float64)
                y = [float(value) if np.isfinite(value) else None for value in values]
                curves.append(line(len(curves), name, rows["epoch"].tolist(), y))
                known = values[np.isfinite(values)]
                points.append(f"{name}: {f'{known[0]:.4f} to {known[-1]:.4f}' if known.size else 'undefined'}")
            summary = f"{label} from first to last epoch. {'; '.join(points)}."
            yield Variant(f"{label} · {cell.name}", curves, axes("epoch", label), summary)


def coarse(values: Doubles, most: int = MOST_SQUARES) -> Doubles:
    """Return a matrix averaged into at most `most` equal squares on each side; what is nowhere defined stays NaN."""
    for axis in (0, 1):
        values = _block_means(values, -(-values.shape[axis] // most), axis)
    return values


def _block_means(values: Doubles, size: int, axis: int) -> Doubles:
    starts = np.arange(0, values.shape[axis], size)
    known = np.add.reduceat(~np.isnan(values), starts, axis=axis, dtype=np.int64)
    sums = np.add.reduceat(np.nan_to_num(values), starts, axis=axis)
    return np.where(known > 0, sums / np.maximum(known, 1), np.nan)


def _categories(x: str, y: str, ticks: int) -> dict[str, Any]:
    """Return the layout of a heat map whose rows go from above to below."""
    layout = axes(x, y, type="category", nticks=ticks)
    layout["yaxis"]["autorange"] = "reversed"
    return layout


_LINES = (("decision", "decision", "lines"), ("newest", "newest time used", "markers"), ("oldest", "oldest", "markers"))


def audit_frontier(report: Report) -> Iterator[Variant]:
    """Yield decision, newest and oldest time used of every probed window."""
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
        yield Variant(cell.name, traces, layout, summary)


_FIGURES: Mapping[str, Callable[[Report], Iterator[Variant]]] = {
    "cumulative": cumulative_returns,
    "ic": ic_over_time,
    "monthly": monthly_ic,
    "decay": ic_decay,
    "quantiles": quantile_returns,
    "response": sweep_response,
    "weights": learned_weights,
    "similarity": similarity,
    "meta": meta_training,
    "frontier": audit_frontier,
}


def figures_of(report: Report) -> dict[str, list[Variant]]:
    """Return key → plots of every figure that the cells have data for; the page has its title and caption."""
    made = ((key, list(variants(report))) for key, variants in _FIGURES.items())
    return {key: variants for key, variants in made if variants}
