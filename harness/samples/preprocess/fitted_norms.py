"""Normalisations by statistics of the past: fitted on a learning period, applied elementwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Le

from harness.errors import DataError
from harness.errors.limits import check_limits
from harness.samples.preprocess.processor import Doubles, Floats, Offsets, Processor, State
from harness.samples.preprocess.statistics import column_extremes, column_medians, column_moments

_MAD_TO_DEVIATION = np.float32(1.4826)  # of a normal distribution
_SMALLEST_MAD = np.float32(1e-12)


@dataclass(frozen=True)
class RobustZScoreNorm(Processor):
    """(x − median) / (1.4826 · (MAD + 1e-12)), then clipped; missing stays missing (qlib: RobustZScoreNorm).

    Attributes
    ----------
    clip
        Values beyond ±clip are set to it; null leaves them.
    """

    clip: Annotated[float, Gt(0), Le(1e30)] | None = 3.0
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a bound that is not positive."""
        check_limits(self, "preprocess")

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return `centre`, the median, and `spread`, the MAD, (F,) float64; NaN for a column without any value."""
        centre, spread = column_medians(values)
        _require_finite(centre + spread, names)
        return {"centre": centre, "spread": spread}

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Normalise in float32, step by step as qlib does.

        Another rounding of the scale would move the coefficients of linearly dependent features, which are hardly
        determined, by a hundred times more than everything else.
        """
        scale = (state["spread"].astype(np.float32) + _SMALLEST_MAD) * _MAD_TO_DEVIATION
        _standardise(values, state["centre"], scale)
        if self.clip is not None:
            np.clip(values, np.float32(-self.clip), np.float32(self.clip), out=values)


@dataclass(frozen=True)
class ZScoreNorm(Processor):
    """(x − mean) / standard deviation (of the population); a constant column is left as it is (qlib: ZScoreNorm)."""

    learns: ClassVar[bool] = True

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return `centre` and `scale`, (F,) float64; NaN for a column without any value."""
        least, most = column_extremes(values)
        _require_finite(least, names)
        _require_finite(most, names)
        mean, deviation = column_moments(values)
        constant = least == most
        return {"centre": np.where(constant, 0.0, mean), "scale": np.where(constant, 1.0, deviation)}

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Normalise in float32."""
        _standardise(values, state["centre"], state["scale"])


@dataclass(frozen=True)
class MinMaxNorm(Processor):
    """(x − min) / (max − min); a constant column is left as it is (qlib: MinMaxNorm)."""

    learns: ClassVar[bool] = True

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return `centre` (the minimum) and `scale` (the range), (F,) float64; NaN for a column without any value."""
        least, most = column_extremes(values)
        _require_finite(least, names)
        _require_finite(most, names)
        constant = least == most
        return {"centre": np.where(constant, 0.0, least), "scale": np.where(constant, 1.0, most - least)}

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Normalise in float32."""
        _standardise(values, state["centre"], state["scale"])


def _standardise(values: Floats, centre: Doubles, scale: Doubles | Floats) -> None:
    values -= centre.astype(np.float32)
    with np.errstate(over="ignore"):  # far beyond the range of a column that hardly varies: infinite, or clipped
        values /= scale.astype(np.float32)


def _require_finite(statistic: Doubles, names: tuple[str, ...]) -> None:
    infinite = [name for name, value in zip(names, statistic, strict=True) if np.isinf(value)]
    if infinite:
        raise DataError(
            f"{len(infinite)} column(s) hold infinite values, which leave nothing to normalise by.",
            where="preprocess",
            got=", ".join(infinite[:8]) + (" …" if len(infinite) > 8 else ""),
            hint="put ProcessInf before this processor",
        )
