"""Gradient boosted trees of XGBoost; needs the extra ``driftbench[xgboost]``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le

from baselines.models.boosting import Boosting, FittedTrees, Library
from baselines.models.intake import Rows, import_extra
from harness.errors import ConfigError, DataError, closest
from harness.errors.limits import Seed, Share, Threads
from harness.samples.interfaces import Floats


class FittedXGBoost(FittedTrees):
    """Trees in Universal Binary JSON."""

    file, dtype = "model.ubj", np.float32

    def _read(self) -> Any:
        return import_extra("xgboost").Booster({"nthread": self.threads}, model_file=bytearray(self.content))

    def _scores(self, features: Floats) -> Any:
        return self.booster.inplace_predict(features)

    @property
    def rounds(self) -> int:
        return int(self.booster.num_boosted_rounds())


@dataclass(frozen=True, kw_only=True)
class XGBoost(Boosting):
    """Gradient boosted trees (Chen and Guestrin, KDD 2016) on histograms, with the parameters of qlib's ``XGBModel``.

    Weights also shape the histograms' bins. Features may be missing, but not infinite.

    Attributes:
        max_depth: Largest depth of a tree; 0 is unlimited.
        max_bin: Most bins per feature.
        colsample_bytree: Share of the features that each tree may use, in (0, 1].
        subsample: Share of the rows that each tree sees, in (0, 1].
        seed: For the choice of features and rows.
        extra: Further XGBoost parameters by XGBoost's names, such as ``lambda``.
    """

    library: ClassVar = Library(
        objective="objective",
        losses={"mse": "reg:squarederror", "mae": "reg:absoluteerror", "huber": "reg:pseudohubererror"},
        same=("learning_rate", "max_depth", "max_bin", "colsample_bytree", "subsample", "seed"),
        arguments={"nthread": "threads"},
        constants={"tree_method": "hist", "device": "cpu"},
        reserved={
            "eval_metric": "early stopping follows model.loss",
            "num_boost_round": "set model.num_boost_round",
            "early_stopping_rounds": "set model.early_stopping_rounds",
            "tree_method": "always hist",
            "device": "always the CPU",
            "verbosity": "always silent",
        },
        aliases={
            "learning_rate": ("eta",),
            "gamma": ("min_split_loss",),
            "lambda": ("reg_lambda",),
            "alpha": ("reg_alpha",),
            "nthread": ("n_jobs",),
            "seed": ("random_state",),
            "num_boost_round": ("n_estimators", "num_round"),
        },
    )
    fitted: ClassVar = FittedXGBoost

    max_depth: Annotated[int, Ge(0), Le(1000)]
    threads: Threads
    max_bin: Annotated[int, Ge(2), Le(65_536)]
    colsample_bytree: Share
    subsample: Share
    seed: Seed

    def _grow(self, train: Rows, valid: Rows | None, feature_names: tuple[str, ...]) -> bytes:
        xgb = import_extra("xgboost")
        with xgb.config_context(verbosity=0):
            data = self._matrix(train, feature_names)
            self._check_known(data)
            booster = xgb.train(
                self.parameters,
                data,
                num_boost_round=self.num_boost_round,
                evals=[] if valid is None else [(self._matrix(valid, feature_names, data), "valid")],
                early_stopping_rounds=self.early_stopping_rounds,
                verbose_eval=False,
            )
        kept = booster[: booster.best_iteration + 1] if self.needs_valid else booster
        return bytes(kept.save_raw("ubj"))

    def _matrix(self, rows: Rows, feature_names: tuple[str, ...], reference: Any = None) -> Any:
        xgb = import_extra("xgboost")
        settings = {"ref": reference, "nthread": self.threads, "max_bin": self.max_bin}
        try:
            return xgb.QuantileDMatrix(rows.features, rows.label, weight=rows.weights, **settings)
        except xgb.core.XGBoostError as error:
            infinite = np.isinf(rows.features).any(axis=0)
            if not infinite.any():
                raise
            text, got = "XGBoost cannot use infinite features.", ", ".join(np.array(feature_names)[infinite])
            raise DataError(text, got=got, hint="clip them, or make them missing, in preprocess") from error

    def _check_known(self, data: Any) -> None:
        """XGBoost ignores a parameter that it does not know; its own record of a configured booster tells."""
        booster = import_extra("xgboost").Booster(self.parameters, [data])
        known = _keys(json.loads(booster.save_config()))
        for key in self.extra:
            if key not in known:
                text, where = f"XGBoost has no parameter `{key}`, or not with these others.", f"model.extra.{key}"
                raise ConfigError(text, where=where, got=self.extra[key], hint=closest(key, sorted(known)))


def _keys(node: object) -> set[str]:
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return set(node if isinstance(node, dict) else ()).union(*map(_keys, inside))
