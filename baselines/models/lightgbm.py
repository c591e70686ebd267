"""Gradient boosted trees of LightGBM, fed with the table's own memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from baselines.models.intake import Rows, Scalar, check_extra, check_stopping, check_width, learning_rows
from harness.errors import ConfigError, closest
from harness.errors.limits import Count, Natural, NonNegative, Positive, Seed, Share, Threads, check_limits
from harness.samples.interfaces import Floats, LearnSet
from harness.store.artifacts import canonical_json

_MODEL, _RECORD = "model.txt", "model.json"

_OWNED: Mapping[str, str] = {
    "objective": "set model.loss",
    "metric": "early stopping follows model.loss",
    "learning_rate": "set model.learning_rate",
    "num_leaves": "set model.num_leaves",
    "max_depth": "set model.max_depth",
    "feature_fraction": "set model.colsample_bytree",
    "bagging_fraction": "set model.subsample",
    "bagging_freq": "set model.subsample_freq",
    "lambda_l1": "set model.lambda_l1",
    "lambda_l2": "set model.lambda_l2",
    "num_iterations": "set model.num_boost_round",
    "early_stopping_round": "set model.early_stopping_rounds",
    "seed": "set model.seed",
    "num_threads": "set model.threads",
    "deterministic": "always true",
    "force_row_wise": "always true, so that the sums of a histogram have one order",
    "force_col_wise": "histograms are row-wise, so that their sums have one order",
    "verbosity": "always silent",
}


@dataclass(frozen=True, kw_only=True)
class LightGBM:
    """Gradient boosted trees (Ke et al., NeurIPS 2017), with the parameters of qlib's ``LGBModel`` benchmark.

    Two fits on the same rows with the same seed and threads give the same bits: histograms are built row-wise, in a
    deterministic order, by a fixed number of threads. As in qlib, weights count in the validation loss too. Features
    may be missing.

    Attributes:
        loss: What is minimised, and what early stopping watches.
        learning_rate: Shrinkage of each tree, > 0.
        num_leaves: Most leaves of a tree.
        max_depth: Largest depth of a tree; −1 is unlimited.
        colsample_bytree: Share of the features that each tree may use, in (0, 1].
        subsample: Share of the rows that a tree sees, in (0, 1]; only with a `subsample_freq`.
        subsample_freq: Rows are drawn every so many trees; with 0 all rows are used, whatever the share. qlib's
            benchmark sets a share but no frequency, so its share has no effect.
        lambda_l1: Penalty on the absolute leaf values.
        lambda_l2: Penalty on the squared leaf values.
        num_boost_round: Most trees to grow.
        early_stopping_rounds: Stop when the validation loss has not fallen for that many trees, and keep the trees up
            to its minimum. None grows all trees and needs no validation segment.
        seed: For the choice of features and rows; None takes LightGBM's own fixed seeds, as qlib does.
        threads: A fixed number, so that results do not depend on the machine.
        include_valid: Train on the validation segment too; only without early stopping.
        extra: Further LightGBM parameters by LightGBM's names, such as ``min_data_in_leaf``.

    Raises:
        ConfigError: For an impossible value, or a key of `extra` that is unknown or repeats another.
    """

    supports_weights: ClassVar[bool] = True

    loss: Literal["mse", "mae", "huber"]
    learning_rate: Positive
    num_leaves: Annotated[int, Ge(2), Le(131_072)]
    max_depth: Annotated[int, Ge(-1), Le(1000)]
    colsample_bytree: Share
    subsample: Share
    subsample_freq: Natural
    lambda_l1: NonNegative
    lambda_l2: NonNegative
    num_boost_round: Count
    early_stopping_rounds: Count | None
    seed: Seed | None
    threads: Threads
    include_valid: bool = False
    extra: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse impossible values, and keys of `extra` that LightGBM would ignore."""
        check_limits(self, "model")
        check_stopping(self.include_valid, self.early_stopping_rounds)
        if self.extra:
            _check_known(self.extra)
            check_extra(self.extra, _OWNED, _canonical_names())

    @property
    def needs_valid(self) -> bool:
        """Whether it stops early."""
        return self.early_stopping_rounds is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """What LightGBM is given."""
        given: dict[str, Any] = {
            "objective": self.loss,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "max_depth": self.max_depth,
            "feature_fraction": self.colsample_bytree,
            "bagging_fraction": self.subsample,
            "bagging_freq": self.subsample_freq,
            "lambda_l1": self.lambda_l1,
            "lambda_l2": self.lambda_l2,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            **self.extra,
        }
        return given if self.seed is None else {**given, "seed": self.seed}

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedLightGBM:
        """Grow trees on `train`, stop on `valid`.

        Raises:
            ConfigError: When it stops early and there is no `valid`.
            DataError: When a period has no usable row.
        """
        train_rows, valid_rows = learning_rows(self, train, valid)
        data = _dataset(train_rows)
        booster = lgb.train(
            self.parameters,
            data,
            num_boost_round=self.num_boost_round,
            valid_sets=[] if valid_rows is None else [_dataset(valid_rows, data)],
            callbacks=[]
            if self.early_stopping_rounds is None
            else [lgb.early_stopping(self.early_stopping_rounds, verbose=False)],
        )
        best = booster.best_iteration if self.needs_valid else booster.current_iteration()
        return FittedLightGBM(booster.model_to_string(num_iteration=best), train.feature_names, self.threads)

    def load(self, folder: Path) -> FittedLightGBM:
        """Read what `FittedLightGBM.save` wrote; its predictions are the same bits."""
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        text = (folder / _MODEL).read_text(encoding="utf-8")
        return FittedLightGBM(text, tuple(record["feature_names"]), self.threads)


class FittedLightGBM:
    """Trees up to the best round; the value is LightGBM's own text, from which the trees are read back exactly.

    Args:
        text: The model in LightGBM's text format.
        feature_names: The F features, in column order.
        threads: For prediction.
    """

    def __init__(self, text: str, feature_names: tuple[str, ...], threads: int) -> None:
        self.text = text
        self.feature_names = feature_names
        self._threads = threads
        self._booster = lgb.Booster(model_str=text)

    @property
    def rounds(self) -> int:
        """Number of trees."""
        return int(self._booster.num_trees())

    def predict(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return (m,) float64 predictions for (m, F) float32 features; each row's depends on that row alone."""
        check_width(features, self.feature_names)
        if len(features) == 0:
            return np.empty(0, dtype=np.float64)
        return np.asarray(self._booster.predict(features, num_threads=self._threads), dtype=np.float64)

    def importance(self, kind: Literal["gain", "split"]) -> dict[str, float]:
        """Return feature name → total gain of its splits, or their number, in column order."""
        values = self._booster.feature_importance(importance_type=kind)
        return dict(zip(self.feature_names, values.astype(float).tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write the trees as text, and the feature names beside them."""
        (folder / _MODEL).write_text(self.text, encoding="utf-8", newline="\n")
        record = {"schema_version": 1, "feature_names": list(self.feature_names), "rounds": self.rounds}
        (folder / _RECORD).write_text(canonical_json(record, indent=1), encoding="utf-8", newline="\n")


def _dataset(rows: Rows, reference: lgb.Dataset | None = None) -> lgb.Dataset:
    # Feature names stay out: LightGBM refuses those that hold brackets or commas, as expressions do.
    return lgb.Dataset(rows.features, label=rows.label, weight=rows.weights, reference=reference)


def _check_known(extra: Mapping[str, Scalar]) -> None:
    known = _canonical_names()
    for key in extra:
        if key not in known:
            raise ConfigError(
                f"LightGBM has no parameter `{key}`.",
                where=f"model.extra.{key}",
                got=extra[key],
                hint=closest(key, known),
            )


@cache
def _canonical_names() -> dict[str, str]:
    """Return every spelling of every LightGBM parameter → its main name.

    LightGBM ignores a parameter that it does not know, and offers its list through its C interface only.
    """
    table = lgb.basic._ConfigAliases._get_all_param_aliases()
    return {spelling: name for name, spellings in table.items() for spelling in spellings}
