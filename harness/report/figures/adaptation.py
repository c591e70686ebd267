"""Figures of what an adaptation learned, and of what its audit saw it use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from harness.report.cells import Report
from harness.report.figures.plot import Doubles, Figure, Variant, axes, date_texts, heat_map, line

MOST_SQUARES = 90


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


FIGURES = (
    Figure(
        "weights",
        "Learned weights",
        "How much the samples of each block of the past count when the model of a window is fitted; 1 is the weight "
        "they have without adaptation.",
        learned_weights,
        choose="cell",
        height=520,
    ),
    Figure(
        "similarity",
        "Similarity of periods",
        "A proxy model is fitted on each block; shown is the mean rank IC that it reaches at other times. Blue "
        "squares: the relation of that block holds there too. The squares next to the diagonal share labels with the "
        "block and are masked before DDG-DA learns from them. Long histories are averaged into fewer squares.",
        similarity,
        choose="cell",
        height=560,
    ),
    Figure(
        "meta",
        "Meta-training",
        "Before training (epoch 0, where it is recorded) and after every epoch. A loss on the tasks that were held "
        "out which rises while the other falls says that the weights are overfitted.",
        meta_training,
        choose="metric and cell",
        height=380,
    ),
    Figure(
        "frontier",
        "Audit frontier",
        "A point above the line of the decisions would be a leak; one far below it is waste.",
        audit_frontier,
        choose="cell",
        height=360,
    ),
)
