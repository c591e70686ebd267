"""What each operator means, as slow pandas and NumPy: the semantics of qlib's operators, one series at a time.

Series hold one instrument from its first time on, float64; a rolling window needs one value (``min_periods=1``),
window 0 expands. Values that are not finite are missing in windows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

Apply = Callable[[np.ndarray], float]


def over(x: pd.Series, window: int) -> Any:
    x = x.where(np.isfinite(x))
    return x.rolling(window, min_periods=1) if window else x.expanding(min_periods=1)


def apply(function: Apply) -> Callable[[pd.Series, int], pd.Series]:
    return lambda x, window: over(x, window).apply(function, raw=True)


def _mad(x: np.ndarray) -> float:
    known = x[~np.isnan(x)]
    return float(np.abs(known - known.mean()).mean())


def _wma(x: np.ndarray) -> float:
    weights = np.arange(1, len(x) + 1)
    return float(np.nanmean(weights / weights.sum() * x))


def _line(x: np.ndarray) -> tuple[float, float, float]:
    """Return slope, R² and last residual of the least-squares line through the known values."""
    at = np.flatnonzero(~np.isnan(x)).astype(float)
    y = x[~np.isnan(x)]
    if len(y) < 2:
        return np.nan, np.nan, np.nan
    slope = np.sum((at - at.mean()) * (y - y.mean())) / np.sum((at - at.mean()) ** 2)
    fitted = y.mean() + slope * (at - at.mean())
    spread = np.sum((y - y.mean()) ** 2)
    r2 = np.sum((fitted - y.mean()) ** 2) / spread if spread > 0 else np.nan
    return slope, r2, x[-1] - (y.mean() + slope * (len(x) - 1 - at.mean()))


def _no_spread(x: pd.Series, window: int) -> pd.Series:
    """Return where qlib calls R² and correlations undefined: only in windows, not in expanding ones."""
    return over(x, window).std() <= 2e-5 if window else pd.Series(False, index=x.index)


def _skew(x: np.ndarray) -> float:
    """Return the bias-corrected skewness; 0 for equal values, as in pandas 2 (pandas 3 says NaN)."""
    known = x[~np.isnan(x)]
    n, gaps = len(known), known - known.mean()
    if n < 3 or np.ptp(known) == 0:
        return np.nan if n < 3 else 0.0
    return float(np.sqrt(n * (n - 1)) / (n - 2) * np.mean(gaps**3) / np.mean(gaps**2) ** 1.5)


def _kurt(x: np.ndarray) -> float:
    """Return the bias-corrected excess kurtosis; −3 for equal values, as in pandas 2 (pandas 3 says NaN)."""
    known = x[~np.isnan(x)]
    n, gaps = len(known), known - known.mean()
    if n < 4 or np.ptp(known) == 0:
        return np.nan if n < 4 else -3.0
    ratio = (n * n - 1) * np.mean(gaps**4) / np.mean(gaps**2) ** 2
    return float((ratio - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3)))


def _joint(x: pd.Series, y: pd.Series) -> tuple[pd.Series, pd.Series]:
    both = np.isfinite(x) & np.isfinite(y)
    return x.where(both), y.where(both)


def _ema(x: pd.Series, span: float) -> pd.Series:
    x = x.where(np.isfinite(x))
    if span == 0:
        return apply(_ema_expanding)(x, 0)
    return (x.ewm(alpha=span, min_periods=1) if span < 1 else x.ewm(span=span, min_periods=1)).mean()


def _ema_expanding(x: np.ndarray) -> float:
    weights = (1 - 2 / (1 + len(x))) ** np.arange(len(x))[::-1]
    return float(np.nansum(weights / weights.sum() * x))


def _shift(x: pd.Series, by: int) -> pd.Series:
    return x.shift(by) if by else pd.Series(x.iloc[0], index=x.index)


def _correlation(x: pd.Series, y: pd.Series, window: int) -> pd.Series:
    a, b = _joint(x, y)
    result = over(a, window).corr(b)
    return result.mask(_no_spread(x, window) | _no_spread(y, window))


ROLLING: dict[str, Callable[..., pd.Series]] = {
    "Ref": _shift,
    "Delta": lambda x, by: x - _shift(x, by),
    "Mean": lambda x, w: over(x, w).mean(),
    "Sum": lambda x, w: over(x, w).sum(),
    "Std": lambda x, w: over(x, w).std(),
    "Var": lambda x, w: over(x, w).var(),
    "Skew": apply(_skew),
    "Kurt": apply(_kurt),
    "Max": lambda x, w: over(x, w).max(),
    "Min": lambda x, w: over(x, w).min(),
    "Med": lambda x, w: over(x, w).median(),
    "Rank": lambda x, w: over(x, w).rank(pct=True),
    "Count": lambda x, w: over(x, w).count(),
    # argmax takes the first missing value for the largest
    "IdxMax": apply(lambda x: float(x.argmax() + 1)),
    "IdxMin": apply(lambda x: float(x.argmin() + 1)),
    "Mad": apply(_mad),
    "WMA": apply(_wma),
    "EMA": _ema,
    "Slope": apply(lambda x: _line(x)[0]),
    "Rsquare": lambda x, w: apply(lambda v: _line(v)[1])(x, w).mask(_no_spread(x, w)),
    "Resi": apply(lambda x: _line(x)[2]),
}

PAIRS: dict[str, Callable[[pd.Series, pd.Series, int], pd.Series]] = {
    "Corr": _correlation,
    "Cov": lambda x, y, w: over(_joint(x, y)[0], w).cov(_joint(x, y)[1]),
}


def quantile(x: pd.Series, window: int, level: float) -> pd.Series:
    return over(x, window).quantile(level)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs({0})": np.abs,
    "Sign({0})": np.sign,
    "Log({0})": np.log,
    "Power({0}, 2)": lambda x, y: np.power(x, 2),
    "{0}**0.5": lambda x, y: np.power(x, 0.5),
    "Greater({0}, {1})": np.maximum,
    "Less({0}, {1})": np.minimum,
    "{0}+{1}": np.add,
    "{0}-{1}": np.subtract,
    "{0}*{1}": np.multiply,
    "{0}/{1}": np.divide,
    "-{0}": lambda x, y: -x,
    "{0}>{1}": np.greater,
    "{0}>={1}": np.greater_equal,
    "{0}<{1}": np.less,
    "{0}<={1}": np.less_equal,
    "{0}=={1}": np.equal,
    "{0}!={1}": np.not_equal,
    "Gt({0}, {1})": np.greater,
    "Ge({0}, {1})": np.greater_equal,
    "Lt({0}, {1})": np.less,
    "Le({0}, {1})": np.less_equal,
    "Eq({0}, {1})": np.equal,
    "Ne({0}, {1})": np.not_equal,
    "And({0}>{1}, {1}>2)": lambda x, y: (x > y) & (y > 2),
    "({0}>{1}) & ({1}>2)": lambda x, y: (x > y) & (y > 2),
    "Or({0}>{1}, {1}>2)": lambda x, y: (x > y) | (y > 2),
    "({0}>{1}) | ({1}>2)": lambda x, y: (x > y) | (y > 2),
    "Not({0}>{1})": lambda x, y: ~(x > y),
    "If({0}>{1}, {0}, {1})": lambda x, y: np.where(x > y, x, y),
    "If({0}>{1}, 1, 0)": lambda x, y: np.where(x > y, 1.0, 0.0),
    "If({1}, {0}, 0.5)": lambda x, y: np.where(y, x, np.float32(0.5)),
    # arithmetic of two conditions is NumPy's: + is or, * is and
    "({0}>{1}) + ({1}>2)": lambda x, y: (x > y) | (y > 2),
    "({0}>{1}) * ({1}>2)": lambda x, y: (x > y) & (y > 2),
    "({0}>{1}) * 1.5": lambda x, y: (x > y) * 1.5,
}
