"""A figure of a report: one or several plots that the reader switches between, in Plotly's form."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.report.cells import Report

Doubles = npt.NDArray[np.float64]
# About twice the width of a plot in pixels.
MOST_POINTS = 1500


@dataclass(frozen=True)
class Variant:
    """One plot, in Plotly's form."""

    label: str
    # plotly traces; the key ``cell`` (index of a cell) gives a trace that cell's colour and switches it with the
    # cell, ``daily`` marks the faint values behind a line
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)  # plotly layout, without colours: the page's theme gives them
    summary: str = ""  # what a reader who cannot see it should know
    height: int | None = None  # in pixels; None: that of its figure


@dataclass(frozen=True)
class Figure:
    """A section of the page with a figure; it is left out where `draw` yields no plot for lack of data."""

    key: str  # of its section, for links
    title: str
    caption: str  # how to read it
    draw: Callable[[Report], Iterator[Variant]]
    choose: str = "show"  # what the reader chooses between its plots by
    height: int = 420


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
