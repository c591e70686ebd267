"""The small LightGBM models of DDG-DA: the one that chooses features and the proxy of each block."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Literal

import lightgbm
import numba
import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from baselines.adaptation.ddgda.rank_correlation import rank_ic, rank_labels
from baselines.adaptation.ddgda.similarity import Similarity, whole_blocks
from harness.errors.limits import Count, NonNegative, Positive, Share, check_limits
from harness.execution.progress import Observer
from harness.samples.table import AsOfView

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_STAGE = "similarity"


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
        """Check what LightGBM would take silently."""
        check_limits(self, "adaptation.gbdt")

    def for_rows(self, rows: int, seed: int, threads: int) -> dict[str, object]:
        """Return LightGBM's parameters for a fit on that many rows; the result does not depend on `threads`."""
        leaf = {} if self.min_leaf_share is None else {"min_data_in_leaf": max(1, round(self.min_leaf_share * rows))}
        return {
            "objective": "mse",
            "learning_rate": self.learning_rate,
            "colsample_bytree": self.colsample_bytree,
            "subsample": self.subsample,
            "lambda_l1": self.lambda_l1,
            "lambda_l2": self.lambda_l2,
            "max_depth": self.max_depth,
            "num_leaves": self.num_leaves,
            **leaf,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": threads,
            "verbosity": -1,
        }


def fit_booster(
    features: Floats, label: Floats, parameters: GbdtParameters, *, seed: int, threads: int
) -> lightgbm.Booster:
    """Return a booster fitted on (m, F) rows that all have a label; LightGBM takes NaN features as they are."""
    given = parameters.for_rows(label.size, seed, threads)
    return lightgbm.train(given, lightgbm.Dataset(features, label), num_boost_round=parameters.rounds)


def important_features(
    booster: lightgbm.Booster, names: tuple[str, ...], count: int, kind: Literal["split", "gain"]
) -> tuple[tuple[str, ...], int]:
    """Return the `count` most important features, the table's order deciding ties, and how many of them were used."""
    importance = booster.feature_importance(importance_type=kind)
    order = np.argsort(-importance, kind="stable")[:count]
    return tuple(names[i] for i in order), int((importance[order] > 0).sum())


class BlockProxies:
    """One LightGBM proxy per block, scored at every known time.

    Args:
        view: Processed rows; those with a label are scored.
        start: First position of block 0.
        step: Times per block.
        parameters, seed: Of every proxy.
    """

    def __init__(self, view: AsOfView, start: int, step: int, parameters: GbdtParameters, seed: int) -> None:
        stop = view.label_stop
        known = view.labelled(start, stop)
        self.features, self.label = known.features(start, stop), known.label(start, stop)
        self.offsets = known.offsets(start, stop)
        self.start, self.times = start, stop - start
        self.blocks = whole_blocks(start, stop, step)
        self._ranks = rank_labels(self.label, self.offsets)
        self._parameters, self._seed = parameters, seed

    def predict(self, k: int) -> Floats:
        """Fit the proxy of block `k` and return its predictions of all rows; one thread."""
        block = self.blocks[k]
        rows = slice(int(self.offsets[block.start - self.start]), int(self.offsets[block.stop - self.start]))
        booster = fit_booster(self.features[rows], self.label[rows], self._parameters, seed=self._seed, threads=1)
        return np.asarray(booster.predict(self.features, num_threads=1), dtype=np.float32)

    def judge(self, prediction: Floats) -> Doubles:
        """Return the rank IC of predictions at every time, (times,) float64."""
        return rank_ic(prediction, self._ranks)


def gbdt_similarity(
    view: AsOfView, start: int, step: int, parameters: GbdtParameters, *, seed: int, observer: Observer
) -> Similarity:
    """Return the similarity by one LightGBM proxy per block, scored as `linear_similarity` scores ridge proxies.

    Blocks are fitted and scored side by side, one thread each, as many at a time as Numba has threads; the result does
    not depend on how many.
    """
    proxies = BlockProxies(view, start, step, parameters, seed)
    count = len(proxies.blocks)
    values = np.empty((proxies.times, count))
    observer.start(_STAGE, count)
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for k, prediction in enumerate(pool.map(proxies.predict, range(count))):
            values[:, k] = proxies.judge(prediction)
            observer.advance(_STAGE)
    observer.finish(_STAGE)
    return Similarity(start, step, view.look_ahead, values)
