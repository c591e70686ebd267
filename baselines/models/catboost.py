"""Gradient boosted trees of CatBoost; needs the extra ``driftbench[catboost]``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from baselines.models.boosting import Boosting, FittedTrees, Library
from baselines.models.intake import Rows, import_extra
from harness.errors import ConfigError
from harness.errors.limits import Seed, Share, Threads
from harness.samples.interfaces import Floats


class FittedCatBoost(FittedTrees):
    """Trees in CatBoost's binary format."""

    file = "model.cbm"

    def _read(self) -> Any:
        return import_extra("catboost").CatBoost().load_model(blob=self.content)

    def _scores(self, features: Floats) -> Any:
        return self.booster.predict(features, thread_count=self.threads)

    @property
    def rounds(self) -> int:
        return int(self.booster.tree_count_)


@dataclass(frozen=True, kw_only=True)
class CatBoost(Boosting):
    """Gradient boosted trees (Prokhorenkova et al., NeurIPS 2018), with the parameters of qlib's ``CatBoostModel``.

    qlib's benchmark draws rows by a Poisson bootstrap, which CatBoost has on GPUs only; here it is Bernoulli's with the
    same share.

    Attributes:
        grow_policy: ``SymmetricTree``, ``Depthwise``, or ``Lossguide``, which alone heeds `num_leaves`.
        max_depth: Largest depth of a tree.
        num_leaves: Most leaves of a tree; None unless the policy is ``Lossguide``.
        bootstrap_type: How rows are drawn for each tree; ``No`` uses all.
        subsample: Their share in (0, 1]; None when all are used.
        seed: For the choice of rows and the noise of the scores.
        extra: Further CatBoost parameters by CatBoost's names, such as ``l2_leaf_reg``.
    """

    library: ClassVar = Library(
        objective="loss_function",
        losses={"mse": "RMSE", "mae": "MAE", "huber": "Huber:delta=1.0"},
        same=("learning_rate", "grow_policy", "bootstrap_type", "subsample"),
        arguments={
            "depth": "max_depth",
            "max_leaves": "num_leaves",
            "iterations": "num_boost_round",
            "od_wait": "early_stopping_rounds",
            "random_seed": "seed",
            "thread_count": "threads",
        },
        constants={"task_type": "CPU", "logging_level": "Silent", "allow_writing_files": False},
        reserved={
            "eval_metric": "early stopping follows model.loss",
            "od_type": "always Iter",
            "use_best_model": "true when it stops early",
            "task_type": "always the CPU",
            "logging_level": "always silent",
            "allow_writing_files": "always false",
            **dict.fromkeys(("train_dir", "snapshot_file", "save_snapshot"), "no file is written"),
        },
        aliases={
            "loss_function": ("objective",),
            "eval_metric": ("custom_metric",),
            "learning_rate": ("eta",),
            "depth": ("max_depth",),
            "max_leaves": ("num_leaves",),
            "iterations": ("n_estimators", "num_boost_round", "num_trees"),
            "od_wait": ("early_stopping_rounds",),
            "random_seed": ("random_state",),
            "logging_level": ("verbose", "verbose_eval", "silent"),
        },
    )
    fitted: ClassVar = FittedCatBoost

    grow_policy: Literal["SymmetricTree", "Depthwise", "Lossguide"]
    max_depth: Annotated[int, Ge(1), Le(16)]
    num_leaves: Annotated[int, Ge(2), Le(65_536)] | None
    bootstrap_type: Literal["Bernoulli", "MVS", "No"]
    subsample: Share | None
    threads: Threads
    seed: Seed

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_pair("num_leaves", "grow_policy", self.grow_policy == "Lossguide")
        self._check_pair("subsample", "bootstrap_type", self.bootstrap_type != "No")

    def _check_pair(self, name: str, other: str, used: bool) -> None:
        value = getattr(self, name)
        if used == (value is None):
            expected = f"{'a number' if used else 'null'} with {other}={getattr(self, other)}"
            raise ConfigError(f"`{name}` does not fit `{other}`.", where=f"model.{name}", got=value, expected=expected)

    @property
    def parameters(self) -> dict[str, Any]:
        return super().parameters | ({"od_type": "Iter", "use_best_model": True} if self.needs_valid else {})

    def _grow(self, train: Rows, valid: Rows | None, feature_names: tuple[str, ...]) -> bytes:
        library = import_extra("catboost")
        model = library.CatBoost(self.parameters)
        try:
            model.fit(self._pool(train), eval_set=None if valid is None else self._pool(valid))
        except library.CatBoostError as error:
            raise ConfigError("CatBoost refuses this model or these data.", where="model", got=str(error)) from error
        metadata = model.get_metadata()
        for name in ("model_guid", "train_finish_time"):  # so that equal fits are equal bytes
            metadata[name] = ""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FittedCatBoost.file
            model.save_model(str(path), format="cbm")
            return path.read_bytes()

    def _pool(self, rows: Rows) -> Any:
        pool = import_extra("catboost").Pool
        return pool(rows.features, label=rows.label, weight=rows.weights, thread_count=self.threads)
