"""How well a proxy model of each past block ranks the instruments at every other time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from baselines.adaptation.ddgda.proxy import GbdtParameters, fit_booster
from baselines.adaptation.ddgda.rank_correlation import linear_rank_ic, rank_ic, rank_labels
from harness.errors import ConfigError, LookAheadError
from harness.execution.progress import Observer
from harness.execution.threads import one_blas_thread
from harness.samples.gram import GramBlocks
from harness.samples.interfaces import Doubles, Floats
from harness.samples.table import AsOfView
from harness.samples.windows import Segment
from harness.samples.windows import blocks as split_blocks

_STAGE = "similarity"


@dataclass(frozen=True, eq=False)
class KnownSimilarity:
    """The part of a similarity matrix that is known at one decision; its first row is calendar position `start`.

    Attributes:
        step: Times per block; block k covers [start + k·step, start + (k + 1)·step).
        look_ahead: A label at s is known at s + look_ahead.
        values: (rows, K) float64 rank IC; NaN where a proxy's predictions or the labels are constant.
    """

    start: int
    step: int
    look_ahead: int
    values: Doubles

    def until(self, stop: int) -> KnownSimilarity:
        """Return the rows before `stop` and the columns of blocks that end by then; `LookAheadError` if unknown."""
        rows = stop - self.start
        if rows > self.values.shape[0]:
            text, newest = "This similarity is not known at the decision time.", self.start + self.values.shape[0] - 1
            got, expected = (f"rows up to position {last}" for last in (stop - 1, newest))
            raise LookAheadError(text, got=got, expected=expected)
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values[:rows, : rows // self.step])

    @property
    def block_starts(self) -> npt.NDArray[np.int64]:
        """(K,) int64 first position of every block."""
        return self.start + self.step * np.arange(self.values.shape[1], dtype=np.int64)

    @property
    def overlap(self) -> npt.NDArray[np.bool_]:
        """(rows, K), whether the label at a time shares times with the labels that the block's proxy learned."""
        time = np.arange(self.values.shape[0])[:, None]
        first = (self.block_starts - self.start)[None, :]
        return (time >= first) & (time < first + self.step + self.look_ahead - 1)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The whole similarity matrix, reached through `as_of` alone, like a sample table; fields as in `KnownSimilarity`.

    A cell depends on the rows of its time and of its block only, so that cutting it is the same as not having known.
    """

    start: int
    step: int
    look_ahead: int
    values: Doubles

    def as_of(self, decision: int) -> KnownSimilarity:
        """Return the rows and columns whose labels are all known at the close of `decision`."""
        stop = min(decision - self.look_ahead + 1, self.start + self.values.shape[0])
        return KnownSimilarity(self.start, self.step, self.look_ahead, self.values).until(max(stop, self.start))

    @property
    def undefined(self) -> int:
        return int(np.isnan(self.values).sum())


def linear_similarity(view: AsOfView, start: int, blocks: GramBlocks, *, step: int, alpha: float) -> Similarity:
    """Return the similarity by one ridge proxy per block of `step` times from `start`, fitted from shared Gram blocks.

    Every row of [start, label_stop) of `view` is scored; `blocks` are of the same rows, with a border at `start`. There
    is no intercept, as features and label are centred at every time.
    """
    stop = view.label_stop
    known = view.labelled(start, stop)
    with one_blas_thread():
        solved = [blocks.weighted(b.start, b.stop, None).ridge(alpha) for b in whole_blocks(start, stop, step)]
    proxies = np.stack([solution.theta for solution in solved])
    ranks = rank_labels(known.label(start, stop), known.offsets(start, stop))
    values = linear_rank_ic(known.features(start, stop), proxies, ranks)
    return Similarity(start, step, view.look_ahead, values)


class BlockProxies:
    """One LightGBM proxy per block of `step` times from `start`, scored at every known time of the processed rows."""

    def __init__(self, view: AsOfView, start: int, step: int, parameters: GbdtParameters, seed: int) -> None:
        stop = view.label_stop
        known = view.labelled(start, stop)
        self.blocks = whole_blocks(start, stop, step)
        self.times = stop - start
        self._features, self._label = known.features(start, stop), known.label(start, stop)
        self._ranks = rank_labels(self._label, known.offsets(start, stop))
        self._parameters, self._seed = parameters, seed

    def predict(self, k: int) -> Floats:
        """Fit the proxy of block `k` and return its predictions of all rows; one thread."""
        first, block = self.blocks[0].start, self.blocks[k]
        rows = slice(*(int(self._ranks.offsets[at - first]) for at in (block.start, block.stop)))
        booster = fit_booster(self._features[rows], self._label[rows], self._parameters, seed=self._seed, threads=1)
        return np.asarray(booster.predict(self._features, num_threads=1), dtype=np.float32)

    def judge(self, prediction: Floats) -> Doubles:
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


def whole_blocks(start: int, stop: int, step: int) -> tuple[Segment, ...]:
    """Return the blocks of `step` times from `start` that end by `stop`; a `ConfigError` when there is none."""
    whole = start + (stop - start) // step * step
    if whole <= start:
        text, got = "The history is shorter than one block.", f"{max(stop - start, 0)} periods with a known label"
        raise ConfigError(text, where="windows.step", got=got, expected=f"at least {step}")
    return split_blocks(start, whole, step)
