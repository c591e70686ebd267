"""Weighted least squares by sufficient statistics that windows share (section 5 of the design)."""

from __future__ import annotations

import copy
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from harness.errors import DataError, LookAheadError
from harness.execution.progress import Observer, Silent
from harness.execution.threads import one_blas_thread
from harness.samples.chunks import Rows, part_of
from harness.samples.table import Booleans, Doubles, Floats, Positions
from harness.store.compiled import kernel_threads

Item = TypeVar("Item")
Result = TypeVar("Result")
Period = tuple[int, int]

CHUNK = 2048  # rows converted to float64 at a time: a few MB, so that they stay in the cache
SPAN = 16 * CHUNK  # rows of one task where there are no blocks
_STAGE = "gram blocks"
_GROUP = (
    16  # times, up to which shorter blocks are summed as one where they weigh alike: with a step of 1 they are many
)
_MOST_RUNS = 2  # a block across which the weight changes once is cut there, and both parts are kept for later windows
RANK_CUTOFF = 1e-11
"""A direction below this share of the largest eigenvalue counts as none; the Gram matrix is scaled to a unit diagonal.

Features are float32, so an exact linear relation between them leaves an eigenvalue of up to about (1e-6)² of the
largest. In normalised Alpha158 the relations lie below 1e-14 (below 3e-12 in a peer's rounding), real directions above
1e-10. The scaling keeps a feature in small units, such as a return beside a volume, from being taken for none.
"""


class GramBlocks:
    """Blockwise statistics G_b = X_bᵀX_b and m_b = X_bᵀy_b, in float64; rows without a label (NaN) do not count.

    Every sum is taken once, when it is first needed, for every window and every weighting.

    Args:
        features: (n, F) float32 rows in (time, instrument) order; may be memory-mapped, or `LazyRows`.
        label: (n,) float32.
        offsets: (T + 1,) int64 row offsets of each time.
        step: Times per block.
        origin: A position at which a block begins; the first and the last block may be shorter.
        observer: Receives the progress, in blocks.
        kept: Asked once, when the first sum is needed: sums of the same rows that were taken before, by period.
    """

    def __init__(
        self,
        features: Rows,
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
        self._features, self._label, self._offsets = features, label, offsets
        self._stop = offsets.size - 1
        inner = np.arange(origin % step, self._stop, step, dtype=np.int64)
        self._bounds = np.unique(np.concatenate([[0], inner, [self._stop]])).astype(np.int64)
        together = step * max(1, _GROUP // step)
        self._groups = self._bounds[(self._bounds - origin) % together == 0]
        self._labels_before = np.concatenate([[0], np.cumsum(~np.isnan(label))])[offsets]  # (T + 1,)
        self._observer = observer or Silent()
        self._sums: dict[Period, Doubles] = {}  # of [features, label, 1]; both are shared with what `until` returns
        # The terms that the last request began with, and their total: the next window's often begin alike.
        self._begun: list[tuple[list[tuple[Period, float | Doubles]], Doubles]] = []
        self._kept = [] if kept is None else [kept]

    @property
    def bounds(self) -> Positions:
        """(K + 1,) int64 positions; block k covers ``bounds[k] … bounds[k + 1]``."""
        return self._bounds[: np.searchsorted(self._bounds, self._stop, side="right")]

    @property
    def gram(self) -> Doubles:
        """(K, F, F) float64 Gram matrix of every block, read-only."""
        return self._blocks()[:, :-2, :-2]

    @property
    def moment(self) -> Doubles:
        """(K, F) float64 X_bᵀy_b of every block, read-only."""
        return self._blocks()[:, :-2, -2]

    def _blocks(self) -> Doubles:
        blocks = self.sums(list(itertools.pairwise(self.bounds.tolist())))
        blocks.setflags(write=False)
        return blocks

    def until(self, stop: int) -> GramBlocks:
        """Return the same blocks, closed to every time at or after `stop`."""
        closed = copy.copy(self)
        closed._stop = min(stop, self._stop)
        return closed

    def periods(self, start: int, stop: int, per_time: Doubles | None) -> list[Period]:
        """Return the periods of constant weight whose sums `weighted` would take."""
        weights = np.ones(stop - start) if per_time is None else per_time
        return [period for period, weight in self._terms(start, stop, weights) if isinstance(weight, float)]

    def sums(self, periods: Sequence[Period]) -> Doubles:
        """Return (len(periods), F + 2, F + 2) float64 ZᵀZ of Z = [features, label, 1], to be kept for another run.

        Raises:
            LookAheadError: When a period reaches beyond what these blocks may show.
        """
        for period in periods:
            self._check(*period)
        self._ensure(periods)
        return np.stack([self._sums[period] for period in periods])

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
        self._ensure([period for period, weight in terms if isinstance(weight, float)])
        varying = [(period, weight) for period, weight in terms if not isinstance(weight, float)]
        by_rows = iter(list(in_order(lambda term: self._of_rows(*term), varying)))
        total, part = np.zeros((2, self._features.shape[1] + 2, self._features.shape[1] + 2))
        begun, so_far = self._begun[0] if self._begun else ([], total)
        if varying or terms[: len(begun)] != begun:
            begun = []
        elif begun:
            total += so_far
        for at, (period, weight) in enumerate(terms[len(begun) :], len(begun)):
            if not varying and at == len(terms) - _GROUP:
                self._begun[:] = [(terms[:at], total.copy())]
            if isinstance(weight, float):
                total += np.multiply(self._sums[period], weight, out=part)
            else:
                total += next(by_rows)
        return NormalEquations.from_sums(total, int(self._labels_before[stop] - self._labels_before[start]))

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self._stop:
            got, expected = f"[{start}, {stop})", f"within [0, {self._stop})"
            raise LookAheadError("These blocks are closed to the period.", got=got, expected=expected)

    def _terms(self, start: int, stop: int, weights: Doubles) -> list[tuple[Period, float | Doubles]]:
        """Return each part of [start, stop) that counts, with its weight: one, or one per time where it changes often.

        Cut at the borders of blocks, or of groups of short ones, and a part whose weight changes once where it changes;
        a group whose weight changes more often is cut into its blocks.
        """
        terms: list[tuple[Period, float | Doubles]] = []
        groups = self._groups[(self._groups >= start) & (self._groups <= stop)]
        first, last = (groups[0], groups[-1]) if groups.size else (stop, stop)
        ends = self._bounds[(self._bounds > start) & (self._bounds < stop)]
        borders = [*ends[(ends <= first) | (ends >= last)].tolist(), *groups.tolist(), start, stop]
        changes = (np.flatnonzero(np.diff(weights)) + start + 1).tolist()
        for a, b in itertools.pairwise(sorted(set(borders))):
            is_whole = _count(changes, a, b) < _MOST_RUNS
            inner = [a, b] if is_whole else [a, *ends[(ends > a) & (ends < b)].tolist(), b]
            for i, j in itertools.pairwise(inner):
                within = _count(changes, i, j)
                cuts = [i, *changes[bisect_right(changes, i) :][:within], j] if within < _MOST_RUNS else [i, j]
                for u, v in itertools.pairwise(cuts):
                    weight = weights[u - start : v - start]
                    if within < _MOST_RUNS and weight[0]:
                        terms.append(((u, v), float(weight[0])))
                    elif within >= _MOST_RUNS and weight.any():
                        terms.append(((u, v), weight))
        return terms

    def _of_rows(self, period: Period, per_time: Doubles | None = None) -> Doubles:
        offsets = self._offsets[period[0] : period[1] + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        weights = None if per_time is None else np.repeat(per_time, np.diff(offsets))
        return _sums_in_order(part_of(self._features, rows), self._label[rows], weights)

    def _ensure(self, periods: Sequence[Period]) -> None:
        while self._kept and any(period not in self._sums for period in periods):
            self._sums.update(self._kept.pop()())
        missing = [period for period in periods if period not in self._sums]
        if not missing:
            return
        self._observer.start(_STAGE, len(missing))
        for period, sums in zip(missing, in_order(self._of_rows, missing), strict=True):
            self._sums[period] = sums
            self._observer.advance(_STAGE)
        self._observer.finish(_STAGE)


def _count(changes: list[int], start: int, stop: int) -> int:
    """Return how many of some sorted positions lie within a period, its ends not counted."""
    return bisect_left(changes, stop) - bisect_right(changes, start)


def _sums_in_order(features: Rows, label: Floats, weights: Doubles | None) -> Doubles:
    """Return (p + 2, p + 2) float64 ZᵀWZ of (m, p) rows by one thread, to be called inside `one_blas_thread`."""
    p = features.shape[1]
    total, part = np.zeros((p + 2, p + 2)), np.empty((p + 2, p + 2))
    buffer = np.empty((min(CHUNK, label.size), p + 2))
    for start in range(0, label.size, CHUNK):
        rows = slice(start, start + CHUNK)
        if start % SPAN == 0:
            span = features[start : start + SPAN]
        known, read = ~np.isnan(label[rows]), span[start % SPAN : start % SPAN + CHUNK]
        chunk = buffer[: np.count_nonzero(known)]  # (m, p + 2)
        chunk[:, :p] = read if known.all() else read[known]
        chunk[:, p] = label[rows][known]
        chunk[:, p + 1] = 1.0
        if weights is not None:
            chunk *= np.sqrt(weights[rows][known])[:, None]
        with np.errstate(invalid="ignore", over="ignore"):  # whoever solves says which feature is not finite
            np.matmul(chunk.T, chunk, out=part)
        total += part
    return total


def in_order(task: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the results of independent tasks in the order of their items, computed by a few threads."""
    if len(items) < 2:  # no thread is worth it
        with one_blas_thread():
            yield from map(task, items)
        return
    with one_blas_thread(), ThreadPoolExecutor(kernel_threads()) as pool:
        yield from pool.map(task, items)


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved least-squares problem, and how well posed it was.

    Attributes:
        theta, intercept: (p,) float64 coefficients, and 0 when no intercept was fitted.
        rank: Directions above `RANK_CUTOFF`; below p the features are linearly dependent.
        condition: Largest over smallest eigenvalue of the system that was solved, scaled to a unit diagonal: ridge term
            included, dropped directions not.
    """

    theta: Doubles
    intercept: float
    rank: int
    condition: float


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Weighted sufficient statistics of a least-squares problem; p features, all float64.

    Attributes:
        gram, moment, feature_sum: (p, p) XᵀWX, (p,) XᵀWy and (p,) XᵀW1.
        label_sum, label_square, weight_sum: 1ᵀWy, yᵀWy and 1ᵀW1.
        count: Rows with a label.
    """

    gram: Doubles
    moment: Doubles
    feature_sum: Doubles
    label_sum: float
    label_square: float
    weight_sum: float
    count: int

    @classmethod
    def from_rows(cls, features: Rows, label: Floats, weights: Doubles | None) -> NormalEquations:
        """Return the statistics of (m, p) rows, shared among threads; rows without a label (NaN) do not count."""

        def task(rows: slice) -> Doubles:
            return _sums_in_order(part_of(features, rows), label[rows], None if weights is None else weights[rows])

        total = np.zeros((features.shape[1] + 2, features.shape[1] + 2))
        for part in in_order(task, [slice(at, at + SPAN) for at in range(0, label.size, SPAN)]):
            total += part
        return cls.from_sums(total, int(np.count_nonzero(~np.isnan(label))))

    @classmethod
    def from_sums(cls, sums: Doubles, count: int) -> NormalEquations:
        """Return the statistics held in ZᵀWZ of Z = [X, y, 1], (p + 2, p + 2)."""
        p = sums.shape[0] - 2
        columns = (sums[:p, :p].copy(), sums[:p, p].copy(), sums[:p, p + 1].copy())
        return cls(*columns, float(sums[p, p + 1]), float(sums[p, p]), float(sums[p + 1, p + 1]), count)

    def plus(self, other: NormalEquations, *, keep: float = 1.0) -> NormalEquations:
        """Return the statistics of these rows, their weights times `keep`, and the other's."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.name != "count"}
        sums = {name: keep * own + others for name, (own, others) in pairs.items()}
        return NormalEquations(**sums, count=self.count + other.count)

    def centred(self) -> tuple[Doubles, Doubles]:
        """Return gram (p, p) and moment (p,) of features and label with their weighted means taken off.

        A feature that varies no more than rounding does is constant: its rows and columns are 0.
        """
        gram = self.gram - np.outer(self.feature_sum, self.feature_sum) / self.weight_sum
        moment = self.moment - self.feature_sum * (self.label_sum / self.weight_sum)
        constant = np.diag(gram) <= RANK_CUTOFF * np.diag(self.gram)
        gram[constant], gram[:, constant], moment[constant] = 0.0, 0.0, 0.0
        return gram, moment

    def intercept(self, theta: Doubles) -> float:
        """Return the intercept that belongs to coefficients of the centred problem."""
        return float((self.label_sum - self.feature_sum @ theta) / self.weight_sum)

    def ridge(self, alpha: float = 0.0, *, fit_intercept: bool = False) -> Solution:
        """Return argmin over θ, b of Σ w (y − xᵀθ − b)² + α|θ|², by eigenvalues.

        With α > 0 the system is regular, and only directions that float64 cannot resolve beside the largest are left
        out. With α = 0 (ordinary least squares) directions below `RANK_CUTOFF` are left out and the solution of
        smallest norm is taken; `Solution.rank` says how many remain, so that a singular system never goes unnoticed.

        Raises:
            DataError: When the rows hold missing or infinite features, or no weight at all.
        """
        gram, moment = self._system(fit_intercept)
        if alpha > 0:
            solved, rank = _Spectrum(gram + alpha * np.eye(moment.size)), _rank(gram)
            keep = solved.values > moment.size * np.finfo(np.float64).eps * solved.values[-1]
        else:
            solved = _Spectrum(gram)
            keep, rank = solved.determined, solved.rank
        theta = solved.solve(moment, keep)
        condition = float(solved.values[-1] / solved.values[keep].min()) if keep.any() else 1.0
        return Solution(theta, self.intercept(theta) if fit_intercept else 0.0, rank, condition)

    def square_root(self, *, fit_intercept: bool = False) -> SquareRoot:
        """Return A (p, p), b (p,) with |b − Aθ|² equal to Σ w (y − xᵀθ − b₀)² at its best b₀, up to a constant.

        Whatever minimises over n rows can minimise over these p instead: with the Gram matrix G = DVΛVᵀD, D scaling it
        to a unit diagonal, A = Λ^½VᵀD and b = Λ^−½VᵀD⁻¹m. Directions below `RANK_CUTOFF`, which the rows leave open,
        get the eigenvalue of the cut-off and the target 0, so that of equal fits the one smallest there is chosen.

        Raises:
            DataError: When the rows hold missing or infinite features, or no weight at all.
        """
        gram, moment = self._system(fit_intercept)
        spectrum = _Spectrum(gram)
        largest = float(spectrum.values[-1]) or 1.0
        roots = np.sqrt(np.maximum(spectrum.values, RANK_CUTOFF * largest))
        with one_blas_thread():
            target = (spectrum.vectors.T @ (moment / spectrum.scale)) / roots
        target[~spectrum.determined] = 0.0
        matrix = roots[:, None] * spectrum.vectors.T * spectrum.scale
        return SquareRoot(matrix, target, spectrum.rank, float((roots[-1] / roots[0]) ** 2))

    def _system(self, fit_intercept: bool) -> tuple[Doubles, Doubles]:
        bad = np.flatnonzero(~np.isfinite(np.diag(self.gram)) | ~np.isfinite(self.moment))
        if bad.size:
            raise DataError(
                f"{bad.size} feature(s) hold missing or infinite values, which least squares cannot use.",
                got=f"feature positions {', '.join(map(str, bad[:8]))}{' …' if bad.size > 8 else ''}",
                hint="preprocess with ProcessInf and Fillna",
            )
        if not self.weight_sum > 0:
            raise DataError("No row with a label has a positive weight.", got=f"{self.count} rows with a label")
        return self.centred() if fit_intercept else (self.gram, self.moment)


@dataclass(frozen=True, eq=False)
class SquareRoot:
    """A least-squares problem of p rows that stands for one of n rows.

    Attributes:
        matrix, target: (p, p) and (p,) float64.
        rank, condition: As of a `Solution`.
    """

    matrix: Doubles
    target: Doubles
    rank: int
    condition: float


def _scaled(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """Return D⁻¹MD⁻¹ (p, p) with a unit diagonal, and the diagonal (p,) of D; 1 where M's is 0."""
    diagonal = np.diag(matrix)
    scale: Doubles = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return matrix / np.outer(scale, scale), scale


def _rank(matrix: Doubles) -> int:
    """Return the rank of a `_Spectrum` without its vectors, which take twice as long."""
    with one_blas_thread():
        values = np.linalg.eigvalsh(_scaled(matrix)[0])
    return int(np.count_nonzero(values > RANK_CUTOFF * max(float(values[-1]), 0.0)))


class _Spectrum:
    """Eigenvalues (p,), increasing and not negative, and vectors (p, p) of D⁻¹MD⁻¹ with a unit diagonal.

    `scale` (p,) is the diagonal of D; 1 where M's diagonal is 0.
    """

    def __init__(self, matrix: Doubles) -> None:
        scaled, self.scale = _scaled(matrix)
        with one_blas_thread():
            values, self.vectors = np.linalg.eigh(scaled)
        self.values: Doubles = np.maximum(values, 0.0)
        self.determined: Booleans = self.values > RANK_CUTOFF * self.values[-1]
        self.rank = int(np.count_nonzero(self.determined))

    def solve(self, moment: Doubles, keep: Booleans) -> Doubles:
        """Return the smallest θ (p,) that solves Mθ = moment in the directions to keep."""
        with one_blas_thread():
            kept, open_ended = self.vectors[:, keep], self.vectors[:, ~keep] / self.scale[:, None]
            theta: Doubles = kept @ ((kept.T @ (moment / self.scale)) / self.values[keep]) / self.scale
            basis = np.linalg.qr(open_ended)[0]
            return theta - basis @ (basis.T @ theta)
