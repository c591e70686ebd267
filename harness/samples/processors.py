"""The processors: what may stand in a chain for features or label. Statistics are float64, missing values left out."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from harness.errors import ConfigError, DataError, closest
from harness.errors.limits import check_limits
from harness.samples import column_statistics
from harness.samples.column_statistics import column_extremes, column_moments, median, rank_norm
from harness.samples.medians import column_medians
from harness.samples.preprocess import Codes, Processor, State
from harness.samples.table import Booleans, Doubles, Floats, Positions

_RANK_SCALE = 3.46  # brings a uniform distribution on (−½, ½) to about unit deviation: √12
_MAD_TO_DEVIATION = np.float32(1.4826)  # of a normal distribution
_ROUNDING = 1e-9
_SMALLEST_MAD = np.float32(1e-12)


@dataclass(frozen=True)
class CSRankNorm(Processor):
    """(r − 0.5) · 3.46, with r the rank across instruments as a share of their number (qlib: CSRankNorm).

    Equal values share the mean of their ranks; missing values are not ranked and stay missing.
    """

    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        rank_norm(values, offsets, _RANK_SCALE)


class _AtEachTime(Processor):
    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            for start, stop in itertools.pairwise(offsets.tolist()):
                if stop > start:
                    self._transform_rows(values[start:stop])

    @abstractmethod
    def _transform_rows(self, values: Floats) -> None: ...


@dataclass(frozen=True)
class CSZScoreNorm(_AtEachTime):
    """Normalise across instruments (qlib: CSZScoreNorm).

    Attributes:
        method: ``zscore``: (x − mean) / standard deviation (of a sample). ``robust``: (x − median) / MAD / 1.4826,
            clipped at ±3. Where that divisor is 0 the result is missing.
    """

    method: Literal["zscore", "robust"] = "zscore"

    def _transform_rows(self, values: Floats) -> None:
        if self.method == "robust":
            for column in values.T:
                column -= np.float32(median(column))
                spread = np.float32(median(np.abs(column)) * 1.4826)
                column[:] = np.clip(column / spread, np.float32(-3.0), np.float32(3.0)) if spread > 0 else np.nan
            return
        present = _sums(~np.isnan(values))
        centred = values - _sums(values) / present  # (m, F) float64
        deviation = np.sqrt(_sums(centred**2) / (present - 1))
        deviation[:, np.fmin.reduce(values, axis=0) == np.fmax.reduce(values, axis=0)] = np.nan
        values[:] = centred / deviation


@dataclass(frozen=True)
class CSZFillna(_AtEachTime):
    """Replace missing features by the mean across instruments; missing where nobody has a value (qlib: CSZFillna)."""

    for_label = False

    def _transform_rows(self, values: Floats) -> None:
        _replace_by_mean(values, np.isnan(values))


@dataclass(frozen=True)
class ProcessInf(_AtEachTime):
    """Replace infinite values by the mean of the finite ones across instruments (qlib: ProcessInf)."""

    keeps_unit: ClassVar[bool] = True

    def _transform_rows(self, values: Floats) -> None:
        _replace_by_mean(values, np.isinf(values))


def _replace_by_mean(values: Floats, where: Booleans) -> None:
    if where.any():
        finite = np.isfinite(values)
        mean = _sums(np.where(finite, values, np.float32(np.nan))) / _sums(finite)
        np.copyto(values, mean.astype(np.float32), where=where)


def _sums(values: npt.NDArray[Any]) -> Doubles:
    """Return (1, F) float64 sums over the rows of one time, missing values left out."""
    return np.add.reduceat(np.where(np.isnan(values), 0.0, values).astype(np.float64, copy=False), [0], axis=0)


@dataclass(frozen=True)
class Fillna(Processor):
    """Replace missing features by a number (qlib: Fillna). A missing label is never made up.

    Attributes:
        fill_value: The number.
    """

    fill_value: Annotated[float, Ge(-1e30), Le(1e30)] = 0.0
    for_label: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_limits(self, "preprocess")

    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        np.copyto(values, np.float32(self.fill_value), where=np.isnan(values))


@dataclass(frozen=True)
class TanhProcess(Processor):
    """tanh(x − 1), for features that are ratios around 1 (qlib: TanhProcess)."""

    for_label: ClassVar[bool] = False

    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
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

    def transform(self, values: Floats, offsets: Positions, state: State) -> None: ...


@dataclass(frozen=True)
class _Choice(Processor):
    names: tuple[str, ...]
    for_label: ClassVar[bool] = False
    _keeps: ClassVar[bool]

    def columns(self, names: tuple[str, ...]) -> Positions:
        for name in self.names:
            if name not in names:
                hint = closest(name, names)
                raise ConfigError(f"There is no feature `{name}`.", where="preprocess", got=name, hint=hint)
        kept = np.flatnonzero([(name in self.names) is self._keeps for name in names])
        if not kept.size:
            where = f"{type(self).__name__}.names"
            raise ConfigError("No feature would remain.", where=where, got=", ".join(self.names))
        return kept

    def transform(self, values: Floats, offsets: Positions, state: State) -> None: ...


@dataclass(frozen=True)
class DropCol(_Choice):
    """Leave out some features (qlib: DropCol).

    Attributes:
        names: The features to leave out; an unknown name is an error, and so is to leave out all.
    """

    _keeps = False


@dataclass(frozen=True)
class FilterCol(_Choice):
    """Keep only some features, in the table's order (qlib: FilterCol).

    Attributes:
        names: The features to keep; an unknown name is an error.
    """

    _keeps = True

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("No feature would remain.", where="names", got="[]", expected="at least one feature")


class _Scaling(Processor):
    learns: ClassVar[bool] = True
    by_slices: ClassVar[bool] = True

    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        values -= state["centre"].astype(np.float32)
        with np.errstate(over="ignore"):  # far beyond the range of a column that hardly varies: infinite, or clipped
            values /= state["scale"].astype(np.float32)


@dataclass(frozen=True)
class RobustZScoreNorm(_Scaling):
    """(x − median) / (1.4826 · (MAD + 1e-12)), then clipped; missing stays missing (qlib: RobustZScoreNorm).

    Attributes:
        clip: Values beyond ±clip are set to it; null leaves them.
    """

    clip: Annotated[float, Gt(0), Le(1e30)] | None = 3.0

    def __post_init__(self) -> None:
        check_limits(self, "preprocess")

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return `centre`, the median, and `scale`, (F,) float64; NaN for a column without any value.

        The scale is rounded to float32 step by step, as in qlib. Another rounding would move the coefficients of
        linearly dependent features, which are hardly determined, by a hundred times more than everything else.
        """
        centre, spread = column_medians(values)
        _require_finite(centre + spread, names)
        scale = (spread.astype(np.float32) + _SMALLEST_MAD) * _MAD_TO_DEVIATION
        return {"centre": centre, "scale": scale.astype(np.float64)}

    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        super().transform(values, offsets, state)
        if self.clip is not None:
            np.clip(values, np.float32(-self.clip), np.float32(self.clip), out=values)


@dataclass(frozen=True)
class SeriesScale(Processor):
    """(x − mean) / standard deviation of each series by itself, both of its own past; a constant one is only centred.

    For sets of series of different size: what is learned in one has the scale of the others. Forecasts of a label that
    was scaled so are brought back to its unit. An instrument without a value in the learning period takes mean and
    deviation of all together.
    """

    learns: ClassVar[bool] = True
    by_series: ClassVar[bool] = True

    def fit_series(self, values: Floats, codes: Codes) -> State:
        centre, scale = column_statistics.series_moments(values, codes)
        return {"centre": centre, "scale": np.where(scale > _ROUNDING * np.abs(centre), scale, 1.0)}

    def transform(self, values: Floats, offsets: Positions, state: State) -> None:
        at = _own(state)
        values -= state["centre"].astype(np.float32)[at]
        values /= state["scale"].astype(np.float32)[at]

    def restore(self, values: Floats, state: State) -> Floats:
        at = _own(state)
        restored: Floats = (values * state["scale"][at, 0] + state["centre"][at, 0]).astype(np.float32)
        return restored


def _own(state: State) -> npt.NDArray[np.intp]:
    """Return (m,) the row of the state for each instrument column; the last for one that was not there."""
    return np.minimum(state["codes"], len(state["centre"]) - 1).astype(np.intp)


class _ByExtremes(_Scaling):
    @abstractmethod
    def _scale(self, values: Floats, least: Doubles, most: Doubles) -> tuple[Doubles, Doubles]: ...

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return `centre` and `scale`, (F,) float64; NaN for a column without any value, 0 and 1 for a constant one."""
        least, most = column_extremes(values)
        _require_finite(np.abs(least) + np.abs(most), names)
        centre, scale = self._scale(values, least, most)
        constant = least == most
        return {"centre": np.where(constant, 0.0, centre), "scale": np.where(constant, 1.0, scale)}


@dataclass(frozen=True)
class ZScoreNorm(_ByExtremes):
    """(x − mean) / standard deviation (of the population); a constant column is left as it is (qlib: ZScoreNorm)."""

    def _scale(self, values: Floats, least: Doubles, most: Doubles) -> tuple[Doubles, Doubles]:
        return column_moments(values)


@dataclass(frozen=True)
class MinMaxNorm(_ByExtremes):
    """(x − min) / (max − min); a constant column is left as it is (qlib: MinMaxNorm)."""

    def _scale(self, values: Floats, least: Doubles, most: Doubles) -> tuple[Doubles, Doubles]:
        return least, most - least


def _require_finite(statistic: Doubles, names: tuple[str, ...]) -> None:
    infinite = [name for name, value in zip(names, statistic, strict=True) if np.isinf(value)]
    if infinite:
        what = f"{len(infinite)} column(s) hold infinite values, which leave nothing to normalise by."
        got = ", ".join(infinite[:8]) + (" …" if len(infinite) > 8 else "")
        raise DataError(what, where="preprocess", got=got, hint="put ProcessInf before this processor")
