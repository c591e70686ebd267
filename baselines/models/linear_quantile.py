"""Linear quantile regression by Newton's method on a smoothed check loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Lt

from baselines.models.intake import Rows, refuse_undefined
from baselines.models.linear import FittedLinear
from harness.errors.limits import NonNegative, check_limits
from harness.execution.threads import one_blas_thread
from harness.samples.gram import Solution
from harness.samples.interfaces import Doubles, LearnSet
from harness.store import codec
from harness.store.records import LATER

_NARROWER = 3.0  # each round smooths so many times less
_NARROWEST = 1e-3  # bandwidth, as a share of the mean absolute residual
_INSIDE = 4  # rows per coefficient within the bandwidth, below which it is not narrowed further
_STEPS, _HALVINGS = 50, 30
_CONVERGED = 1e-9  # fall of the loss that a step promises, as a share of the mean absolute residual
_JITTER = 1e-10


@dataclass(frozen=True)
class LinearQuantile:
    """y's quantile of a level τ ≈ xᵀθ + b: Σ w ρ_τ(y − xᵀθ − b) + α|θ|², with ρ_τ(r) = max(τr, (τ − 1)r).

    Koenker and Bassett, Econometrica 1978. The kink of ρ is rounded within a bandwidth h (a uniform kernel: Fernandes,
    Guerre and Horta, Journal of Business & Economic Statistics 2021; He et al., Journal of Econometrics 2023) and
    Newton's method solves a sequence of ever smaller h, down to a thousandth of the mean absolute residual or until few
    rows are left inside. The rounded loss exceeds ρ by at most h/4, at rows within h alone, so that the mean loss is
    above its minimum by at most h/4 times the share of these rows: far below what samples can tell.

    Attributes:
        level: τ, in (0, 1); 0.5 is the median.
        alpha: Strength of the penalty; b has none.
        fit_intercept: Fit b.
        include_valid: Take the validation segment into training, as nothing here is stopped early.
        per_instrument: Fit one model for each instrument, on its own rows.
    """

    level: Annotated[float, Gt(0), Lt(1)] = 0.5
    alpha: NonNegative = 0.05
    fit_intercept: bool = True
    include_valid: bool = True
    per_instrument: bool = field(default=False, metadata=LATER)
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_limits(self, "model")

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        rows, equations = Rows.of(train, "train"), train.normal_equations()
        hint = "preprocess=series, or add ProcessInf and Fillna to your own processors"
        names = train.feature_names
        refuse_undefined(np.diag(equations.gram), names, "linear model", where="preprocess", hint=hint)
        start = equations.ridge(max(self.alpha, _JITTER), fit_intercept=self.fit_intercept)
        columns = [rows.features.astype(np.float64), *([np.ones((rows.label.size, 1))] if self.fit_intercept else [])]
        weights = np.ones(rows.label.size) if rows.weights is None else rows.weights
        counted, total = weights > 0, float(weights.sum())
        penalty = np.zeros(sum(part.shape[1] for part in columns))
        penalty[: len(names)] = self.alpha / total
        with one_blas_thread():
            parts = (np.hstack(columns)[counted], rows.label[counted].astype(np.float64), weights[counted] / total)
            problem = _Problem(*parts, self.level, penalty)
            theta = problem.solved(np.append(start.theta, [start.intercept] * self.fit_intercept))
        intercept = float(theta[len(names)]) if self.fit_intercept else 0.0
        return FittedLinear(names, Solution(theta[: len(names)], intercept, start.rank, start.condition))

    def load(self, folder: Path) -> FittedLinear:
        return codec.load(folder, FittedLinear, mapped=False)


@dataclass(frozen=True, eq=False)
class _Problem:
    """(n, p) rows, (n,) labels and weights of sum 1, the level, and (p,) penalties of the squared coefficients."""

    rows: Doubles
    label: Doubles
    weights: Doubles
    level: float
    penalty: Doubles

    def solved(self, theta: Doubles) -> Doubles:
        """Return the (p,) coefficients, found from a start."""
        residual = self.label - self.rows @ theta
        scale = bandwidth = float(self.weights @ np.abs(residual - np.median(residual)))
        if scale <= _JITTER * float(self.weights @ np.abs(self.label)):
            return theta  # the start fits all rows
        while True:
            theta, residual = self._newton(theta, residual, bandwidth, scale)
            inside = int((np.abs(residual) < bandwidth).sum())
            if bandwidth <= _NARROWEST * scale or inside < _INSIDE * theta.size:
                return theta
            bandwidth /= _NARROWER

    def _newton(self, theta: Doubles, residual: Doubles, bandwidth: float, scale: float) -> tuple[Doubles, Doubles]:
        now = self._loss(theta, residual, bandwidth)
        for _ in range(_STEPS):
            inside = np.abs(residual) < bandwidth
            slope = np.where(inside, residual / (2 * bandwidth) + self.level - 0.5, self.level - (residual < 0))
            gradient = 2 * self.penalty * theta - (self.weights * slope) @ self.rows
            near = self.rows[inside]
            curvature = near.T @ (near * (self.weights[inside] / (2 * bandwidth))[:, None])
            curvature[np.diag_indices_from(curvature)] += 2 * self.penalty + _JITTER * (1 + np.trace(curvature))
            step = np.linalg.solve(curvature, -gradient)
            promised, moved = float(gradient @ step), self.rows @ step
            length = 1.0
            for _ in range(_HALVINGS):
                then = self._loss(theta + length * step, residual - length * moved, bandwidth)
                if then <= now + 1e-4 * length * promised:
                    break
                length /= 2
            else:
                return theta, residual  # rounding is all that is left
            theta, residual, now = theta + length * step, residual - length * moved, then
            if -promised <= _CONVERGED * scale:
                break
        return theta, residual

    def _loss(self, theta: Doubles, residual: Doubles, bandwidth: float) -> float:
        """Return the mean smoothed check loss and the penalty."""
        distance = np.abs(residual)
        rounded = np.where(distance < bandwidth, distance**2 / (4 * bandwidth) + bandwidth / 4, distance / 2)
        return float(self.weights @ (rounded + (self.level - 0.5) * residual) + self.penalty @ theta**2)
