"""Proxy data: a few features that a booster finds important, and a processed label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from baselines.models.lightgbm import SAME_BITS, dataset
from harness.errors import DataError, closest
from harness.errors.limits import Count, NonNegative, Positive, Seed, Share, check_limits
from harness.samples.chunks import Rows, columns_of
from harness.samples.interfaces import Floats, History
from harness.samples.preprocess import Pipeline, apply
from harness.samples.processors import CSZScoreNorm, Fillna
from harness.samples.table import AsOfView, RowIndex, SampleTable
from harness.samples.windows import Segment
from harness.store.compiled import kernel_threads
from harness.store.records import LATER, describe

if TYPE_CHECKING:  # slow to import
    import lightgbm

SimilarityMetric = Literal["rank_ic", "error"]
_PER_TIME = Pipeline(features=(CSZScoreNorm(), Fillna(0.0)), label=(), refit="once")


@dataclass(frozen=True)
class GbdtParameters:
    """LightGBM parameters of the proxies; names as in LightGBM.

    Attributes:
        rounds: Trees to grow; there is no early stopping.
        learning_rate: Shrinkage of each tree.
        colsample_bytree: Share of the features that each tree may use.
        subsample: Share of the rows that a tree would see; without effect, as rows are drawn only with a frequency,
            which neither qlib's benchmark nor this class sets.
        lambda_l1, lambda_l2: Penalty on the absolute, and on the squared, leaf values.
        max_depth: Largest depth of a tree; −1 is unlimited.
        num_leaves: Most leaves of a tree.
        min_leaf_share: Smallest leaf as a share of the rows of the fit, so that a small block can still split; None
            keeps the library's 20.
    """

    rounds: Count
    learning_rate: Positive
    colsample_bytree: Share
    subsample: Share
    lambda_l1: NonNegative
    lambda_l2: NonNegative
    max_depth: Annotated[int, Ge(-1), Le(1000)]
    num_leaves: Annotated[int, Ge(2), Le(131_072)]
    min_leaf_share: Annotated[float, Gt(0), Le(0.5)] | None

    def __post_init__(self) -> None:
        check_limits(self, "adaptation.gbdt")

    def for_rows(self, rows: int, seed: int, threads: int) -> dict[str, object]:
        """Return LightGBM's parameters for a fit on that many rows; the result does not depend on `threads`."""
        given = {name: value for name, value in vars(self).items() if name not in ("rounds", "min_leaf_share")}
        leaf = {} if self.min_leaf_share is None else {"min_data_in_leaf": max(1, round(self.min_leaf_share * rows))}
        return {"objective": "mse", **given, **leaf, "seed": seed, "num_threads": threads, **SAME_BITS}

    def grow(self, features: Rows, label: Floats, *, seed: int, threads: int) -> lightgbm.Booster:
        """Return a booster fitted on (m, F) rows that all have a label; LightGBM takes NaN features as they are."""
        import lightgbm  # see above

        given = self.for_rows(label.size, seed, threads)
        return lightgbm.train(given, dataset(features, label, given), num_boost_round=self.rounds)


@dataclass(frozen=True)
class ProxySettings:
    """What proxy data and similarity are made by.

    Attributes:
        fea_imp_n: How many proxy features, chosen by the importance of `choice_gbdt`; None takes all.
        fea_names: Proxy features by name, instead of a choice.
        importance: What counts as important: a feature's ``split`` or its ``gain``.
        refresh_years: Choose features anew after so many years; None chooses once, at the first meta-task.
        preprocess: Processors of proxy features and label; for ``rank_ic`` features are then z-scored at every time.
        choice_preprocess: Processors of the data that the choice is made on; None takes `preprocess`.
        sim_preprocess: Processors of the data that similarity is measured on, with all features; None measures it on
            the proxy data.
        sim_task_model: The proxy of each block: ridge (``linear``) or LightGBM (``gbdt``).
        sim_alpha: Penalty of the ridge.
        gbdt: The LightGBM of each block, where `sim_task_model` is ``gbdt``.
        choice_gbdt: The LightGBM that chooses features.
        seed: Of the initial weight model and of LightGBM; None takes the experiment's.
        proxy_seed: Of LightGBM alone, so that runs with other seeds share its proxies; None takes `seed`.
        sim_metric: What similarity is: ``rank_ic``, how a proxy ranks the instruments at a time; or ``error``, 1 minus
            its mean squared error at that time, not below −1, for sets of series, which have no cross-section. Then the
            label needs a variance of about 1.
    """

    fea_imp_n: Count | None
    fea_names: tuple[str, ...] | None
    importance: Literal["split", "gain"]
    refresh_years: Count | None
    preprocess: Pipeline
    choice_preprocess: Pipeline | None
    sim_preprocess: Pipeline | None
    sim_task_model: Literal["linear", "gbdt"]
    sim_alpha: NonNegative
    gbdt: GbdtParameters
    choice_gbdt: GbdtParameters
    seed: Seed | None
    proxy_seed: Seed | None = field(default=None, kw_only=True, metadata=LATER)
    sim_metric: SimilarityMetric = field(default="rank_ic", kw_only=True, metadata=LATER)

    def seed_in(self, history: History) -> int:
        return history.seed if self.seed is None else self.seed

    def proxy_seed_in(self, history: History) -> int:
        return self.seed_in(history) if self.proxy_seed is None else self.proxy_seed

    def sim_parts(self, seed: int) -> dict[str, object]:
        """What determines the proxies of the blocks, besides their rows; a ridge draws nothing."""
        metric = {"sim_metric": self.sim_metric}
        if self.sim_task_model == "linear":
            return {"sim_alpha": self.sim_alpha, **metric}
        return {"gbdt": describe(self.gbdt), "seed": seed, **metric}

    @property
    def choice_parts(self) -> dict[str, object]:
        """What determines a choice of features, besides the data and the seed."""
        names = ("fea_names", "fea_imp_n", "importance", "choice_gbdt")
        parts = {name: describe(getattr(self, name)) for name in names}
        return {**parts, "preprocess": describe(self.choice_preprocess or self.preprocess)}


@dataclass(frozen=True)
class Choice:
    """Features chosen at one time.

    Attributes:
        decision: It serves decisions from this position on.
        names: Most important first.
        used: How many of them the booster used at all; the rest only fill up the number, in the table's order.
    """

    decision: int
    names: tuple[str, ...]
    used: int


def choose_features(view: AsOfView, period: Segment, setting: ProxySettings, seed: int) -> Choice:
    """Return the most important features of a booster fitted on `period`, through a view as of the choice."""
    count = setting.fea_imp_n
    if setting.fea_names is not None or count is None or count >= len(view.feature_names):
        names = view.feature_names if setting.fea_names is None else setting.fea_names
        return Choice(view.decision, names, len(names))
    raw = known_rows(view, period.start)
    data = apply(raw, (setting.choice_preprocess or setting.preprocess).fit(raw.as_of(view.decision), period))
    known = data.as_of(view.decision).labelled(period.start, period.stop)
    features, label = known.rows(period.start, period.stop), known.label(period.start, period.stop)
    booster = setting.choice_gbdt.grow(features, label, seed=seed, threads=kernel_threads())
    return Choice(view.decision, *important_features(booster, known.feature_names, count, setting.importance))


def important_features(
    booster: lightgbm.Booster, names: tuple[str, ...], count: int, kind: Literal["split", "gain"]
) -> tuple[tuple[str, ...], int]:
    """Return the `count` most important features, the table's order deciding ties, and how many of them were used."""
    importance = booster.feature_importance(importance_type=kind)
    order = np.argsort(-importance, kind="stable")[:count]
    return tuple(names[i] for i in order), int((importance[order] > 0).sum())


def known_rows(view: AsOfView, start: int, names: Sequence[str] | None = None) -> SampleTable:
    """Return everything that `view` knows from position `start` on, as a table that ends at its decision.

    Labels that have not matured are NaN. `names` are the columns to keep, in this order; None keeps all without a copy.
    """
    stop = view.feature_stop
    features: Any = view.rows(start, stop)
    if names is not None:
        for name in names:
            if name not in view.feature_names:
                text, hint = "A proxy feature does not exist.", closest(name, view.feature_names)
                raise DataError(text, where="adaptation.fea_names", got=name, hint=hint)
        features = columns_of(features, np.array([view.feature_names.index(name) for name in names]))
    label = np.full(features.shape[0], np.nan, dtype=np.float32)
    known = view.label(start, max(view.label_stop, start))
    label[: known.size] = known
    offsets = np.zeros(len(view.calendar) + 1, dtype=np.int64)
    offsets[start : stop + 1] = view.offsets(start, stop)
    offsets[stop + 1 :] = features.shape[0]
    index, kept = RowIndex(offsets, np.array(view.codes(start, stop))), view.feature_names if names is None else names
    return SampleTable(view.calendar, (), index, features, tuple(kept), label, view.look_ahead)


def standardised(table: SampleTable) -> SampleTable:
    """Return the table with every feature z-scored across the rows of each time (sample deviation); missing becomes 0.

    So does a feature that is constant at a time.
    """
    return apply(table, _PER_TIME.fit(table.as_of(0), Segment(0, 1)))
