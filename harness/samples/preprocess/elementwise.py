"""Steps that learn nothing and look at one value at a time, and the choice of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from harness.errors import ConfigError, closest
from harness.errors.limits import check_limits
from harness.samples.preprocess.processor import Floats, Offsets, Processor, State


@dataclass(frozen=True)
class Fillna(Processor):
    """Replace missing features by a number (qlib: Fillna). A missing label is never made up.

    Attributes
    ----------
    fill_value
        The number.
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

    Attributes
    ----------
    names
        The features to leave out.
    """

    names: tuple[str, ...]
    for_label: ClassVar[bool] = False

    def columns(self, names: tuple[str, ...]) -> Offsets:
        """Return the positions of the other features.

        Raises
        ------
        ConfigError
            When a name is unknown, or nothing would remain.
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

    Attributes
    ----------
    names
        The features to keep.
    """

    names: tuple[str, ...]
    for_label: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        if not self.names:
            raise ConfigError("No feature would remain.", where="names", got="[]", expected="at least one feature")

    def columns(self, names: tuple[str, ...]) -> Offsets:
        """Return the positions of these features.

        Raises
        ------
        ConfigError
            When a name is unknown.
        """
        return np.unique(_positions(self.names, names))

    def transform(self, values: Floats, offsets: Offsets, state: State) -> None:
        """Change no value."""


def _positions(wanted: tuple[str, ...], names: tuple[str, ...]) -> Offsets:
    for name in wanted:
        if name not in names:
            raise ConfigError(f"There is no feature `{name}`.", where="preprocess", got=name, hint=closest(name, names))
    return np.array([names.index(name) for name in wanted], dtype=np.int64)
