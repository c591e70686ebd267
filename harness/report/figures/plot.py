"""A figure of a report: one or several plots that the reader switches between, in Plotly's form."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
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
    # cell, ``palette`` (a number) gives the colour of that number, ``neutral`` that of no cell, ``shade`` (0 … 1) a
    # strength of one colour; ``band`` fills the area while at most three cells are shown; ``faint`` is drawn while at
    # most two are, such as the single values behind a line
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)  # plotly layout, without colours: the page's theme gives them
    summary: str = ""  # what a reader who cannot see it should know
    height: int | None = None  # in pixels; None: that of its figure
    width: int | None = None  # in pixels, the least at which it can be read: a narrower screen scrolls it


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


def curve(times: npt.NDArray[np.datetime64], values: Doubles, hover: str, **more: Any) -> dict[str, Any]:
    """Return the trace of a line over time, thinned."""
    shown = thinned(values.size)
    style = {"type": "scatter", "mode": "lines", "hovertemplate": hover, **more}
    return {**style, "x": date_texts(times[shown]), "y": packed(values[shown])}


def is_line(values: Doubles) -> bool:
    """Return whether values over time make a line: two of them are defined."""
    return int(np.count_nonzero(np.isfinite(values))) > 1


def band(times: npt.NDArray[np.datetime64], low: Doubles, high: Doubles, **more: Any) -> dict[str, Any]:
    """Return the trace of the area between two lines over time, thinned."""
    shown = thinned(low.size)
    x = date_texts(times[shown])
    y = packed(np.concatenate([high[shown], low[shown][::-1]]))
    return {"type": "scatter", "mode": "lines", "band": True, "hoverinfo": "skip", "x": [*x, *x[::-1]], "y": y, **more}


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def month_maps(found: Mapping[str, tuple[list[int], Doubles, Doubles]], form: str) -> Iterator[Variant]:
    """Yield a plot per label of what `by_month` returned: years down, months and the year across.

    Months have one colour scale in all plots, years another. Numbers are written in `form`.
    """
    down = {"type": "category", "autorange": "reversed", "showgrid": False}
    layout = {"yaxis": down, "xaxis": {"side": "top", "showgrid": False}}
    tables = found.values()
    reach = [max(map(_reach, parts), default=0.0) or 1.0 for parts in ([t[1] for t in tables], [t[2] for t in tables])]
    for label, (years, months, whole) in found.items():
        values = np.column_stack([months, whole])
        text = [["" if np.isnan(value) else f"{value:{form}}" for value in row] for row in values]
        shown = {"text": text, "texttemplate": "%{text}", "xgap": 2, "ygap": 2, "showscale": False}
        scaled = np.column_stack([months / reach[0], whole / reach[1]])
        x, y = [*_MONTHS, "year"], list(map(str, years))
        trace = heat_map(x, y, scaled, "%{y} %{x}: %{text}", zmin=-1, zmax=1, **shown)
        known = months[np.isfinite(months)]
        summary = f"{label}: positive in {int((known > 0).sum())} of {known.size} months."
        yield Variant(label, [trace], layout, summary, height=110 + 34 * len(years), width=680)


def _reach(values: Doubles) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


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
