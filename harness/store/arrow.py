"""Between NumPy and Arrow, for numbers and times without nulls.

Arrow's own ways import pandas, which takes a quarter of a second of every run that reads or writes a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def array_of(values: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column of numbers without a null as an array, read only where the column is one piece."""
    parts = [np.from_dlpack(chunk) for chunk in values.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, values.type.to_pandas_dtype()), *parts])


def column_of(values: npt.NDArray[Any]) -> pa.Array:
    """Return (n,) numbers, or times without NaT, as a column; NaN stays a number."""
    kept = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(kept.dtype), kept.size, [None, pa.py_buffer(kept.view(np.uint8))])


def flags_of(values: npt.NDArray[np.bool_]) -> pa.BooleanArray:
    """Return (n,) bools as a column."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), values.size, [None, pa.py_buffer(bits)])


def named(places: npt.NDArray[np.integer[Any]], names: Sequence[str]) -> pa.DictionaryArray:
    """Return (n,) places among some names as a column of the names."""
    return pa.DictionaryArray.from_arrays(column_of(places), texts_of(names))


def texts_of(texts: Sequence[str]) -> pa.StringArray:
    """Return texts as a column."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
