"""What DDG-DA has learned: weights, similarity, meta-training; read from the files that its fit saved."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from harness.report.cells import Report
from harness.report.figures.figure import Figure, Variant, axes, date_texts, heat_map, line
from harness.run.finished import FinishedRun

Doubles = npt.NDArray[np.float64]
MOST_SQUARES = 90


def learned_weights(report: Report) -> Figure:
    """Return one heat map per cell that saved weights: windows down, blocks of past times across."""
    variants = []
    for cell in report.cells:
        path = cell.adaptation_file("weights.parquet")
        if path is None:
            continue
        table = pq.read_table(path)
        starts, column = np.unique(table["block_time"].to_numpy(), return_inverse=True)
        tests, row = np.unique(table["test_time"].to_numpy(), return_inverse=True)
        weights = np.full((tests.size, starts.size), np.nan)
        weights[row, column] = table["weight"].to_numpy()
        hover = "test from %{y}, block from %{x}: %{z:.3f}"
        style = {"zmid": 1.0, "colorbar": {"title": {"text": "weight"}}}
        trace = heat_map(date_texts(starts), date_texts(tests), weights, hover, **style)
        layout = _categories("first time of the block", "decision", 12)
        reach = f"{np.nanmin(weights):.3f} to {np.nanmax(weights):.3f}"
        variants.append(Variant(cell.name, [trace], layout, f"Weights of {cell.name}: {reach}."))
    return Figure(
        "weights",
        "Learned weights",
        "How much the samples of each block of the past count when the model of a window is fitted; 1 is the weight "
        "they have without adaptation.",
        tuple(variants),
        choose="cell",
        height=520,
    )


def similarity(report: Report) -> Figure:
    """Return how well the proxy of each block ranks every other period, where a cell saved it; equal ones once."""
    variants = []
    seen: set[bytes] = set()
    for cell in report.cells:
        path, record = cell.adaptation_file("similarity_0.npy"), cell.adaptation_file("record.json")
        if path is None or record is None:
            continue
        values = np.load(path, allow_pickle=False).astype(np.float64)
        if values.tobytes() in seen:
            continue
        seen.add(values.tobytes())
        variants.append(_similarity(cell, values, json.loads(record.read_text(encoding="utf-8"))["eras"][0]))
    return Figure(
        "similarity",
        "Similarity of periods",
        "A proxy model is fitted on each block; shown is the mean rank IC that it reaches at other times. Blue "
        "squares: the relation of that block holds there too. The squares next to the diagonal share labels with the "
        "block and are masked before DDG-DA learns from them. Long histories are averaged into fewer squares.",
        tuple(variants),
        choose="cell",
        height=560,
    )


def meta_training(report: Report) -> Figure:
    """Return loss and rank IC over the epochs of meta-training, per cell that saved them."""
    saved = [(cell, cell.adaptation_file("meta_training.parquet")) for cell in report.cells]
    rows = [(cell, pq.read_table(path).to_pylist()) for cell, path in saved if path is not None]
    kinds = (("loss", "loss"), ("rank_ic", "rank IC"))
    return Figure(
        "meta",
        "Meta-training",
        "Before training (epoch 0, where it is recorded) and after every epoch. A loss on the tasks that were held out "
        "which rises while the other falls says that the weights are overfitted.",
        tuple(_epochs(cell, epochs, metric, label) for metric, label in kinds for cell, epochs in rows),
        choose="metric and cell",
        height=380,
    )


def _epochs(cell: FinishedRun, rows: list[dict[str, Any]], metric: str, label: str) -> Variant:
    curves: list[dict[str, Any]] = []
    for stage, phase in dict.fromkeys((r["stage"], r["phase"]) for r in rows):
        chosen = [r for r in rows if (r["stage"], r["phase"]) == (stage, phase)]
        y = [r[metric] if r[metric] is not None and np.isfinite(r[metric]) else None for r in chosen]
        curves.append(line(len(curves), f"{stage}, {phase}", [r["epoch"] for r in chosen], y))
    points = "; ".join(f"{t['name']}: {_ends(t['y'])}" for t in curves)
    summary = f"{label} from first to last epoch. {points}."
    return Variant(f"{label} · {cell.name}", curves, axes("epoch", label), summary)


def coarse(values: Doubles, most: int = MOST_SQUARES) -> Doubles:
    """Return a matrix averaged into at most `most` equal squares on each side; what is nowhere defined stays NaN."""
    for axis in (0, 1):
        size = -(-values.shape[axis] // most)
        starts = np.arange(0, values.shape[axis], size)
        known = np.add.reduceat(~np.isnan(values), starts, axis=axis)
        sums = np.add.reduceat(np.nan_to_num(values), starts, axis=axis)
        values = np.where(known > 0, sums / np.maximum(known, 1), np.nan)
    return values


def _similarity(cell: FinishedRun, values: Doubles, regime: dict[str, Any]) -> Variant:
    step, start = int(regime["step"]), int(regime["start"])
    whole = values[: values.shape[0] // step * step].reshape(-1, step, values.shape[1])
    count, sums = (~np.isnan(whole)).sum(axis=1), np.nan_to_num(whole).sum(axis=1)
    squares = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    path = cell.adaptation_file("calendar.npy")
    shown = coarse(squares)
    rows: list[Any] = list(range(shown.shape[0]))
    columns: list[Any] = list(range(shown.shape[1]))
    if path is not None:
        times = np.load(path, allow_pickle=False).astype("datetime64[ns]")
        rows = _labels(times, start, step, squares.shape[0], shown.shape[0])
        columns = _labels(times, start, step, squares.shape[1], shown.shape[1])
    reach = float(np.nanmax(np.abs(shown))) if not np.isnan(shown).all() else 1.0
    style = {"zmin": -reach, "zmax": reach, "colorbar": {"title": {"text": "rank IC"}}}
    trace = heat_map(columns, rows, shown, "proxy of %{x} at %{y}: %{z:.3f}", **style)
    layout = _categories("block of the proxy", "judged from", 10)
    mean = float(np.nanmean(squares)) if not np.isnan(squares).all() else float("nan")
    return Variant(cell.name, [trace], layout, f"Mean similarity of {cell.name}: {mean:.4f}.")


def _labels(times: npt.NDArray[np.datetime64], start: int, step: int, count: int, shown: int) -> list[str]:
    size = -(-count // shown)
    positions = np.minimum(start + step * size * np.arange(shown), times.size - 1)
    return date_texts(times[positions])


def _categories(x: str, y: str, ticks: int) -> dict[str, Any]:
    """Return the layout of a heat map whose rows go from above to below."""
    base = {"type": "category", "nticks": ticks}
    return {"xaxis": {**base, "title": {"text": x}}, "yaxis": {**base, "title": {"text": y}, "autorange": "reversed"}}


def _ends(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{known[0]:.4f} to {known[-1]:.4f}" if known else "undefined"
