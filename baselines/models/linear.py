"""Linear regression through normal equations: ordinary least squares, ridge, non-negative least squares, lasso."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from baselines.models.intake import check_same_features, check_width, refuse_undefined, refuse_unlearnable
from harness.errors import ConfigError, DataError
from harness.errors.limits import NonNegative, Share, check_limits
from harness.execution.threads import one_blas_thread
from harness.samples.gram import NormalEquations, Solution
from harness.samples.interfaces import Doubles, FittedModel, Floats, LearnSet
from harness.store import codec
from harness.store.compiled import compiled
from harness.store.records import LATER

_LASSO_TOLERANCE = 1e-6  # of the duality gap, relative to the explained part of the sum of squares
_LASSO_SWEEPS = 100_000


@dataclass(frozen=True)
class Linear:
    """y ≈ xᵀθ + b, weighted by sample weights w; the estimators of qlib's ``LinearModel``.

    - ``ols``: Σ w (y − xᵀθ − b)², the solution of smallest norm when features are linearly dependent
    - ``ridge``: Σ w (y − xᵀθ − b)² + α|θ|²
    - ``nnls``: as ols, with θ ≥ 0; unlike in qlib, weights are used and the intercept is free
    - ``lasso``: Σ w (y − xᵀθ − b)² / (2 Σ w) + α|θ|₁

    Every estimator sees the rows only through XᵀWX and XᵀWy, in float64, which windows share; none copies a row. Where
    features are linearly dependent the rows leave directions of θ open: ols is 0 in them, nnls and lasso take the
    smallest that their own terms allow, and the fitted model's `rank` and `condition` say so.

    Attributes:
        estimator: Which of them.
        alpha: Strength of the penalty of ridge and lasso; the others have none.
        fit_intercept: Fit b; it is not penalised.
        include_valid: Take the validation segment into training, as nothing here is stopped early.
        keep: Share of its weight that the past keeps when the model is continued, in (0, 1]; 1 forgets nothing.
        per_instrument: Fit one model for each instrument, on its own rows.

    Raises:
        ConfigError: When ridge or lasso have no positive penalty.
    """

    estimator: Literal["ols", "ridge", "nnls", "lasso"] = "ridge"
    alpha: NonNegative = 0.05
    fit_intercept: bool = False
    include_valid: bool = True
    keep: Share = field(default=1.0, metadata=LATER)
    per_instrument: bool = field(default=False, metadata=LATER)
    needs_valid: ClassVar[bool] = False
    supports_weights: ClassVar[bool] = True
    by_sums: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_limits(self, "model")
        if self.estimator in ("ridge", "lasso") and self.alpha == 0:
            expected = "a finite number > 0"
            raise ConfigError("This penalty is none.", where="model.alpha", got=self.alpha, expected=expected)

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        return FittedLinear(train.feature_names, self._solved(train.normal_equations(), train.feature_names))

    def fit_from(self, start: FittedModel | None, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        """Add the sums of `train` to `keep` times those of all rows before: recursive least squares.

        With `keep` = 1 that is the fit on all of them, as long as processors are fitted once.
        """
        equations = train.normal_equations()
        if start is not None:
            if not isinstance(start, FittedLinear) or start.equations is None:
                what, expected = "This model cannot be continued: it has kept no sums.", "one that `fit_from` began"
                raise DataError(what, where="Linear.fit_from", got=type(start).__name__, expected=expected)
            check_same_features(start.feature_names, train.feature_names)
            equations = start.equations.plus(equations, keep=self.keep)
        return FittedLinear(train.feature_names, self._solved(equations, train.feature_names), equations)

    def load(self, folder: Path) -> FittedLinear:
        return codec.load(folder, FittedLinear, mapped=False)

    def _solved(self, equations: NormalEquations, feature_names: tuple[str, ...]) -> Solution:
        finite = bool(np.isfinite(equations.label_square))
        refuse_unlearnable("train", equations.count, counts=equations.weight_sum > 0, finite=finite)
        hint = "preprocess=linear, or add ProcessInf and Fillna to your own processors"
        gram = np.diag(equations.gram)
        refuse_undefined(gram, feature_names, "linear model", where="preprocess", hint=hint)
        if self.estimator in ("ols", "ridge"):
            alpha = self.alpha if self.estimator == "ridge" else 0.0
            return equations.ridge(alpha, fit_intercept=self.fit_intercept)
        root = equations.square_root(fit_intercept=self.fit_intercept)
        with one_blas_thread():
            if self.estimator == "nnls":
                theta = _nnls(root.matrix, root.target)
            else:
                # Mean squared error of the n rows, written as that of the p rows of the root.
                scale = np.sqrt(root.target.size / equations.weight_sum)
                theta = _lasso(root.matrix * scale, root.target * scale, self.alpha)
        intercept = equations.intercept(theta) if self.fit_intercept else 0.0
        return Solution(theta, intercept, root.rank, root.condition)


@dataclass(frozen=True, eq=False)
class FittedLinear:
    """Coefficients in the order of the features, with the rank and condition of the system they solve."""

    feature_names: tuple[str, ...]
    solution: Solution
    equations: NormalEquations | None = None  # only where it will be continued

    def predict(self, features: Floats) -> Floats:
        # Each is summed in float64, feature after feature, so that it depends on its own row alone: neither the number
        # of rows nor of threads changes a bit.
        check_width(features, self.feature_names)
        return _predict(np.ascontiguousarray(features), self.solution.theta, self.solution.intercept)

    def save(self, folder: Path) -> None:
        codec.save(folder, self)


def _nnls(matrix: Doubles, target: Doubles) -> Doubles:
    from scipy.optimize import nnls

    try:
        theta: Doubles = nnls(matrix, target)[0]
    except RuntimeError as error:
        text, hint = "Non-negative least squares did not converge.", "model.estimator=ridge"
        raise DataError(text, where="model.estimator", hint=hint) from error
    return theta


def _lasso(matrix: Doubles, target: Doubles, alpha: float) -> Doubles:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    # Coordinates are visited in order; a state is given only because without one the shared generator is advanced.
    model = Lasso(alpha=alpha, fit_intercept=False, tol=_LASSO_TOLERANCE, max_iter=_LASSO_SWEEPS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(matrix, target)
        except ConvergenceWarning as error:
            text = f"The lasso did not converge in {_LASSO_SWEEPS} sweeps."
            hint = "a larger alpha, or model.estimator=ridge"
            raise DataError(text, where="model.alpha", got=alpha, hint=hint) from error
    return np.asarray(model.coef_, dtype=np.float64)


@compiled()
def _predict(features: Floats, theta: Doubles, intercept: float) -> Floats:
    score = np.empty(features.shape[0], dtype=np.float32)
    for i in range(features.shape[0]):
        total = intercept
        for j in range(theta.size):
            total += features[i, j] * theta[j]
        score[i] = total
    return score
