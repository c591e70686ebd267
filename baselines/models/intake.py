"""What all models share: the rows they learn from, early stopping, and what they refuse."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from harness.errors import ConfigError, DataError, RefusedError
from harness.errors.extras import missing_extra
from harness.errors.limits import Count, Seed, check_limits
from harness.samples.interfaces import Doubles, Floats, LearnSet
from harness.store.records import LATER

Scalar = bool | int | float | str


@dataclass(frozen=True, eq=False)
class Rows:
    """The m rows of one learning period that have a label; F features.

    Attributes:
        features: (m, F) float32, the table's own memory: a read-only slice; `LazyRows` where that was asked for and the
            table does not hold them.
        label: (m,) float32, finite; a read-only slice too.
        weights: (m,) float64, not all 0, or None when all rows count alike.

    Raises:
        DataError: When there is no row, a label is infinite, or no row counts.
    """

    features: Any
    label: Floats
    weights: Doubles | None

    @classmethod
    def of(cls, learn: LearnSet, name: str, *, by_slices: bool = False) -> Rows:
        """Read a learning period, its features only `by_slices` if so; `name` says which one in an error."""
        rows = cls(learn.rows if by_slices else learn.features, learn.label, learn.weights)
        counts = rows.weights is None or bool(rows.weights.any())
        refuse_unlearnable(name, rows.label.size, counts=counts, finite=bool(np.isfinite(rows.label).all()))
        return rows


@dataclass(frozen=True, kw_only=True)
class StopsEarly:
    """A model that uses weights and may stop early.

    Attributes:
        include_valid: Train on the validation segment too; only without early stopping.
        per_instrument: Fit one model for each instrument, on its own rows.

    Raises:
        ConfigError: For an impossible value, or a segment that shall both stop the training and be trained on.
    """

    supports_weights: ClassVar[bool] = True
    by_slices: ClassVar[bool] = False  # features need not fit into memory

    early_stopping_rounds: Count | None
    seed: Seed | None
    include_valid: bool = False
    per_instrument: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        check_limits(self, "model")
        if self.include_valid and self.needs_valid:
            text = "A segment that stops the training early cannot be trained on."
            expected = "false, or model.early_stopping_rounds=null"
            raise ConfigError(text, where="model.include_valid", got=True, expected=expected)

    @property
    def needs_valid(self) -> bool:
        return self.early_stopping_rounds is not None

    def learning_rows(self, train: LearnSet, valid: LearnSet | None) -> tuple[Rows, Rows | None]:
        """Return the rows to fit on and, when it stops early, the rows to stop on."""
        if not self.needs_valid:
            return Rows.of(train, "train", by_slices=self.by_slices), None
        if valid is None:
            text = f"{type(self).__name__} stops early and needs a validation segment."
            expected = "a validation segment, or model.early_stopping_rounds=null"
            raise RefusedError(text, where="windows.valid", got=None, expected=expected)
        read = partial(Rows.of, by_slices=self.by_slices)
        return read(train, "train"), read(valid, "valid")


def refuse_unlearnable(name: str, rows: int, *, counts: bool, finite: bool) -> None:
    """Refuse, by a `DataError`, a learning segment without rows, where none counts, or with infinite labels."""
    where = f"the {name} segment"
    if rows == 0:
        raise DataError("A learning period has no row with a label.", where=where)
    if not counts:
        raise DataError("All time weights are 0, so no row counts.", where=where)
    if not finite:
        hint = "a price of 0 makes an infinite return"
        raise DataError("A label is infinite.", where=where, expected="finite labels", hint=hint)


def check_width(features: Floats, feature_names: tuple[str, ...]) -> None:
    """Refuse (m, F') features by a `DataError` when the model was fitted on F others."""
    if features.ndim != 2 or features.shape[1] != len(feature_names):
        text, got = "A model must predict from the features it was fitted on.", f"features of shape {features.shape}"
        expected = f"{len(feature_names)} columns: {', '.join(feature_names[:5])} …"
        raise DataError(text, got=got, expected=expected)


def check_same_features(before: tuple[str, ...], now: tuple[str, ...]) -> None:
    """Refuse by a `DataError` to continue a model on other features than it has learned."""
    if before != now:
        text, got = "A model can be continued on the same features only.", f"{len(now)} columns, or in another order"
        raise DataError(text, where="fit_from", got=got, expected=f"the {len(before)} columns it was begun with")


def refuse_undefined(sums: Doubles, feature_names: tuple[str, ...], model: str, *, where: str, hint: str) -> None:
    """Refuse, by a `DataError` with their names, features whose (F,) sums over the rows are not finite."""
    bad = [feature_names[at] for at in np.flatnonzero(~np.isfinite(sums))]
    if bad:
        text = f"{len(bad)} feature(s) hold missing or infinite values, which a {model} cannot use."
        raise DataError(text, where=where, got=", ".join(bad[:8]) + (" …" if len(bad) > 8 else ""), hint=hint)


def import_extra(library: str) -> ModuleType:
    """Return an optional library, which the extra of the same name brings; a `ConfigError` without it."""
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != library:
            raise
        raise missing_extra("This model", library, "model._target_") from error
