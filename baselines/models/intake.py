"""What models check before they fit and before they predict, so that each of them refuses the same mistakes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError, RefusedError
from harness.samples.interfaces import LearnSet, Model

Floats = npt.NDArray[np.float32]
Scalar = bool | int | float | str


@dataclass(frozen=True, eq=False)
class Rows:
    """The m rows of one learning period that have a label; F features.

    Attributes:
        features: (m, F) float32, the table's own memory: a read-only slice.
        label: (m,) float32, finite; a read-only slice too.
        weights: (m,) float64, not all 0, or None when all rows count alike.

    Raises:
        DataError: When there is no row, a label is infinite, or no row counts.
    """

    features: Floats
    label: Floats
    weights: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, learn: LearnSet, name: str) -> Rows:
        """Read a learning period; `name` says which one in an error."""
        rows = cls(learn.features, learn.label, learn.weights)
        if rows.label.size == 0:
            raise DataError("A learning period has no row with a label.", where=f"the {name} segment")
        if not np.isfinite(rows.label).all():
            bad = int(np.count_nonzero(~np.isfinite(rows.label)))
            raise DataError(
                f"{bad} label(s) are infinite or not a number.",
                where=f"the {name} segment",
                expected="finite labels",
                hint="a price of 0 makes an infinite return",
            )
        if rows.weights is not None and not rows.weights.any():
            raise DataError("All time weights are 0, so no row counts.", where=f"the {name} segment")
        return rows


def learning_rows(model: Model, train: LearnSet, valid: LearnSet | None) -> tuple[Rows, Rows | None]:
    """Return the rows to fit on and, for a model that stops early, the rows to stop on.

    Raises:
        ConfigError: When the model stops early and there is no validation segment.
    """
    if not model.needs_valid:
        return Rows.of(train, "train"), None
    if valid is None:
        raise RefusedError(
            f"{type(model).__name__} stops early and needs a validation segment.",
            where="windows.valid",
            got=None,
            expected="a validation segment, or model.early_stopping_rounds=null",
        )
    return Rows.of(train, "train"), Rows.of(valid, "valid")


def check_width(features: Floats, feature_names: tuple[str, ...]) -> None:
    """Refuse (m, F') features when the model was fitted on F others.

    Raises:
        DataError: When F' ≠ F.
    """
    if features.ndim != 2 or features.shape[1] != len(feature_names):
        raise DataError(
            "A model must predict from the features it was fitted on.",
            got=f"features of shape {features.shape}",
            expected=f"{len(feature_names)} columns: {', '.join(feature_names[:5])} …",
        )


def check_stopping(include_valid: bool, early_stopping_rounds: int | None) -> None:
    """Refuse to train on the segment that stops the training.

    Raises:
        ConfigError: When both are asked for.
    """
    if include_valid and early_stopping_rounds is not None:
        raise ConfigError(
            "A segment that stops the training early cannot be trained on.",
            where="model.include_valid",
            got=True,
            expected="false, or model.early_stopping_rounds=null",
        )


def check_extra(extra: Mapping[str, Scalar], owned: Mapping[str, str], aliases: Mapping[str, str]) -> None:
    """Refuse keys of `extra` that would overwrite, or repeat, what a model sets itself.

    Args:
        extra: Further parameters of a library, by its own names.
        owned: Library's name → the model's field (or a reason) for everything the model sets.
        aliases: Other spelling → the library's name.

    Raises:
        ConfigError: When a key is owned, or two keys name the same parameter.
    """
    seen: dict[str, str] = {}
    for key in extra:
        name = aliases.get(key, key)
        if name in owned:
            raise ConfigError(
                f"`extra.{key}` would be a second place for the same parameter.",
                where=f"model.extra.{key}",
                got=extra[key],
                expected=f"nothing here: {owned[name]}",
            )
        if name in seen:
            raise ConfigError(
                "Two keys of `extra` name the same parameter.", where="model.extra", got=f"{seen[name]} and {key}"
            )
        seen[name] = key


def import_extra(library: str, extra: str) -> ModuleType:
    """Return an optional library.

    Raises:
        ConfigError: When it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != library.split(".")[0]:
            raise
        raise ConfigError(
            f"This model needs the library `{library}`, which is not installed.",
            where="model._target_",
            hint=f"pip install driftbench[{extra}]",
        ) from error
