"""Adaptive random forest (Gomes et al., 2017 and 2018): trees that grow with the stream, each with its own alarm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from baselines.models.intake import check_width, refuse_undefined
from harness.errors import ConfigError
from harness.errors.limits import Count, Seed, check_limits
from harness.samples.interfaces import Doubles, Floats, History
from harness.samples.plan import Known, WindowPlan
from harness.samples.table import AsOfView
from harness.samples.windows import Window
from harness.store import codec
from harness.store.compiled import compiled


@dataclass(frozen=True, kw_only=True)
class AdaptiveRandomForest:
    """A forest of Hoeffding trees that learns every matured row once, in time order; it brings its own model.

    Each tree sees a row Poisson(`resampling`) times and a random subset of √F features in every leaf. An ADWIN on its
    own errors warns, and a tree is begun in the background; when it rings, that one takes the tree's place. Forecasts
    are the mean over the trees. The forest is river's ``ARFRegressor`` with river's own settings of trees and
    detectors, but for what the detectors read: river gives them signed errors, which have mean 0 whatever happens when
    labels are ranks; here they read squared ones. The configured model is not used: rows of a table that differ in it
    are the same.

    Attributes:
        trees: How many.
        rows_per_time: Most rows of each time, drawn by `seed`; river learns some hundred rows a second. None: all.
        resampling: Rate of the Poisson distribution.
        grace_period: Rows between attempts to split a leaf.
        max_depth: Of a tree; None: as deep as it grows.
        seed: For the forest and the rows; None: the run's.
    """

    trees: Count
    rows_per_time: Count | None = None
    resampling: Count
    grace_period: Count
    max_depth: Count | None = None
    seed: Seed | None = None

    def __post_init__(self) -> None:
        check_limits(self, "adaptation")

    def fit(self, history: History) -> Grower:
        seed = history.seed if self.seed is None else self.seed
        self.new_forest(seed)
        return Grower(self, history.windows[0].train.start, seed)

    def new_forest(self, seed: int) -> Any:
        """Return a forest that has seen nothing; raises `ConfigError` without river."""
        try:
            from river.forest import ARFRegressor
        except ModuleNotFoundError as error:
            text, hint = "This adaptation needs the library `river`, which is not installed.", "driftbench[river]"
            raise ConfigError(text, where="adaptation._target_", hint=f"pip install '{hint}'") from error
        forest: Any = type("Forest", (ARFRegressor,), {"_drift_detector_input": _square})
        return forest(
            n_models=self.trees,
            lambda_value=self.resampling,
            grace_period=self.grace_period,
            max_depth=self.max_depth,
            leaf_prediction="mean",
            aggregation_method="mean",
            seed=seed,
        )


def _square(forest: Any, tree: int, label: float, score: float) -> float:
    """Return what a tree's detectors read, in [0, 1]: its squared error over nine times the variance of its errors."""
    norm, error = forest._drift_norm[tree], label - score
    norm.update(error)
    variance = float(norm.get())
    return min(error * error / (9 * variance), 1.0) if variance > 0 else 0.5


@dataclass(eq=False)
class Grower:
    """Nothing was learned: a window's forest follows from the rows before it.

    The forest of the window before is gone on from where it has learned the same rows, which saves time and changes no
    bit; otherwise the stream is learned again.
    """

    settings: AdaptiveRandomForest
    start: int
    seed: int
    chained: ClassVar[bool] = False
    _learned: int = field(default=0, init=False)
    _digest: str = field(default="", init=False)
    _forest: Any = field(default=None, init=False)

    def plan(self, window: Window, known: Known) -> WindowPlan:
        x, y = self._rows(known.view, max(self.start, window.train.start), window.learn_stop)
        names = known.view.feature_names
        refuse_undefined(x.sum(0), names, "forest", where="preprocess", hint="add Fillna to your own processors")
        if not self._learned or self._learned > len(y) or _digest(x, y, self._learned) != self._digest:
            self._forest, self._learned = self.settings.new_forest(self.seed), 0
        for row, label in zip(x[self._learned :].tolist(), y[self._learned :].tolist(), strict=True):
            self._forest.learn_one(dict(enumerate(row)), label)
        self._learned, self._digest = len(y), _digest(x, y, len(y))
        return WindowPlan(fitted=Trees.of(self._forest, names))

    def _rows(self, view: AsOfView, start: int, stop: int) -> tuple[Doubles, Doubles]:
        """Return (m, F) features and (m,) labels of the rows that are learned, in time order."""
        features, label, offsets = view.features(start, stop), view.label(start, stop), view.offsets(start, stop)
        kept, most = [], self.settings.rows_per_time
        for at in range(stop - start):
            rows = np.arange(offsets[at], offsets[at + 1])
            rows = rows[~np.isnan(label[rows])]
            if most is not None and rows.size > most:
                drawn = np.random.default_rng([self.seed, start + at]).choice(rows.size, most, replace=False)
                rows = rows[np.sort(drawn)]
            kept.append(rows)
        found = np.concatenate(kept)
        return features[found].astype(np.float64), label[found].astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write nothing."""


def _digest(x: Doubles, y: Doubles, rows: int) -> str:
    return hashlib.sha256(x[:rows].tobytes() + y[:rows].tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Trees:
    """The forest as it forecasts: node after node, the children of a node at `left` and `left` + 1.

    Attributes:
        roots: (trees,) int64 nodes.
        feature: (nodes,) int64; −1 in a leaf.
        left: (nodes,) int64.
        value: (nodes,) float64: the threshold, up to which rows go left; in a leaf its mean label.
    """

    feature_names: tuple[str, ...]
    roots: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    value: Doubles

    @classmethod
    def of(cls, forest: Any, feature_names: tuple[str, ...]) -> Trees:
        """Return river's forest as arrays."""
        nodes: list[Any] = [tree._root for tree in forest]
        roots, feature, left, value = len(nodes), list[int](), list[int](), list[float]()
        for node in nodes:  # grows
            is_leaf = not hasattr(node, "children")
            feature.append(-1 if is_leaf else int(node.feature))
            left.append(-1 if is_leaf else len(nodes))
            mean = 0.0 if node is None or not is_leaf else float(node.stats.mean.get())
            value.append(mean if is_leaf else float(node.threshold))
            nodes.extend(() if is_leaf else node.children)
        columns = (np.arange(roots), np.array(feature, dtype=np.int64), np.array(left, dtype=np.int64))
        return cls(feature_names, *columns, np.array(value, dtype=np.float64))

    def predict(self, features: Floats) -> Floats:
        check_width(features, self.feature_names)
        return _predict(np.ascontiguousarray(features), self.roots, self.feature, self.left, self.value)

    def save(self, folder: Path) -> None:
        codec.save(folder, self)


@compiled()
def _predict(features: Floats, roots: Any, feature: Any, left: Any, value: Doubles) -> Floats:
    score = np.empty(features.shape[0], dtype=np.float32)
    for i in range(features.shape[0]):
        total = 0.0
        for root in roots:
            node = root
            while feature[node] >= 0:
                node = left[node] + (0 if features[i, feature[node]] <= value[node] else 1)
            total += value[node]
        score[i] = total / roots.size
    return score
