"""Gradient boosted trees of LightGBM, fed with the table's own memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from baselines.models.boosting import Boosting, FittedTrees, Library
from baselines.models.intake import Rows, check_same_features
from harness.errors import ConfigError, closest
from harness.errors.limits import Count, Natural, NonNegative, Share, Threads
from harness.samples.chunks import LazyRows
from harness.samples.chunks import Rows as AnyRows
from harness.samples.interfaces import FittedModel, Floats, LearnSet
from harness.store.records import LATER, UNRECORDED

# Column-wise, one thread builds a feature's whole histogram, and `deterministic` orders every other sum: the bits of a
# fit do not depend on how many threads there are.
SAME_BITS = {"deterministic": True, "force_col_wise": True, "verbosity": -1}


_BATCH = 1 << 14  # rows that are read at a time
_IN_MEMORY = 1 << 30  # bytes of rows up to which they are handed over at once


if TYPE_CHECKING:  # slow to import, with scikit-learn: whoever composes a configuration or reads a result fits nothing
    import lightgbm as lgb


def _batches(rows: LazyRows) -> lgb.Sequence:
    """Return rows that LightGBM asks for: one by one for its sample, in rising order, then all of them in batches."""
    import lightgbm as lgb  # see above

    class Batches(lgb.Sequence):
        batch_size = _BATCH
        first, read = 0, rows[:0]

        def __getitem__(self, asked: Any) -> Any:
            if isinstance(asked, slice):
                return rows[asked]
            if not self.first <= asked < self.first + len(self.read):
                self.first, self.read = asked, rows[asked : asked + _BATCH]
            return self.read[asked - self.first].astype(np.float64)

        def __len__(self) -> int:
            return len(rows)

    return Batches()


def dataset(features: AnyRows, label: Floats, parameters: Mapping[str, Any], **more: Any) -> lgb.Dataset:
    """Return (m, F) rows as LightGBM's own, which takes a byte a value; many `LazyRows` are never held as floats.

    The bins, and so the trees, are the same either way: LightGBM draws the same sample for them.
    """
    import lightgbm as lgb  # see above

    if not isinstance(features, LazyRows):
        return lgb.Dataset(features, label=label, **more)
    if features.nbytes <= _IN_MEMORY:
        return lgb.Dataset(np.asarray(features), label=label, **more)
    return lgb.Dataset(_batches(features), label=label, params={**parameters, **_sampled_by(parameters)}, **more)


def _sampled_by(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return the seed by which the library samples rows for the bins: derived from `seed`, unless it is given itself.

    Of batches the library forgets to derive it, so a fit on two rows is asked.
    """
    import lightgbm as lgb  # see above

    fitted = lgb.train({**parameters}, lgb.Dataset(np.zeros((2, 1)), label=[0.0, 1.0]), num_boost_round=1)
    found = re.search(r"^\[data_random_seed: (\d+)\]$", fitted.model_to_string(), flags=re.M)
    assert found is not None
    return {"data_random_seed": int(found[1])}


class FittedLightGBM(FittedTrees):
    """Trees in LightGBM's text format."""

    file = "model.txt"

    def _read(self) -> Any:
        import lightgbm as lgb  # see above

        return lgb.Booster(model_str=self.content.decode("utf-8"))

    def _scores(self, features: Floats) -> Any:
        return self.booster.predict(features, **({} if self.threads is None else {"num_threads": self.threads}))

    @property
    def rounds(self) -> int:
        return int(self.booster.num_trees())

    def importance(self, kind: Literal["gain", "split"]) -> dict[str, float]:
        """Return feature name → total gain of its splits, or their number, in column order."""
        values = self.booster.feature_importance(importance_type=kind)
        return dict(zip(self.feature_names, values.astype(float).tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class LightGBM(Boosting):
    """Gradient boosted trees (Ke et al., NeurIPS 2017), with the parameters of qlib's ``LGBModel`` benchmark.

    Attributes:
        loss: What is minimised, and what early stopping watches.
        level: ``quantile`` only: which, in (0, 1).
        num_leaves: Most leaves of a tree.
        max_depth: Largest depth of a tree; −1 is unlimited.
        colsample_bytree: Share of the features that each tree may use, in (0, 1].
        subsample: Share of the rows that a tree sees, in (0, 1]; only with a `subsample_freq`.
        subsample_freq: Rows are drawn every so many trees; with 0 all rows are used, whatever the share. qlib's
            benchmark sets a share but no frequency, so its share has no effect.
        lambda_l1: Penalty on the absolute leaf values.
        lambda_l2: Penalty on the squared leaf values.
        seed: For the choice of features and rows; None takes LightGBM's own fixed seeds, as qlib does.
        threads: None takes all that the process has. The bits are the same for any number, so it is not recorded.
        extra: Further LightGBM parameters by LightGBM's names, such as ``min_data_in_leaf``.
        continue_by: How a fitted model is continued: ``trees`` are added to it on the new rows, or its ``leaves`` move
            towards what the new rows say while every split stays.
        continue_rounds: ``trees`` only: most trees per continuation.
        continue_decay: ``leaves`` only: share of its old value that a leaf keeps, in (0, 1].
    """

    library: ClassVar = Library(
        objective="objective",
        losses={"mse": "mse", "mae": "mae", "huber": "huber", "quantile": "quantile"},
        same=("learning_rate", "num_leaves", "max_depth", "lambda_l1", "lambda_l2", "seed"),
        arguments={
            "feature_fraction": "colsample_bytree",
            "bagging_fraction": "subsample",
            "bagging_freq": "subsample_freq",
            "num_threads": "threads",
        },
        constants=SAME_BITS,
        reserved={
            "metric": "early stopping follows model.loss",
            "num_iterations": "set model.num_boost_round",
            "early_stopping_round": "set model.early_stopping_rounds",
            "deterministic": "always true",
            "force_col_wise": "always true, so that the sums of a histogram have one order",
            "force_row_wise": "histograms are column-wise, so that their sums have one order",
            "verbosity": "always silent",
        },
    )
    fitted: ClassVar = FittedLightGBM
    by_slices: ClassVar[bool] = True

    num_leaves: Annotated[int, Ge(2), Le(131_072)]
    max_depth: Annotated[int, Ge(-1), Le(1000)]
    colsample_bytree: Share
    subsample: Share
    subsample_freq: Natural
    lambda_l1: NonNegative
    lambda_l2: NonNegative
    threads: Threads | None = field(default=None, metadata=UNRECORDED)
    continue_by: Literal["trees", "leaves"] = field(default="trees", metadata=LATER)
    continue_rounds: Count = field(default=10, metadata=LATER)
    continue_decay: Share = field(default=0.9, metadata=LATER)
    level: Annotated[float, Gt(0), Lt(1)] = field(default=0.5, metadata=LATER)

    @property
    def parameters(self) -> dict[str, Any]:
        # LightGBM's alpha is the level of a quantile here, and elsewhere the border of the Huber loss.
        return super().parameters | ({"alpha": self.level} if self.loss == "quantile" else {})

    def fit_from(self, start: FittedModel | None, train: LearnSet, valid: LearnSet | None) -> FittedTrees:
        if start is None:
            return self.fit(train, valid)
        assert isinstance(start, FittedLightGBM)
        check_same_features(start.feature_names, train.feature_names)
        rows, watched = self.learning_rows(train, valid)
        if self.continue_by == "trees":
            content = self._grow(rows, watched, train.feature_names, start.booster)
        else:
            weights = None if rows.weights is None else rows.weights
            parts = {"decay_rate": self.continue_decay, "weight": weights, "dataset_params": {"verbosity": -1}}
            content = _text(start.booster.refit(np.asarray(rows.features), rows.label, **parts), None)
        return FittedLightGBM(content, train.feature_names, self.threads)

    def _main_name(self, key: str) -> str:
        known = _canonical_names()
        if key not in known:
            text, where = f"LightGBM has no parameter `{key}`.", f"model.extra.{key}"
            raise ConfigError(text, where=where, got=self.extra[key], hint=closest(key, known))
        return known[key]

    def _grow(
        self, train: Rows, valid: Rows | None, feature_names: tuple[str, ...], start: lgb.Booster | None = None
    ) -> bytes:
        import lightgbm as lgb  # see above

        # Feature names stay out: LightGBM refuses those that hold brackets or commas, as expressions do.
        data = dataset(train.features, train.label, self.parameters, weight=train.weights)
        stopped: dict[str, Any] = {}
        if valid is not None and self.early_stopping_rounds is not None:
            watched = dataset(valid.features, valid.label, self.parameters, weight=valid.weights, reference=data)
            stop = lgb.early_stopping(self.early_stopping_rounds, verbose=False)
            stopped = {"valid_sets": [watched], "callbacks": [stop]}
        rounds = self.num_boost_round if start is None else self.continue_rounds
        booster = lgb.train(self.parameters, data, num_boost_round=rounds, init_model=start, **stopped)
        return _text(booster, booster.best_iteration if self.needs_valid else booster.current_iteration())


def _text(booster: lgb.Booster, rounds: int | None) -> bytes:
    """Return LightGBM's text of the first `rounds`; it lists the parameters, and no number of threads shall show."""
    text = booster.model_to_string(num_iteration=rounds)
    return re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 0]", text, flags=re.M).encode("utf-8")


@cache
def _canonical_names() -> dict[str, str]:
    """Return every spelling of every LightGBM parameter → its main name; LightGBM ignores any other."""
    import lightgbm as lgb  # see above

    # The list is offered through its C interface only.
    table = lgb.basic._ConfigAliases._get_all_param_aliases()
    return {spelling: name for name, spellings in table.items() for spelling in spellings}
