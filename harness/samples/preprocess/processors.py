"""Steps across the instruments of one time; they learn nothing. Statistics are float64, missing values are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from harness.errors import ConfigError, DataError, closest
from harness.errors.limits import check_limits
from harness.samples.preprocess.pipeline import Doubles, Floats, Offsets, Processor, State
from harness.samples.preprocess.statistics import column_extremes, column_medians, column_moments, median
from harness.store.compiled import compiled

_RANK_SCALE = 3.46  # brings a uniform distribution on (−½, ½) to about unit deviation: √12


@dataclass(frozen=True)
class CSRankNorm(Processor):
    """(r − 0.5) · 3.46, with r the rank across instruments as a share of their number (qlib: CSRankNorm).

    Equal values share the mean of their ranks; missing values are not ranked and stay missing.
    """

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Rank in place."""
        _rank_norm(values, offsets, _RANK_SCALE)


@dataclass(frozen=True)
class CSZScoreNorm(Processor):
    """Normalise across instruments (qlib: CSZScoreNorm).

    Attributes:
        method: ``zscore``: (x − mean) / standard deviation (of a sample). ``robust``: (x − median) / MAD / 1.4826,
            clipped at ±3. Where that divisor is 0 the result is missing.
    """

    method: Literal["zscore", "robust"] = "zscore"

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Normalise in place."""
        times = _Times(offsets)
        if self.method == "zscore":
            present = times.sums(~np.isnan(values))
            with np.errstate(invalid="ignore", divide="ignore"):
                centred = values - times.spread(times.sums(values) / present)  # (m, F) float64
                deviation = np.sqrt(times.sums(centred**2) / (present - 1))
                deviation[times.constant(values)] = np.nan
                values[:] = centred / times.spread(deviation)
            return
        for rows in times.slices():
            for column in values[rows].T:
                _robust_zscore(column)


@dataclass(frozen=True)
class CSZFillna(Processor):
    """Replace missing features by the mean across instruments; missing where nobody has a value (qlib: CSZFillna)."""

    for_label = False

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Fill in place."""
        _replace_by_mean(values, offsets, np.isnan(values))


@dataclass(frozen=True)
class ProcessInf(Processor):
    """Replace infinite values by the mean of the finite ones across instruments (qlib: ProcessInf)."""

    keeps_unit: ClassVar[bool] = True

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Replace in place."""
        _replace_by_mean(values, offsets, np.isinf(values))


class _Times:
    """Sums over the rows of each time that has rows, and back."""

    def __init__(self, offsets: Offsets) -> None:
        counts = np.diff(offsets)
        self._starts = offsets[:-1][counts > 0]
        self._counts = counts[counts > 0]

    def sums(self, values: np.ndarray[Any, Any]) -> Doubles:
        """Return (times, F) float64 sums, missing values left out."""
        present = np.where(np.isnan(values), 0.0, values) if values.dtype != bool else values
        total: Doubles = np.add.reduceat(present.astype(np.float64, copy=False), self._starts, axis=0)
        return total

    def constant(self, values: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (times, F) bool: all values that are not missing are equal."""
        least = np.fmin.reduceat(values, self._starts, axis=0)
        same: np.ndarray[Any, np.dtype[np.bool_]] = least == np.fmax.reduceat(values, self._starts, axis=0)
        return same

    def spread(self, per_time: Doubles) -> Doubles:
        """Return (m, F): the value of its time for every row."""
        return np.repeat(per_time, self._counts, axis=0)

    def slices(self) -> list[slice]:
        return [slice(int(a), int(a + n)) for a, n in zip(self._starts, self._counts, strict=True)]


def _replace_by_mean(values: Floats, offsets: Offsets, where: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    if not where.any():
        return
    times = _Times(offsets)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = times.sums(np.where(finite, values, np.float32(np.nan))) / times.sums(finite)
    np.copyto(values, times.spread(mean).astype(np.float32), where=where)


def _robust_zscore(column: Floats) -> None:
    column -= np.float32(median(column))
    spread = np.float32(median(np.abs(column)) * 1.4826)
    if spread > 0:
        column /= spread
        np.clip(column, np.float32(-3.0), np.float32(3.0), out=column)
    else:
        column[:] = np.nan


@compiled()
def _rank_norm(values: Floats, offsets: Offsets, scale: float) -> None:
    for t in range(offsets.size - 1):
        start, stop = offsets[t], offsets[t + 1]
        for j in range(values.shape[1]):
            rows = start + np.flatnonzero(~np.isnan(values[start:stop, j]))
            column = np.empty(rows.size, dtype=np.float32)
            for i in range(rows.size):
                column[i] = values[rows[i], j]
            order = np.argsort(column)
            first = 0
            while first < rows.size:
                last = first
                while last + 1 < rows.size and column[order[last + 1]] == column[order[first]]:
                    last += 1
                share = (first + last + 2) / 2.0 / rows.size  # the mean of ranks first + 1 … last + 1
                for i in range(first, last + 1):
                    values[rows[order[i]], j] = (share - 0.5) * scale
                first = last + 1


@dataclass(frozen=True)
class Fillna(Processor):
    """Replace missing features by a number (qlib: Fillna). A missing label is never made up.

    Attributes:
        fill_value: The number.
    """

    fill_value: Annotated[float, Ge(-1e30), Le(1e30)] = 0.0
    for_label: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what float32 cannot hold."""
        check_limits(self, "preprocess")

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Fill in place."""
        np.copyto(values, np.float32(self.fill_value), where=np.isnan(values))


@dataclass(frozen=True)
class TanhProcess(Processor):
    """tanh(x − 1), for features that are ratios around 1 (qlib: TanhProcess)."""

    for_label: ClassVar[bool] = False

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Squash in place."""
        values -= np.float32(1.0)
        np.tanh(values, out=values)


@dataclass(frozen=True)
class DropnaLabel(Processor):
    """Say that rows without a label are not learned from (qlib: DropnaLabel).

    It changes nothing: here a learning period never holds such rows, whatever is configured, and a prediction is made
    for every row. It exists so that a chain of processors can be written as in qlib.
    """

    for_features: ClassVar[bool] = False
    keeps_unit: ClassVar[bool] = True

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Change nothing."""


@dataclass(frozen=True)
class DropCol(Processor):
    """Leave out some features (qlib: DropCol).

    Attributes:
        names: The features to leave out.
    """

    names: tuple[str, ...]
    for_label: ClassVar[bool] = False

    def columns(self, names: tuple[str, ...]) -> Offsets:
        """Return the positions of the other features.

        Raises:
            ConfigError: When a name is unknown, or nothing would remain.
        """
        dropped = set(_positions(self.names, names).tolist())
        kept = [at for at in range(len(names)) if at not in dropped]
        if not kept:
            raise ConfigError("No feature would remain.", where="DropCol.names", got=", ".join(self.names))
        return np.array(kept, dtype=np.int64)

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Change no value."""


@dataclass(frozen=True)
class FilterCol(Processor):
    """Keep only some features, in the table's order (qlib: FilterCol).

    Attributes:
        names: The features to keep.
    """

    names: tuple[str, ...]
    for_label: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        if not self.names:
            raise ConfigError("No feature would remain.", where="names", got="[]", expected="at least one feature")

    def columns(self, names: tuple[str, ...]) -> Offsets:
        """Return the positions of these features.

        Raises:
            ConfigError: When a name is unknown.
        """
        return np.unique(_positions(self.names, names))

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Change no value."""


def _positions(wanted: tuple[str, ...], names: tuple[str, ...]) -> Offsets:
    for name in wanted:
        if name not in names:
            raise ConfigError(f"There is no feature `{name}`.", where="preprocess", got=name, hint=closest(name, names))
    return np.array([names.index(name) for name in wanted], dtype=np.int64)


_MAD_TO_DEVIATION = np.float32(1.4826)  # of a normal distribution
_SMALLEST_MAD = np.float32(1e-12)


@dataclass(frozen=True)
class RobustZScoreNorm(Processor):
    """(x − median) / (1.4826 · (MAD + 1e-12)), then clipped; missing stays missing (qlib: RobustZScoreNorm).

    Attributes:
        clip: Values beyond ±clip are set to it; null leaves them.
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
