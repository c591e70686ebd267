"""What data show before each time, as chained digests: what is appended leaves every earlier one as it is."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.samples.table import RowIndex

Floats = npt.NDArray[np.float32]
Value = TypeVar("Value")
_LENGTH = 16  # bytes of a digest
_BLOCK = 64  # times that are normalised at once


def chained_digests(
    panel: Panel, index: RowIndex, fields: Iterable[str], series: Mapping[str, Floats] = MappingProxyType({})
) -> tuple[str, ...]:
    """Return T + 1 hex digests; number t covers all that the panel shows before calendar position t.

    Each chains the one before with the times, the instruments that have a row, and the values of `fields` of every
    instrument that has any. An instrument is told by its code and not by its column, so that one that begins later
    changes nothing before. Equal values give equal digests: all NaNs are one, and −0.0 is 0.0.

    Args:
        index: The rows of the panel.
        fields: Names; those that the panel lacks are left out.
        series: Name → (T,) float32 that count too, such as a benchmark.
    """
    names = sorted(set(fields) & set(panel.fields))
    chain = [_digest(b"", *(name.encode() for name in (*names, *sorted(series))))]
    codes = np.array([_digest(b"", code.encode()) for code in panel.instruments], dtype=f"V{_LENGTH}")  # (N,)
    times, alone = (
        panel.calendar.times.astype("<i8"),
        _normalised([series[name] for name in sorted(series)], panel.calendar.times.shape),
    )
    for start, (ends, present, known) in _ahead(partial(_known, panel, names, codes), range(0, times.size, _BLOCK)):
        for at, (first, last) in enumerate(itertools.pairwise(ends), start):
            rows = codes[index.codes[int(index.offsets[at]) : int(index.offsets[at + 1])]]
            parts = (times[at : at + 1], rows, present[first:last], known[first:last], alone[:, at])
            chain.append(_digest(chain[-1], *parts))
    return tuple(digest.hex() for digest in chain)


def _known(
    panel: Panel, names: Sequence[str], codes: npt.NDArray[np.void], start: int
) -> tuple[list[int], npt.NDArray[np.void], Floats]:
    """Return where each time of a block ends, the digests of codes that have a value, and values, (rows, fields)."""
    block = slice(start, start + _BLOCK)
    shape = panel.membership[block].shape
    values = _normalised([panel.fields[name][block] for name in names], shape)  # (fields, times, N)
    row, column = np.nonzero(~np.isnan(values).all(axis=0))
    ends = np.searchsorted(row, np.arange(shape[0] + 1)).tolist()
    return ends, codes[column], np.ascontiguousarray(values[:, row, column].T)


def _ahead(work: Callable[[int], Value], items: Iterable[int]) -> Iterator[tuple[int, Value]]:
    """Yield each item with what `work` makes of it, in a thread that is one item ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting: deque[tuple[int, Future[Value]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > 1:
                first, made = waiting.popleft()
                yield first, made.result()
        yield from ((item, made.result()) for item, made in waiting)


def _digest(before: bytes, *parts: bytes | npt.NDArray[Any]) -> bytes:
    """Return the digest of what was before and of parts, each after its length."""
    found = [before]
    for part in parts:
        flat = part if isinstance(part, bytes) else part.tobytes()
        found += [len(flat).to_bytes(8, "little"), flat]
    # At once: after each large piece the thread would have to wait for the interpreter lock again.
    return hashlib.blake2b(b"".join(found), digest_size=_LENGTH).digest()


def _normalised(arrays: Sequence[Floats], shape: tuple[int, ...]) -> Floats:
    """Return arrays of a shape as one, little-endian; in it all NaNs are one and −0.0 is 0.0."""
    values = np.array(arrays, dtype="<f4").reshape(len(arrays), *shape) + np.float32(0.0)
    values[np.isnan(values)] = np.nan
    return values
