"""Gradient boosted trees of CatBoost; needs the extra ``driftbench[catboost]``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from baselines.models.intake import (
    Rows,
    Scalar,
    check_extra,
    check_stopping,
    check_width,
    import_extra,
    learning_rows,
)
from harness.errors import ConfigError
from harness.errors.limits import Count, Positive, Seed, Share, Threads, check_limits
from harness.samples.interfaces import Floats, LearnSet
from harness.store.artifacts import canonical_json

_MODEL, _RECORD = "model.cbm", "model.json"
_VOLATILE = ("model_guid", "train_finish_time")

_LOSSES: Mapping[str, str] = {"mse": "RMSE", "mae": "MAE", "huber": "Huber:delta=1.0"}
_ALIASES: Mapping[str, str] = {
    "objective": "loss_function",
    "custom_metric": "eval_metric",
    "eta": "learning_rate",
    "max_depth": "depth",
    "num_leaves": "max_leaves",
    "n_estimators": "iterations",
    "num_boost_round": "iterations",
    "num_trees": "iterations",
    "early_stopping_rounds": "od_wait",
    "random_state": "random_seed",
    "verbose": "logging_level",
    "verbose_eval": "logging_level",
    "silent": "logging_level",
}
_OWNED: Mapping[str, str] = {
    "loss_function": "set model.loss",
    "eval_metric": "early stopping follows model.loss",
    "learning_rate": "set model.learning_rate",
    "depth": "set model.max_depth",
    "max_leaves": "set model.num_leaves",
    "grow_policy": "set model.grow_policy",
    "bootstrap_type": "set model.bootstrap_type",
    "subsample": "set model.subsample",
    "iterations": "set model.num_boost_round",
    "od_wait": "set model.early_stopping_rounds",
    "od_type": "always Iter",
    "use_best_model": "true when it stops early",
    "random_seed": "set model.seed",
    "thread_count": "set model.threads",
    "task_type": "always the CPU",
    "logging_level": "always silent",
    "allow_writing_files": "always false",
    "train_dir": "no file is written",
    "snapshot_file": "no file is written",
    "save_snapshot": "no file is written",
}


@dataclass(frozen=True, kw_only=True)
class CatBoost:
    """Gradient boosted trees (Prokhorenkova et al., NeurIPS 2018), with the parameters of qlib's ``CatBoostModel``.

    Two fits on the same rows with the same seed and threads give the same bits. As in qlib, weights count in the
    validation loss too. Features may be missing. qlib's benchmark draws rows by a Poisson bootstrap, which CatBoost has
    on GPUs only; here it is Bernoulli's with the same share.

    Attributes:
        loss: What is minimised, and what early stopping watches (the root of it for ``mse``).
        learning_rate: Shrinkage of each tree, > 0.
        grow_policy: ``SymmetricTree``, ``Depthwise``, or ``Lossguide``, which alone heeds `num_leaves`.
        max_depth: Largest depth of a tree.
        num_leaves: Most leaves of a tree; None unless the policy is ``Lossguide``.
        bootstrap_type: How rows are drawn for each tree; ``No`` uses all.
        subsample: Their share in (0, 1]; None when all are used.
        num_boost_round: Most trees to grow.
        early_stopping_rounds: Stop when the validation loss has not fallen for that many trees, and keep the trees up
            to its minimum. None grows all trees and needs no validation segment.
        seed: For the choice of rows and the noise of the scores.
        threads: A fixed number, so that results do not depend on the machine.
        include_valid: Train on the validation segment too; only without early stopping.
        extra: Further CatBoost parameters by CatBoost's names, such as ``l2_leaf_reg``.

    Raises:
        ConfigError: For an impossible value, or a key of `extra` that repeats another.
    """

    supports_weights: ClassVar[bool] = True

    loss: Literal["mse", "mae", "huber"]
    learning_rate: Positive
    grow_policy: Literal["SymmetricTree", "Depthwise", "Lossguide"]
    max_depth: Annotated[int, Ge(1), Le(16)]
    num_leaves: Annotated[int, Ge(2), Le(65_536)] | None
    bootstrap_type: Literal["Bernoulli", "MVS", "No"]
    subsample: Share | None
    num_boost_round: Count
    early_stopping_rounds: Count | None
    seed: Seed
    threads: Threads
    include_valid: bool = False
    extra: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_limits(self, "model")
        self._check_pair("num_leaves", self.num_leaves, "grow_policy", self.grow_policy == "Lossguide")
        self._check_pair("subsample", self.subsample, "bootstrap_type", self.bootstrap_type != "No")
        check_stopping(self.include_valid, self.early_stopping_rounds)
        check_extra(self.extra, _OWNED, _ALIASES)

    def _check_pair(self, name: str, value: float | None, other: str, used: bool) -> None:
        if used == (value is None):
            raise ConfigError(
                f"`{name}` does not fit `{other}`.",
                where=f"model.{name}",
                got=value,
                expected=f"{'a number' if used else 'null'} with {other}={getattr(self, other)}",
            )

    @property
    def needs_valid(self) -> bool:
        """Whether it stops early."""
        return self.early_stopping_rounds is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """What CatBoost is given."""
        given: dict[str, Any] = {
            "loss_function": _LOSSES[self.loss],
            "learning_rate": self.learning_rate,
            "grow_policy": self.grow_policy,
            "depth": self.max_depth,
            "max_leaves": self.num_leaves,
            "bootstrap_type": self.bootstrap_type,
            "subsample": self.subsample,
            "iterations": self.num_boost_round,
            "random_seed": self.seed,
            "thread_count": self.threads,
            "task_type": "CPU",
            "logging_level": "Silent",
            "allow_writing_files": False,
            **self.extra,
        }
        if self.needs_valid:
            given |= {"od_type": "Iter", "od_wait": self.early_stopping_rounds, "use_best_model": True}
        return {name: value for name, value in given.items() if value is not None}

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedCatBoost:
        """Grow trees on `train`, stop on `valid`.

        Raises:
            ConfigError: When it stops early and there is no `valid`, CatBoost refuses its parameters, or it is not
                installed.
            DataError: When a period has no usable row.
        """
        library = import_extra("catboost", "catboost")
        train_rows, valid_rows = learning_rows(self, train, valid)
        model = library.CatBoost(self.parameters)
        try:
            model.fit(self._pool(train_rows), eval_set=None if valid_rows is None else self._pool(valid_rows))
        except library.CatBoostError as error:
            raise ConfigError("CatBoost refuses this model or these data.", where="model", got=str(error)) from error
        return FittedCatBoost(_content(model), train.feature_names, self.threads)

    def load(self, folder: Path) -> FittedCatBoost:
        """Read what `FittedCatBoost.save` wrote; its predictions are the same bits."""
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return FittedCatBoost((folder / _MODEL).read_bytes(), tuple(record["feature_names"]), self.threads)

    def _pool(self, rows: Rows) -> Any:
        library = import_extra("catboost", "catboost")
        return library.Pool(rows.features, label=rows.label, weight=rows.weights, thread_count=self.threads)


class FittedCatBoost:
    """Trees up to the best round; the value is CatBoost's own binary format, from which they are read back exactly.

    Args:
        content: The model in CatBoost's binary format.
        feature_names: The F features, in column order.
        threads: For prediction.
    """

    def __init__(self, content: bytes, feature_names: tuple[str, ...], threads: int) -> None:
        self.content = content
        self.feature_names = feature_names
        self._threads = threads
        self._model = import_extra("catboost", "catboost").CatBoost()
        self._model.load_model(blob=content)

    @property
    def rounds(self) -> int:
        """Number of trees."""
        return int(self._model.tree_count_)

    def predict(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return (m,) float64 predictions for (m, F) float32 features; each row's depends on that row alone."""
        check_width(features, self.feature_names)
        if len(features) == 0:
            return np.empty(0, dtype=np.float64)
        return np.asarray(self._model.predict(features, thread_count=self._threads), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the trees, and the feature names beside them."""
        (folder / _MODEL).write_bytes(self.content)
        record = {"schema_version": 1, "feature_names": list(self.feature_names), "rounds": self.rounds}
        (folder / _RECORD).write_text(canonical_json(record, indent=1), encoding="utf-8", newline="\n")


def _content(model: Any) -> bytes:
    """Return a model's bytes without the time and the random name that CatBoost puts in: equal fits are equal bytes."""
    metadata = model.get_metadata()
    for name in _VOLATILE:
        metadata[name] = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _MODEL
        model.save_model(str(path), format="cbm")
        return path.read_bytes()
