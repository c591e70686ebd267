"""Gradient boosted trees of XGBoost; needs the extra ``driftbench[xgboost]``."""

from __future__ import annotations

import json
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
from harness.errors import ConfigError, DataError, closest
from harness.errors.limits import Count, Positive, Seed, Share, Threads, check_limits
from harness.samples.interfaces import Floats, LearnSet
from harness.store.artifacts import canonical_json

_MODEL, _RECORD = "model.ubj", "model.json"

_OBJECTIVES: Mapping[str, str] = {
    "mse": "reg:squarederror",
    "mae": "reg:absoluteerror",
    "huber": "reg:pseudohubererror",
}
_ALIASES: Mapping[str, str] = {
    "eta": "learning_rate",
    "min_split_loss": "gamma",
    "reg_lambda": "lambda",
    "reg_alpha": "alpha",
    "n_jobs": "nthread",
    "random_state": "seed",
    "n_estimators": "num_boost_round",
    "num_round": "num_boost_round",
}
_OWNED: Mapping[str, str] = {
    "objective": "set model.loss",
    "eval_metric": "early stopping follows model.loss",
    "learning_rate": "set model.learning_rate",
    "max_depth": "set model.max_depth",
    "max_bin": "set model.max_bin",
    "colsample_bytree": "set model.colsample_bytree",
    "subsample": "set model.subsample",
    "num_boost_round": "set model.num_boost_round",
    "early_stopping_rounds": "set model.early_stopping_rounds",
    "seed": "set model.seed",
    "nthread": "set model.threads",
    "tree_method": "always hist",
    "device": "always the CPU",
    "verbosity": "always silent",
}


@dataclass(frozen=True, kw_only=True)
class XGBoost:
    """Gradient boosted trees (Chen and Guestrin, KDD 2016) on histograms, with the parameters of qlib's ``XGBModel``.

    Two fits on the same rows with the same seed and threads give the same bits. As in qlib, weights count in the
    validation loss too; they also shape the histograms' bins. Features may be missing, but not infinite.

    Attributes:
        loss: What is minimised, and what early stopping watches (the root of it for ``mse``).
        learning_rate: Shrinkage of each tree, > 0.
        max_depth: Largest depth of a tree; 0 is unlimited.
        max_bin: Most bins per feature.
        colsample_bytree: Share of the features that each tree may use, in (0, 1].
        subsample: Share of the rows that each tree sees, in (0, 1].
        num_boost_round: Most trees to grow.
        early_stopping_rounds: Stop when the validation loss has not fallen for that many trees, and keep the trees up
            to its minimum. None grows all trees and needs no validation segment.
        seed: For the choice of features and rows.
        threads: A fixed number, so that results do not depend on the machine.
        include_valid: Train on the validation segment too; only without early stopping.
        extra: Further XGBoost parameters by XGBoost's names, such as ``lambda``.

    Raises:
        ConfigError: For an impossible value, or a key of `extra` that repeats another.
    """

    supports_weights: ClassVar[bool] = True

    loss: Literal["mse", "mae", "huber"]
    learning_rate: Positive
    max_depth: Annotated[int, Ge(0), Le(1000)]
    max_bin: Annotated[int, Ge(2), Le(65_536)]
    colsample_bytree: Share
    subsample: Share
    num_boost_round: Count
    early_stopping_rounds: Count | None
    seed: Seed
    threads: Threads
    include_valid: bool = False
    extra: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_limits(self, "model")
        check_stopping(self.include_valid, self.early_stopping_rounds)
        check_extra(self.extra, _OWNED, _ALIASES)

    @property
    def needs_valid(self) -> bool:
        """Whether it stops early."""
        return self.early_stopping_rounds is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """What XGBoost is given."""
        return {
            "objective": _OBJECTIVES[self.loss],
            "tree_method": "hist",
            "device": "cpu",
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "max_bin": self.max_bin,
            "colsample_bytree": self.colsample_bytree,
            "subsample": self.subsample,
            "seed": self.seed,
            "nthread": self.threads,
            **self.extra,
        }

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedXGBoost:
        """Grow trees on `train`, stop on `valid`.

        Raises:
            ConfigError: When it stops early and there is no `valid`, `extra` has an unknown key, or the library is not
                installed.
            DataError: When a period has no usable row, or an infinite feature.
        """
        xgb = import_extra("xgboost", "xgboost")
        train_rows, valid_rows = learning_rows(self, train, valid)
        with xgb.config_context(verbosity=0):
            data = self._matrix(train_rows, train.feature_names)
            self._check_known(data)
            booster = xgb.train(
                self.parameters,
                data,
                num_boost_round=self.num_boost_round,
                evals=[] if valid_rows is None else [(self._matrix(valid_rows, train.feature_names, data), "valid")],
                early_stopping_rounds=self.early_stopping_rounds,
                verbose_eval=False,
            )
        kept = booster[: booster.best_iteration + 1] if self.needs_valid else booster
        return FittedXGBoost(bytes(kept.save_raw("ubj")), train.feature_names, self.threads)

    def load(self, folder: Path) -> FittedXGBoost:
        """Read what `FittedXGBoost.save` wrote; its predictions are the same bits."""
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return FittedXGBoost((folder / _MODEL).read_bytes(), tuple(record["feature_names"]), self.threads)

    def _matrix(self, rows: Rows, feature_names: tuple[str, ...], reference: Any = None) -> Any:
        xgb = import_extra("xgboost", "xgboost")
        try:
            return xgb.QuantileDMatrix(
                rows.features,
                rows.label,
                weight=rows.weights,
                ref=reference,
                nthread=self.threads,
                max_bin=self.max_bin,
            )
        except xgb.core.XGBoostError as error:
            infinite = np.isinf(rows.features).any(axis=0)
            if not infinite.any():
                raise
            raise DataError(
                "XGBoost cannot use infinite features.",
                got=", ".join(np.array(feature_names)[infinite]),
                hint="clip them, or make them missing, in preprocess",
            ) from error

    def _check_known(self, data: Any) -> None:
        """XGBoost ignores a parameter that it does not know; its own record of a configured booster tells."""
        xgb = import_extra("xgboost", "xgboost")
        known = _keys(json.loads(xgb.Booster(self.parameters, [data]).save_config()))
        for key in self.extra:
            if key not in known:
                raise ConfigError(
                    f"XGBoost has no parameter `{key}`, or not with these others.",
                    where=f"model.extra.{key}",
                    got=self.extra[key],
                    hint=closest(key, sorted(known)),
                )


class FittedXGBoost:
    """Trees up to the best round; the value is XGBoost's own binary JSON, from which they are read back exactly.

    Args:
        content: The model as Universal Binary JSON.
        feature_names: The F features, in column order.
        threads: For prediction.
    """

    def __init__(self, content: bytes, feature_names: tuple[str, ...], threads: int) -> None:
        xgb = import_extra("xgboost", "xgboost")
        self.content = content
        self.feature_names = feature_names
        self._booster = xgb.Booster({"nthread": threads}, model_file=bytearray(content))

    @property
    def rounds(self) -> int:
        """Number of trees."""
        return int(self._booster.num_boosted_rounds())

    def predict(self, features: Floats) -> npt.NDArray[np.float32]:
        """Return (m,) float32 predictions for (m, F) float32 features; each row's depends on that row alone."""
        check_width(features, self.feature_names)
        if len(features) == 0:
            return np.empty(0, dtype=np.float32)
        return np.asarray(self._booster.inplace_predict(features), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the trees, and the feature names beside them."""
        (folder / _MODEL).write_bytes(self.content)
        record = {"schema_version": 1, "feature_names": list(self.feature_names), "rounds": self.rounds}
        (folder / _RECORD).write_text(canonical_json(record, indent=1), encoding="utf-8", newline="\n")


def _keys(node: object) -> set[str]:
    if isinstance(node, dict):
        return set(node) | {key for value in node.values() for key in _keys(value)}
    if isinstance(node, list):
        return {key for value in node for key in _keys(value)}
    return set()
