"""A model of its own for every instrument: each learns from the rows of one instrument, and predicts those alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors.limits import traits_of
from harness.samples.interfaces import FittedModel, Floats, LearnSet, Model, ModelTraits

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FittedEach:
    """Instrument column → its fitted model; (m,) `codes` are those of the rows that are predicted next."""

    models: Mapping[int, FittedModel]
    levels: tuple[float, ...] = ()
    codes: Codes | None = None

    def of(self, codes: Codes) -> FittedEach:
        """Return the models, to predict rows of these instrument columns."""
        return replace(self, codes=codes)

    def predict(self, features: Floats) -> npt.NDArray[np.floating]:
        """Return (m,) predictions; NaN for an instrument that had nothing to learn from."""
        return self._each(features, "predict", ())

    def predict_quantiles(self, features: Floats) -> npt.NDArray[np.floating]:
        """Return (m, Q) quantiles, of models that forecast them."""
        return self._each(features, "predict_quantiles", (len(self.levels),))

    def _each(self, features: Floats, method: str, shape: tuple[int, ...]) -> npt.NDArray[np.floating]:
        assert self.codes is not None
        found = np.full((len(features), *shape), np.nan)
        for code, model in self.models.items():
            own = self.codes == code
            if own.any():
                found[own] = getattr(model, method)(np.ascontiguousarray(features[own]))
        return found

    def save(self, folder: Path) -> None:
        for code, model in self.models.items():
            (folder / str(code)).mkdir()
            model.save(folder / str(code))


@dataclass(frozen=True)
class PerInstrument:
    """Fits `model` for every instrument that has rows in all learning periods, in the order of the columns."""

    model: Model

    @property
    def needs_valid(self) -> bool:
        return self.model.needs_valid

    @property
    def supports_weights(self) -> bool:
        return self.model.supports_weights

    @property
    def include_valid(self) -> bool | None:
        return traits_of(self.model, ModelTraits).include_valid

    @property
    def threads(self) -> int | None:
        return traits_of(self.model, ModelTraits).threads

    @property
    def quantile_levels(self) -> tuple[float, ...]:
        return traits_of(self.model, ModelTraits).quantile_levels

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedEach:
        fitted = {}
        for code in np.unique(train.view.codes(train.segment.start, train.segment.stop)).tolist():
            own, stop_on = train.of_instrument(code), None if valid is None else valid.of_instrument(code)
            if own.label.size and (stop_on is None or stop_on.label.size):
                fitted[code] = self.model.fit(own, stop_on)
        return FittedEach(fitted, self.quantile_levels)

    def load(self, folder: Path) -> FittedEach:
        return FittedEach(
            {int(own.name): self.model.load(own) for own in sorted(folder.iterdir())}, self.quantile_levels
        )
