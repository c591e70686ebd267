"""Medians of the columns of a large float32 matrix, and of deviations from them, in one look at its rows.

Values are compared by their keys, whole numbers in the same order (`_keys_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from harness.samples.chunks import Rows
from harness.samples.column_statistics import shared
from harness.samples.table import Doubles, Floats, Positions
from harness.store.compiled import compiled, kernel_threads

Keys = npt.NDArray[np.int32]
Bracket = tuple[Keys, Keys]
Kept = tuple[Keys, Positions]
_ROWS = 1 << 12  # rows looked through at a time, so that they stay in the cache
_BLOCK, _COLUMNS = 256, 8  # rows and columns that are transposed at a time, so that a column's values are side by side
_SMALL = 1 << 13  # rows of which all are the sample
_SHARE = 2.0  # size of a sample, in two thirds powers of the number of rows
_RUN = 16  # rows side by side in a sample
_WIDE = 2.5  # half the width of a bracket in roots of the size of the sample: five deviations of independent rows
_MOST = 16  # what tails may hold of a sample, in half widths of a bracket; of smooth columns it is 5 to 8
_LEAST_KEY, _GREATEST_KEY = -(1 << 31), (1 << 31) - 1  # of no float32 but NaNs
_INFINITE = 0x7F800000  # key of infinity
_FINITE = -_INFINITE, _INFINITE - 1  # keys of the least and the greatest number
_NO_TAILS = np.array([[_GREATEST_KEY], [_LEAST_KEY], [_GREATEST_KEY], [_LEAST_KEY]], dtype=np.int32)


def column_medians(values: Rows) -> tuple[Doubles, Doubles]:
    """Return (F,) float64 medians of (m, F) columns, and medians of the absolute deviations from them.

    Deviations are taken in float32. A column without values gives NaN; where the median is not finite, so is what is
    returned as its deviation. The rows are read once, and a few of them more: ranks of a sample bracket both medians,
    and only what lies within is kept and sorted (Floyd and Rivest 1975). What a bracket has missed is looked for again,
    and so is the deviation of a column with so many equal values that keeping them would take the memory of the rows.
    """
    n, width = values.shape
    if not n or not width:
        return np.full(width, np.nan), np.full(width, np.nan)
    sample, every, origin = _sample(values), np.arange(width), np.zeros(width, np.float32)
    bracket, middle = _bracket(sample, n)
    columns = _look(values, every, origin, bracket, _tails(sample, bracket, middle, n))
    centre = _exact(values, every, origin, columns)
    known = np.isfinite(centre)
    middle = np.where(known, centre, 0.0).astype(np.float32)
    spread = np.array(shared(lambda j: columns[j].deviation(middle[j]), range(width)))
    missed = np.flatnonzero(known & np.isnan(spread))
    del columns  # what was kept
    if missed.size:
        bracket, _ = _bracket(_away(sample[:, missed], middle[missed]), n)
        columns = _look(values, missed, middle, bracket, of_deviations=True)
        spread[missed] = _exact(values, missed, middle, columns, of_deviations=True)
    return centre, np.where(known, spread, centre)


def _sample(values: Rows) -> Floats:
    """Return rows from all over: few enough to sort, so many that what lies within a bracket of their ranks is few."""
    n = len(values)
    count = n if n <= _SMALL else int(_SHARE * n ** (2 / 3))
    if count == n:
        return values[:n]
    starts = np.linspace(0, n - _RUN, -(-count // _RUN)).astype(np.int64).tolist()
    found = np.empty((len(starts), _RUN, values.shape[1]), np.float32)
    for at, first in enumerate(starts):  # copied at once: what is kept of a mapped file keeps all of it in memory
        found[at] = values[first : first + _RUN]
    return found.reshape(len(starts) * _RUN, values.shape[1])


def _bracket(sample: Floats, n: int) -> tuple[Bracket, Floats]:
    """Return keys between which the medians of n rows' columns are almost certain to lie, and medians of the sample."""
    absent = np.isnan(sample)
    keys = np.where(absent, np.int32(_GREATEST_KEY), _keys_of(sample))
    ordered = np.hstack(shared(partial(np.sort, axis=0), np.array_split(keys, kernel_threads(), axis=1)))
    half = (len(sample) - np.count_nonzero(absent, axis=0)) // 2
    slack = np.full(sample.shape[1], n) if len(sample) == n else np.ceil(_WIDE * np.sqrt(2 * half)).astype(np.int64)
    at, columns = np.clip((half - slack, half, half + slack), 0, len(sample) - 1), np.arange(sample.shape[1])
    low, middle, high = ordered[at, columns]
    low, high = np.where(half < slack, _LEAST_KEY, low), np.where(half <= slack, _GREATEST_KEY, high)
    return (low.astype(np.int32), high.astype(np.int32)), _values_of(np.clip(middle, *_FINITE))


def _tails(sample: Floats, bracket: Bracket, middle: Floats, n: int) -> Keys:
    """Return (4, F) keys: between the first two, and the last two, lie values whose deviation is almost the median one.

    Both include their ends. They allow for a median anywhere in its bracket; whether they hold the deviation,
    `_Column.deviation` sees. There are none where they would hold far more values than ranks beside the middle.
    """
    around, _ = _bracket(_away(sample, middle), n)
    low, high = (_values_of(np.clip(keys, *_FINITE)).astype(np.float64) for keys in bracket)
    near, far = (_values_of(np.clip(keys, 0, _INFINITE)).astype(np.float64) for keys in around)
    with np.errstate(over="ignore"):
        ends = _keys_of(np.stack((low - far, high - near, low + near, high + far)).astype(np.float32))
    rounded = np.array([[-2], [2], [-2], [2]])  # a few numbers further: where many values are equal, all or none are in
    tails = np.clip(ends + rounded, -_INFINITE - 1, _INFINITE).astype(np.int32)
    keys = _keys_of(sample)
    held = ((tails[0] <= keys) & (keys <= tails[1])) | ((tails[2] <= keys) & (keys <= tails[3]))
    most = _MOST * _WIDE * np.sqrt(len(sample)) if len(sample) < n else n
    found: Keys = np.where(np.count_nonzero(held, axis=0) > most, _NO_TAILS, tails)
    return found


def _exact(
    values: Rows, at: Positions, middle: Floats, columns: Sequence[_Column], *, of_deviations: bool = False
) -> Doubles:
    """Return the medians of the columns `at`, of which `columns` was a first look; beside a bracket one looks again."""
    found, places, looks = np.full(len(at), np.nan), np.arange(len(at)), 1
    while True:
        missed = list[tuple[int, tuple[int, int]]]()
        for place, column in zip(places.tolist(), columns, strict=True):
            bracket = column.beside()
            if bracket is None:
                found[place] = column.median()
            else:
                missed.append((place, bracket if looks < 3 else (_LEAST_KEY, _GREATEST_KEY)))
        if not missed:
            return found
        places = np.array([place for place, _ in missed])
        low, high = np.ascontiguousarray(np.array([bracket for _, bracket in missed], dtype=np.int32).T)
        columns, looks = _look(values, at[places], middle, (low, high), of_deviations=of_deviations), looks + 1


def _look(
    values: Rows,
    at: Positions,
    middle: Floats,
    bracket: Bracket,
    tails: Keys | None = None,
    *,
    of_deviations: bool = False,
) -> list[_Column]:
    """Read all rows once; return what lies where in the columns `at`, of the values or of |x − middle|."""
    if tails is None:
        tails = np.repeat(_NO_TAILS, at.size, axis=1)

    def task(first: int) -> tuple[Positions, Kept, Kept]:
        rows = values[first : first + _ROWS]
        # Whole or not, from a file or not: C order and read-only, for which it is compiled.
        rows = np.ascontiguousarray(rows).view() if at.size == rows.shape[1] else np.take(rows, at, axis=1)
        rows.setflags(write=False)
        return _bracketed(rows, middle[at], of_deviations, *bracket, tails)

    counts, inside, outside = map(list, zip(*shared(task, range(0, len(values), _ROWS)), strict=True))
    columns = zip(*bracket, tails.T, np.sum(counts, axis=0), _joined(inside), _joined(outside), strict=True)
    return [_Column((low, high), *rest) for low, high, *rest in columns]


def _joined(parts: list[Kept]) -> list[Keys]:
    """Return the keys of each column, those of all parts one behind the other; the parts are let go."""
    sizes = np.stack([np.diff(ends) for _, ends in parts], axis=1)
    begins = np.cumsum(sizes.reshape(-1)).reshape(sizes.shape) - sizes
    keys = np.empty(sizes.sum(), np.int32)
    shared(lambda part: _place(*parts[part], begins[:, part], keys), range(len(parts)))
    parts.clear()
    return np.split(keys, begins[1:, 0])


@dataclass(frozen=True, eq=False)
class _Column:
    """What one look at all rows says of a column.

    Attributes:
        bracket: Keys that the median may lie between.
        tails: (4,) keys, see `_tails`.
        counts: (5,) how many values are less than the lower end of the bracket, no greater than it, no greater than the
            upper end (missing ones too where that is the greatest key), how many there are, and how many lie between
            the tails.
        inside: Keys of the values within the bracket, without its ends.
        outside: Those of the values in the tails.
    """

    bracket: tuple[np.int32, np.int32]
    tails: Keys
    counts: Positions
    inside: Keys
    outside: Keys

    @cached_property
    def _ranks(self) -> Positions:
        return np.array([(self.counts[3] - 1) // 2, self.counts[3] // 2])

    def beside(self) -> tuple[int, int] | None:
        """Return a bracket beside this one, where the median lies there."""
        (low, high), (first, second) = self.bracket, self._ranks
        if 0 <= first < self.counts[0]:
            return _LEAST_KEY, int(low)
        return (int(high), _GREATEST_KEY) if self.counts[3] and second >= self.counts[2] else None

    def median(self) -> float:
        """Return the median, which lies in the bracket; NaN of no value."""
        if not self.counts[3]:
            return np.nan
        (low, high), ranks, size = self.bracket, self._ranks - self.counts[1], self.inside.size
        within = ranks[(ranks >= 0) & (ranks < size)]
        placed = np.partition(self.inside, within) if within.size else self.inside
        keys = [low if rank < 0 else placed[rank] if rank < size else high for rank in ranks.tolist()]
        return _mean_of(_values_of(np.array(keys, dtype=np.int32)))

    def deviation(self, middle: np.float32) -> float:
        """Return the median of |x − middle| where it lies in the tails, else NaN."""
        between, ranks, ends = self.counts[4], self._ranks - self.counts[4], _values_of(self.tails)
        if not (ends[0] <= middle <= ends[3] and ranks[0] >= 0 and ranks[1] < self.outside.size):
            return np.nan
        placed = np.partition(_away(_values_of(self.outside), middle), ranks)[ranks]
        # No value between the tails is further away than their inner ends, none beyond them nearer than the outer ones.
        far = _away(ends, middle)
        is_sure = (not between or max(far[1], far[2]) <= placed[0]) and placed[1] <= min(far[0], far[3])
        return _mean_of(placed) if is_sure else np.nan


def _away(values: Floats, middle: Floats | np.float32) -> Floats:
    """Return |x − middle| in float32: infinite of numbers far apart, NaN of a missing one."""
    with np.errstate(over="ignore", invalid="ignore"):
        away: Floats = np.abs(values - middle)
        return away


def _mean_of(pair: Floats) -> float:
    lower, upper = pair.astype(np.float64).tolist()
    return float((lower + upper) / 2.0)


def _keys_of(values: Floats) -> Keys:
    """Return the bits of float32 as whole numbers of the same order; −0 is less than 0."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(_GREATEST_KEY))


def _values_of(keys: Keys) -> Floats:
    """Return the float32 of `_keys_of`."""
    return (keys ^ ((keys >> 31) & np.int32(_GREATEST_KEY))).view(np.float32)


@compiled()
def _bracketed(
    values: Floats, middle: Floats, of_deviations: bool, low: Keys, high: Keys, tails: Keys
) -> tuple[Positions, Kept, Kept]:
    """Return what `_Column` counts of each column, (F, 5), and the keys that it keeps: `inside` and `outside`."""
    rows, width = values.shape
    counts, sizes = np.zeros((width, 5), np.int64), np.zeros((2, width), np.uint64)
    # More room than for all rows: columns must not compete for the same place in the cache, as they do where they are a
    # power of two apart.
    room = np.empty((2, width, (rows // 32 * 2 + 3) * 16), np.int32)
    block, kept = np.empty((width, _BLOCK + 16), np.float32), np.empty(_BLOCK, np.int32)
    for begin in range(0, rows, _BLOCK):
        n = min(_BLOCK, rows - begin)
        _transposed(values[begin : begin + n], block)
        for j in range(width):
            column = block[j]
            if of_deviations:
                about = middle[j]
                for i in range(n):
                    column[i] = abs(column[i] - about)
            lower, upper = low[j], high[j]  # what a loop looks up each time it cannot do several times at once
            keys, first, second, third, last = column.view(np.int32), tails[0, j], tails[1, j], tails[2, j], tails[3, j]
            for i in range(n):
                key = keys[i] ^ ((keys[i] >> np.int32(31)) & np.int32(_GREATEST_KEY))
                keys[i] = key if column[i] == column[i] else np.int32(_GREATEST_KEY)
            _count(keys, n, lower, upper, second, third, counts[j])
            for i in range(n):
                kept[i] = (lower < keys[i]) & (keys[i] < upper)
            sizes[0, j] = _keep(keys, kept, n, room[0, j], sizes[0, j])
            for i in range(n):
                kept[i] = ((first <= keys[i]) & (keys[i] <= second)) | ((third <= keys[i]) & (keys[i] <= last))
            sizes[1, j] = _keep(keys, kept, n, room[1, j], sizes[1, j])
    return counts, _packed(room[0], sizes[0]), _packed(room[1], sizes[1])


@compiled()
def _keep(keys: Keys, kept: Keys, n: int, out: Keys, size: np.uint64) -> np.uint64:
    """Append the keys that are `kept` to the first `size` of `out`; return how many there are then.

    What is not kept is written too, and then overwritten: a branch could not be foreseen.
    """
    for i in range(n):
        out[size] = keys[i]
        size += np.uint64(kept[i])
    return size


@compiled()
def _packed(room: Keys, sizes: npt.NDArray[np.uint64]) -> Kept:
    """Return the first of each row one behind the other; those of row j are ``keys[ends[j] : ends[j + 1]]``."""
    ends = np.zeros(sizes.size + 1, np.int64)
    for j in range(sizes.size):
        ends[j + 1] = ends[j] + np.int64(sizes[j])
    keys = np.empty(ends[-1], np.int32)
    for j in range(sizes.size):
        for i in range(ends[j + 1] - ends[j]):
            keys[ends[j] + i] = room[j, i]
    return keys, ends


@compiled()
def _place(keys: Keys, ends: Positions, begins: Positions, out: Keys) -> None:
    """Write what `_packed` returned, row by row, to where each row begins."""
    for j in range(begins.size):
        for i in range(ends[j + 1] - ends[j]):
            out[begins[j] + i] = keys[ends[j] + i]


@compiled()
def _transposed(values: Floats, out: Floats) -> None:
    """Write columns as rows; loops of a fixed length are unrolled."""
    rows, width = values.shape
    whole = width // _COLUMNS * _COLUMNS
    for i in range(rows):
        for first in range(0, whole, _COLUMNS):
            for j in range(_COLUMNS):
                out[first + j, i] = values[i, first + j]
        for j in range(whole, width):
            out[j, i] = values[i, j]


@compiled()
def _count(
    keys: Keys, n: int, low: np.int32, high: np.int32, second: np.int32, third: np.int32, out: Positions
) -> None:
    """Add to `out` what `_Column` counts; a missing value has the greatest key."""
    below, to_low, to_high, known, between = np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for i in range(n):
        key = keys[i]
        below = np.int32(below + np.int32(key < low))
        to_low = np.int32(to_low + np.int32(key <= low))
        to_high = np.int32(to_high + np.int32(key <= high))
        known = np.int32(known + np.int32(key < _GREATEST_KEY))
        between = np.int32(between + np.int32((second < key) & (key < third)))
    out[0] += below
    out[1] += to_low
    out[2] += to_high
    out[3] += known
    out[4] += between
