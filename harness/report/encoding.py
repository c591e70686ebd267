"""Numbers for the page: thinned where there are more than a screen can show, packed as Plotly reads them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

# About twice the width of a plot in pixels.
MOST_POINTS = 1500


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
