"""Sufficient statistics per block of consecutive times, shared by every window and every weighting."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import DataError, LookAheadError
from harness.execution.progress import Observer
from harness.samples.gram.equations import Doubles, Floats, NormalEquations, Positions, in_order, sums_of_piece

Period = tuple[int, int]
_STAGE = "gram blocks"
_MOST_RUNS = 2  # a block across which the weight changes once is cut there, and both parts are kept for later windows


class GramBlocks:
    """Blockwise statistics G_b = X_bᵀX_b and m_b = X_bᵀy_b, in float64; rows without a label (NaN) do not count.

    Sums are taken when they are first needed, or beforehand by `prepare`; the bits are the same either way.

    Args:
        features: (n, F) float32 rows in (time, instrument) order; may be memory-mapped.
        label: (n,) float32.
        offsets: (T + 1,) int64 row offsets of each time.
        step: Times per block.
        origin: A position at which a block begins; the first and the last block may be shorter.
        observer: Told about the blocks.
        kept: Asked once, when the first sum is needed: sums of the same rows that were taken before, by period.
    """

    def __init__(
        self,
        features: Floats,
        label: Floats,
        offsets: Positions,
        *,
        step: int,
        origin: int = 0,
        observer: Observer | None = None,
        kept: Callable[[], Mapping[Period, Doubles]] | None = None,
    ) -> None:
        if step < 1:
            raise DataError("A block must hold at least one time.", where="GramBlocks.step", got=step, expected="≥ 1")
        self._store = _Store(features, label, offsets, _borders(offsets.size - 1, step, origin), observer, kept)
        self._stop = offsets.size - 1
        self._columns: Positions | None = None

    @property
    def bounds(self) -> Positions:
        """(K + 1,) int64 positions; block k covers ``bounds[k] … bounds[k + 1]``."""
        return self._store.bounds[: np.searchsorted(self._store.bounds, self._stop, side="right")]

    @property
    def gram(self) -> Doubles:
        """(K, F, F) float64 Gram matrix of every block, read-only."""
        return self._all()[:, :-2, :-2]

    @property
    def moment(self) -> Doubles:
        """(K, F) float64 X_bᵀy_b of every block, read-only."""
        return self._all()[:, :-2, -2]

    def until(self, stop: int) -> GramBlocks:
        """Return the same blocks, closed to every time at or after `stop`."""
        return self._sharing(min(stop, self._stop), self._columns)

    def select(self, features: Positions) -> GramBlocks:
        """Return the blocks of some features, by position: sub-matrices of the same sums, which are not taken again."""
        positions = np.asarray(features, dtype=np.int64)
        return self._sharing(self._stop, positions if self._columns is None else self._columns[positions])

    def prepare(self, start: int, stop: int) -> None:
        """Compute every block that lies wholly in [start, stop)."""
        bounds = self.bounds
        chosen = bounds[(bounds >= start) & (bounds <= stop)].tolist()
        self._store.ensure(list(itertools.pairwise(chosen)))

    def periods(self, start: int, stop: int, per_time: Doubles | None) -> list[Period]:
        """Return the periods of constant weight whose sums `weighted` would take."""
        weights = np.ones(stop - start) if per_time is None else per_time
        return [(t.start, t.stop) for t in self._terms(start, stop, weights) if t.is_constant]

    def sums(self, periods: Sequence[Period]) -> Doubles:
        """Return (len(periods), F + 2, F + 2) float64 ZᵀZ of Z = [features, label, 1], to be kept for another run.

        Raises:
            LookAheadError: When a period reaches beyond what these blocks may show.
        """
        for start, stop in periods:
            self._check(start, stop)
        self._store.ensure(periods)
        return np.stack([self._constant(*period) for period in periods])

    def weighted(self, start: int, stop: int, per_time: Doubles | None) -> NormalEquations:
        """Return the statistics of positions [start, stop) with one weight ≥ 0 per time, exact to rounding.

        A period of constant weight within a block enters by its sums, which are kept for later windows; a block in
        which the weight changes more than once enters by its rows.

        Raises:
            LookAheadError: When the period reaches beyond what these blocks may show.
            DataError: When there is not one weight per time, or one is negative.
        """
        self._check(start, stop)
        weights = np.ones(stop - start) if per_time is None else per_time
        if weights.shape != (stop - start,) or not (weights >= 0).all():
            raise DataError("One weight ≥ 0 per time is needed.", got=weights.shape, expected=(stop - start,))
        terms = self._terms(start, stop, weights)
        self._store.ensure([(t.start, t.stop) for t in terms if t.is_constant])
        varying = iter(list(in_order(self._varying, [t for t in terms if not t.is_constant])))
        width = self._store.width if self._columns is None else self._columns.size + 2
        total, part = np.zeros((width, width)), np.empty((width, width))
        for term in terms:
            if term.is_constant:
                total += np.multiply(self._constant(term.start, term.stop), term.weights[0], out=part)
            else:
                total += next(varying)
        return NormalEquations.from_sums(total, self._store.count(start, stop))

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self._stop:
            raise LookAheadError(
                "These blocks are closed to the period.", got=f"[{start}, {stop})", expected=f"within [0, {self._stop})"
            )

    def _sharing(self, stop: int, columns: Positions | None) -> GramBlocks:
        other = object.__new__(GramBlocks)
        other._store, other._stop, other._columns = self._store, stop, columns
        return other

    def _terms(self, start: int, stop: int, weights: Doubles) -> list[_Term]:
        """Cut [start, stop) at the block borders, and a block whose weight changes once where it changes."""
        bounds = self._store.bounds
        borders = [start, *bounds[(bounds > start) & (bounds < stop)].tolist(), stop]
        terms = []
        for a, b in itertools.pairwise(borders):
            changes = np.flatnonzero(np.diff(weights[a - start : b - start])) + a + 1
            cuts = [a, *changes.tolist(), b] if changes.size < _MOST_RUNS else [a, b]
            terms += [_Term(i, j, weights[i - start : j - start]) for i, j in itertools.pairwise(cuts)]
        return [t for t in terms if t.stop > t.start and t.weights.any()]

    def _varying(self, term: _Term) -> Doubles:
        return self._store.rows(term.start, term.stop, term.weights, self._columns)

    def _constant(self, start: int, stop: int) -> Doubles:
        sums = self._store.sums[start, stop]
        if self._columns is None:
            return sums
        chosen = np.append(self._columns, [sums.shape[0] - 2, sums.shape[0] - 1])
        selected: Doubles = sums[np.ix_(chosen, chosen)]
        return selected

    def _all(self) -> Doubles:
        periods = list(itertools.pairwise(self.bounds.tolist()))
        self._store.ensure(periods)
        blocks = np.stack([self._constant(*period) for period in periods])
        blocks.setflags(write=False)
        return blocks


@dataclass(frozen=True, eq=False)
class _Term:
    """Positions [start, stop) within one block, and their weights."""

    start: int
    stop: int
    weights: Doubles

    @property
    def is_constant(self) -> bool:
        return bool(self.weights.min() == self.weights.max())


class _Store:
    """The sums over periods within a block, each computed once; width = F + 2 for [features, label, 1]."""

    def __init__(
        self,
        features: Floats,
        label: Floats,
        offsets: Positions,
        bounds: Positions,
        observer: Observer | None,
        kept: Callable[[], Mapping[Period, Doubles]] | None,
    ) -> None:
        self.bounds = bounds
        self.width = features.shape[1] + 2
        self.sums: dict[Period, Doubles] = {}
        self._kept = kept
        self._features, self._label, self._offsets = features, label, offsets
        self._labels_before = np.concatenate([[0], np.cumsum(~np.isnan(label))])[offsets]  # (T + 1,)
        self._observer = observer

    def count(self, start: int, stop: int) -> int:
        """Return the number of rows with a label in [start, stop)."""
        return int(self._labels_before[stop] - self._labels_before[start])

    def rows(self, start: int, stop: int, per_time: Doubles | None, columns: Positions | None) -> Doubles:
        """Return the sums over the rows of [start, stop), weighted by time."""
        offsets = self._offsets[start : stop + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        weights = None if per_time is None else np.repeat(per_time, np.diff(offsets))
        return sums_of_piece(self._features[rows], self._label[rows], weights, columns)

    def ensure(self, periods: Sequence[Period]) -> None:
        """Compute the unweighted sums of the periods that are not there yet."""
        missing = [period for period in periods if period not in self.sums]
        if missing and self._kept is not None:
            kept, self._kept = self._kept, None
            self.sums.update(kept())
            missing = [period for period in missing if period not in self.sums]
        if not missing:
            return
        if self._observer is not None:
            self._observer.start(_STAGE, len(missing))
        for period, sums in zip(missing, in_order(self._unweighted, missing), strict=True):
            self.sums[period] = sums
            if self._observer is not None:
                self._observer.advance(_STAGE)
        if self._observer is not None:
            self._observer.finish(_STAGE)

    def _unweighted(self, period: Period) -> Doubles:
        return self.rows(*period, None, None)


def _borders(times: int, step: int, origin: int) -> Positions:
    inner = np.arange(origin % step, times, step, dtype=np.int64)
    return np.unique(np.concatenate([[0], inner, [times]])).astype(np.int64)
