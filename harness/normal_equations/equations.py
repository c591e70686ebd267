"""The sufficient statistics of a weighted least-squares problem, and its solutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.blas import one_blas_thread
from harness.errors import DataError
from harness.normal_equations.sums import Doubles, Floats, sums_of_rows

__all__ = ["RANK_CUTOFF", "NormalEquations", "Solution", "SquareRoot"]

RANK_CUTOFF = 1e-11
"""A direction whose Gram eigenvalue is below this share of the largest counts as none.

Features are float32, so an exact linear relation between them leaves an eigenvalue of up to about (1e-6)² of the
largest. In normalised Alpha158 the relations lie below 1e-14 (below 3e-12 in a peer's rounding), real directions above
1e-10.
"""


@dataclass(frozen=True, eq=False)
class Solution:
    """A solved least-squares problem, and how well posed it was.

    Attributes
    ----------
    theta
        (p,) float64 coefficients.
    intercept
        0 when none was fitted.
    rank
        Directions of the Gram matrix above `RANK_CUTOFF` of its largest eigenvalue; below p the features are linearly
        dependent.
    condition
        Largest over smallest eigenvalue of the system that was solved: ridge term included, dropped directions not.
    """

    theta: Doubles
    intercept: float
    rank: int
    condition: float


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Weighted sufficient statistics of a least-squares problem; p features, all float64.

    Attributes
    ----------
    gram
        (p, p) XᵀWX.
    moment
        (p,) XᵀWy.
    feature_sum
        (p,) XᵀW1.
    label_sum, label_square
        1ᵀWy and yᵀWy.
    weight_sum
        1ᵀW1.
    count
        Rows with a label.
    """

    gram: Doubles
    moment: Doubles
    feature_sum: Doubles
    label_sum: float
    label_square: float
    weight_sum: float
    count: int

    @classmethod
    def from_rows(cls, features: Floats, label: Floats, weights: Doubles | None) -> NormalEquations:
        """Return the statistics of (m, p) rows; rows without a label (NaN) do not count."""
        return cls.from_sums(sums_of_rows(features, label, weights), int(np.count_nonzero(~np.isnan(label))))

    @classmethod
    def from_sums(cls, sums: Doubles, count: int) -> NormalEquations:
        """Return the statistics held in ZᵀWZ of Z = [X, y, 1], (p + 2, p + 2)."""
        p = sums.shape[0] - 2
        return cls(
            gram=sums[:p, :p].copy(),
            moment=sums[:p, p].copy(),
            feature_sum=sums[:p, p + 1].copy(),
            label_sum=float(sums[p, p + 1]),
            label_square=float(sums[p, p]),
            weight_sum=float(sums[p + 1, p + 1]),
            count=count,
        )

    def centred(self) -> tuple[Doubles, Doubles]:
        """Return gram (p, p) and moment (p,) of features and label with their weighted means taken off."""
        gram = self.gram - np.outer(self.feature_sum, self.feature_sum) / self.weight_sum
        return gram, self.moment - self.feature_sum * (self.label_sum / self.weight_sum)

    def intercept(self, theta: Doubles) -> float:
        """Return the intercept that belongs to coefficients of the centred problem."""
        return float((self.label_sum - self.feature_sum @ theta) / self.weight_sum)

    def ridge(self, alpha: float = 0.0, *, fit_intercept: bool = False) -> Solution:
        """Return argmin over θ of Σ w (y − xᵀθ − b)² + α|θ|², by the eigenvalues of the Gram matrix.

        With α > 0 the system is regular, and only directions that float64 cannot resolve beside the largest are left
        out. With α = 0 (ordinary least squares) directions below `RANK_CUTOFF` are left out, which gives the solution
        of smallest norm; `Solution.rank` says how many remain, so that a singular system never goes unnoticed.

        Raises
        ------
        DataError
            When the rows hold missing or infinite features, or no weight at all.
        """
        system = _System.of(self, fit_intercept)
        values = system.values + alpha
        keep = values > system.resolution * values[-1] if alpha > 0 else system.values > RANK_CUTOFF * values[-1]
        vectors = system.vectors[:, keep]
        with one_blas_thread():
            theta = vectors @ ((vectors.T @ system.moment) / values[keep])
        intercept = self.intercept(theta) if fit_intercept else 0.0
        condition = float(values[-1] / values[keep].min()) if keep.any() else 1.0
        return Solution(theta, intercept, system.rank, condition)

    def square_root(self, *, fit_intercept: bool = False) -> SquareRoot:
        """Return A (p, p), b (p,) with |b − Aθ|² equal to min over b₀ of Σ w (y − xᵀθ − b₀)² up to a constant.

        A = Λ^½Vᵀ and b = Λ^−½Vᵀm of the eigenvalues Λ and vectors V of the Gram matrix: whatever minimises over n rows
        can minimise over these p instead. Directions below `RANK_CUTOFF`, which the rows leave open, get its eigenvalue
        and the target 0, so that among equal fits the one that is smallest there is the unique solution.

        Raises
        ------
        DataError
            When the rows hold missing or infinite features, or no weight at all.
        """
        system = _System.of(self, fit_intercept)
        largest = float(system.values[-1]) if system.values[-1] > 0 else 1.0
        floor = RANK_CUTOFF * largest
        roots = np.sqrt(np.maximum(system.values, floor))
        with one_blas_thread():
            target = np.where(system.values > floor, (system.vectors.T @ system.moment) / roots, 0.0)
        return SquareRoot(roots[:, None] * system.vectors.T, target, system.rank, float((roots[-1] / roots[0]) ** 2))


@dataclass(frozen=True, eq=False)
class SquareRoot:
    """A least-squares problem of p rows that stands for one of n rows.

    Attributes
    ----------
    matrix, target
        (p, p) and (p,) float64.
    rank, condition
        As of a `Solution`.
    """

    matrix: Doubles
    target: Doubles
    rank: int
    condition: float


@dataclass(frozen=True, eq=False)
class _System:
    """Eigenvalues (p,), increasing and not negative, and vectors (p, p) of a Gram matrix, with its moment (p,)."""

    values: Doubles
    vectors: Doubles
    moment: Doubles

    @classmethod
    def of(cls, equations: NormalEquations, fit_intercept: bool) -> _System:
        _require_solvable(equations)
        gram, moment = equations.centred() if fit_intercept else (equations.gram, equations.moment)
        with one_blas_thread():
            values, vectors = np.linalg.eigh(gram)
        return cls(np.maximum(values, 0.0), vectors, moment)

    @property
    def resolution(self) -> float:
        """The share of the largest eigenvalue below which one is only the rounding error of a float64 Gram matrix."""
        return float(self.values.size * np.finfo(np.float64).eps)

    @property
    def rank(self) -> int:
        return int(np.count_nonzero(self.values > RANK_CUTOFF * self.values[-1]))


def _require_solvable(equations: NormalEquations) -> None:
    bad = np.flatnonzero(~np.isfinite(np.diag(equations.gram)) | ~np.isfinite(equations.moment))
    if bad.size:
        raise DataError(
            f"{bad.size} feature(s) hold missing or infinite values, which least squares cannot use.",
            got=f"feature positions {', '.join(map(str, bad[:8]))}{' …' if bad.size > 8 else ''}",
            hint="preprocess with ProcessInf and Fillna",
        )
    if not equations.weight_sum > 0:
        raise DataError("No row with a label has a positive weight.", got=f"{equations.count} rows with a label")
