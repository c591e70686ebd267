"""Forecasts of several quantiles: one model for each level, and the median as the forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Lt

from harness.errors import ConfigError
from harness.errors.limits import check_limits, traits_of
from harness.samples.interfaces import FittedModel, Floats, LearnSet, Model, ModelTraits


class QuantileModel(Model, Protocol):
    """A model with a field `level`: the quantile that it forecasts."""

    @property
    def level(self) -> float: ...


@dataclass(frozen=True)
class Quantiles:
    """One `model` for each level, fitted on the same rows; crossing quantiles are put in order.

    Sorting never raises the pinball loss (Chernozhukov, Fernández-Val and Galichon, Econometrica 2010).

    Attributes:
        levels: Rising, in (0, 1), with 0.5: the median is the forecast that every other metric judges.
        model: What is fitted for each level, which replaces its own.

    Raises:
        ConfigError: When the levels do not rise, or lack the median.
    """

    levels: tuple[Annotated[float, Gt(0), Lt(1)], ...]
    model: QuantileModel
    supports_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_limits(self, "model")
        if 0.5 not in self.levels or (np.diff(self.levels) <= 0).any():
            what, expected = "Levels must rise, and hold the median.", "such as [0.1, 0.5, 0.9]"
            raise ConfigError(what, where="model.levels", got=list(self.levels), expected=expected)
        loss = vars(self.model).get("loss", "quantile")
        if loss != "quantile":
            raise ConfigError("This loss has no level.", where="model.model.loss", got=loss, expected="quantile")

    @property
    def quantile_levels(self) -> tuple[float, ...]:
        return self.levels

    @property
    def needs_valid(self) -> bool:
        return self.model.needs_valid

    @property
    def include_valid(self) -> bool | None:
        return traits_of(self.model, ModelTraits).include_valid

    @property
    def threads(self) -> int | None:
        return traits_of(self.model, ModelTraits).threads

    @property
    def per_instrument(self) -> bool:
        return traits_of(self.model, ModelTraits).per_instrument

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedQuantiles:
        each = (replace(self.model, level=level) for level in self.levels)  # type: ignore[type-var]
        return FittedQuantiles(self.levels, tuple(model.fit(train, valid) for model in each))

    def load(self, folder: Path) -> FittedQuantiles:
        return FittedQuantiles(self.levels, tuple(self.model.load(folder / f"{level}") for level in self.levels))


@dataclass(frozen=True, eq=False)
class FittedQuantiles:
    """A fitted model for each level."""

    levels: tuple[float, ...]
    models: tuple[FittedModel, ...]

    def predict(self, features: Floats) -> npt.NDArray[np.floating]:
        return self.predict_quantiles(features)[:, self.levels.index(0.5)]

    def predict_quantiles(self, features: Floats) -> npt.NDArray[np.floating]:
        each = [np.asarray(model.predict(features), dtype=np.float64) for model in self.models]
        return np.sort(np.stack(each, axis=1), axis=1)

    def save(self, folder: Path) -> None:
        for level, model in zip(self.levels, self.models, strict=True):
            (folder / f"{level}").mkdir()
            model.save(folder / f"{level}")
