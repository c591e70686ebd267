"""What a processor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]
State = Mapping[str, Doubles]


class Processor(ABC):
    """One step that turns columns into columns; m rows of consecutive times, F columns.

    Each row may depend on the rows of its own time and on the fitted state only, so that a step fitted on the past can
    be applied anywhere. The label is processed as one column.

    Attributes
    ----------
    learns
        `fit` looks at the data. If not, nothing is read to fit it.
    for_features, for_label
        Where it may stand.
    keeps_unit
        Values stay in their unit, so that a forecast of a processed label can be subtracted from the raw one.
    """

    learns: ClassVar[bool] = False
    for_features: ClassVar[bool] = True
    for_label: ClassVar[bool] = True
    keeps_unit: ClassVar[bool] = False

    def fit(self, values: Floats, names: tuple[str, ...]) -> State:
        """Return what is learned from (m, F) values, as small arrays by name; only called when it `learns`."""
        return {}

    def columns(self, names: tuple[str, ...]) -> Offsets | None:
        """Return the positions of the columns to keep, in order, or None for all."""
        return None

    @abstractmethod
    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Change (m, F) values in place; rows ``offsets[t] … offsets[t + 1]`` share a time."""
