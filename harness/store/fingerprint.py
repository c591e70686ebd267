"""Full-content fingerprints: equal content gives equal text, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `bench --version` needs the digest of a file, and must not wait for NumPy
    import numpy as np
    import numpy.typing as npt


def fingerprint_arrays(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """Return the hex SHA-256 of named arrays: names, dtypes, shapes and every byte, in name order.

    All NaNs are one NaN and −0.0 is 0.0, so that equal values give equal text; byte order is little-endian.
    """
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        if values.dtype.kind == "U":
            values = np.char.encode(values, "utf-8")
        if values.dtype.kind == "f":
            values = values + values.dtype.type(0.0)
            values[np.isnan(values)] = np.nan
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{values.dtype.str}\0{values.shape}\0".encode())
        digest.update(values.tobytes() if values.dtype.kind in "Mm" or values.ndim == 0 else values.data)
    return digest.hexdigest()


def fingerprint_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
