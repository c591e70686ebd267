"""What gradient boosted trees share, whichever library grows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from baselines.models.intake import Rows, Scalar, StopsEarly, check_width
from harness.errors import ConfigError
from harness.errors.limits import Count, Positive, Threads
from harness.samples.interfaces import Floats, LearnSet
from harness.store import codec


@dataclass(frozen=True)
class Library:
    """How a library names its parameters.

    Attributes:
        objective, losses: Its name of `loss`; `loss` → its objective.
        same: Names that it shares with the model's fields.
        arguments: Its name → the model's field, for the others.
        constants: Its name → what it is always given.
        reserved: Its name → why it cannot stand in `extra`, besides `arguments`.
        aliases: Its name → other spellings.
    """

    objective: str
    losses: Mapping[str, str]
    same: tuple[str, ...]
    arguments: Mapping[str, str]
    constants: Mapping[str, Any]
    reserved: Mapping[str, str]
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, str]:
        """Its name → the model's field, all but the objective."""
        return {**{name: name for name in self.same}, **self.arguments}


class FittedTrees(ABC):
    """Trees up to the best round; `content` is the library's own format, from which they are read back exactly."""

    file: ClassVar[str]
    dtype: ClassVar[type[np.floating[Any]]] = np.float64

    def __init__(self, content: bytes, feature_names: tuple[str, ...], threads: int | None) -> None:
        self.content, self.feature_names, self.threads = content, feature_names, threads
        self.booster = self._read()

    @abstractmethod
    def _read(self) -> Any:
        """Return the library's own object from `content`."""

    @abstractmethod
    def _scores(self, features: Floats) -> Any:
        """Return one score per row of (m > 0, F) features."""

    @property
    @abstractmethod
    def rounds(self) -> int: ...

    def predict(self, features: Floats) -> npt.NDArray[np.floating[Any]]:
        check_width(features, self.feature_names)
        return np.asarray(self._scores(features) if len(features) else [], dtype=self.dtype)

    def save(self, folder: Path) -> None:
        (folder / self.file).write_bytes(self.content)
        codec.save(folder, self.feature_names)


@dataclass(frozen=True, kw_only=True)
class Boosting(StopsEarly, ABC):
    """Gradient boosted trees; two fits on the same rows with the same seed and threads give the same bits.

    As in qlib, weights count in the validation loss too. Features may be missing.

    Attributes:
        loss: What is minimised, and what early stopping watches (the root of it for ``mse``); LightGBM alone has
            ``quantile``.
        learning_rate: Shrinkage of each tree, > 0.
        num_boost_round: Most trees to grow.
        early_stopping_rounds: Stop when the validation loss has not fallen for that many trees, and keep the trees up
            to its minimum. None grows all trees and needs no validation segment.
        threads: A fixed number where results depend on it.
        extra: Further parameters by the library's names.

    Raises:
        ConfigError: For an impossible value, or a key of `extra` that repeats another.
    """

    library: ClassVar[Library]
    fitted: ClassVar[type[FittedTrees]]

    loss: Literal["mse", "mae", "huber", "quantile"]
    learning_rate: Positive
    num_boost_round: Count
    threads: Threads | None
    extra: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in self.library.losses:
            what, expected = f"{type(self).__name__} has no such loss here.", " | ".join(self.library.losses)
            raise ConfigError(what, where="model.loss", got=self.loss, expected=expected)
        arguments = {self.library.objective: "loss", **self.library.given}
        owned = {name: f"set model.{own}" for name, own in arguments.items()} | {**self.library.reserved}
        seen: dict[str, str] = {}
        for key, value in self.extra.items():
            name = self._main_name(key)
            if name in owned:
                text, where = f"`extra.{key}` would be a second place for the same parameter.", f"model.extra.{key}"
                raise ConfigError(text, where=where, got=value, expected=f"nothing here: {owned[name]}")
            if name in seen:
                got = f"{seen[name]} and {key}"
                raise ConfigError("Two keys of `extra` name the same parameter.", where="model.extra", got=got)
            seen[name] = key

    def _main_name(self, key: str) -> str:
        """Return the library's main name of a parameter that may be spelled otherwise."""
        return next((name for name, spellings in self.library.aliases.items() if key in spellings), key)

    @property
    def parameters(self) -> dict[str, Any]:
        given = {name: getattr(self, own) for name, own in self.library.given.items()}
        given |= {self.library.objective: self.library.losses[self.loss], **self.library.constants, **self.extra}
        return {name: value for name, value in given.items() if value is not None}

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedTrees:
        rows = self.learning_rows(train, valid)
        return self.fitted(self._grow(*rows, train.feature_names), train.feature_names, self.threads)

    def load(self, folder: Path) -> FittedTrees:
        names = codec.load(folder, tuple[str, ...])
        return self.fitted((folder / self.fitted.file).read_bytes(), names, self.threads)

    @abstractmethod
    def _grow(self, train: Rows, valid: Rows | None, feature_names: tuple[str, ...]) -> bytes:
        """Return the trees up to the best round in the library's own format."""
