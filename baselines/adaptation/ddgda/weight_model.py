"""The weight model: from the recent similarity of a block to the weight of its samples. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Le

from baselines.adaptation.ddgda.preparation import KnownSimilarity
from harness.errors.limits import Natural, NonNegative, Positive
from harness.samples.interfaces import Doubles

ClipMethod = Literal["tanh", "clamp", "sigmoid"]
FillMethod = Literal["max", "maxseg", "zero"]


@dataclass(frozen=True)
class WeightRule:
    """How similarity becomes the input of the weight model (qlib's ``MetaTaskDS``), and its output time weights.

    Attributes:
        hist_step_n: History steps H.
        fill_method: What a masked cell takes, as in `DDGDA`.
        undefined_is_best: Treat an undefined cell like a masked one, as qlib does; otherwise it is neutral: the mean of
            its time.
        plain_tail: Rows after the last block weigh 1 instead of like the last block.
    """

    hist_step_n: int
    fill_method: FillMethod
    undefined_is_best: bool
    plain_tail: bool

    def meta_input(self, known: KnownSimilarity) -> Doubles:
        """Return (H, K), mean centred similarity of each history step, oldest first, to each block; needs H·step rows.

        Cells whose time lies in [block start, block end + look_ahead − 1] share labels with the block and are masked.
        Of each of the last H·step times the mean over the other cells is subtracted; then masked cells are filled.
        """
        rows = self.hist_step_n * known.step
        values, masked = known.values[-rows:], known.overlap[-rows:]
        missing = np.isnan(values)
        centred = np.where(masked | missing, np.nan, values)
        count = np.maximum((~np.isnan(centred)).sum(axis=1), 1)
        centred -= (np.nansum(centred, axis=1) / count)[:, None]
        if not self.undefined_is_best:
            centred[missing & ~masked] = 0.0
        steps = _filled(centred, self.fill_method).reshape(self.hist_step_n, known.step, -1)
        return np.ascontiguousarray(steps.mean(axis=1))


def _filled(centred: Doubles, method: FillMethod) -> Doubles:
    absent = np.isnan(centred)
    if method == "max":
        best = np.max(np.where(absent, -np.inf, centred), axis=1, initial=-np.inf)
        centred = np.where(absent, best[:, None], centred)
    elif method == "maxseg":
        centred = np.where(absent, _best_by_period(centred, absent)[None, :], centred)
    return np.where(np.isfinite(centred), centred, 0.0)


def _best_by_period(centred: Doubles, absent: npt.NDArray[np.bool_]) -> Doubles:
    """Return (K,) the largest mean, over the times at which a block is absent, of the blocks present at all of them."""
    best = np.full(centred.shape[1], np.nan)
    for block in np.flatnonzero(absent.any(axis=0)):
        period = centred[absent[:, block]]
        complete = period[:, ~np.isnan(period).any(axis=0)]
        if complete.shape[1]:
            best[block] = complete.mean(axis=0).max()
    return best


@dataclass(frozen=True)
class MetaTraining:
    """How the weight model is trained.

    Attributes:
        clip_method: From score u to weight, with bound c: ``tanh`` c to the power tanh(u), ``clamp`` eᵘ cut to [1/c,
            c], ``sigmoid`` logistic(u) scaled to a mean of 1.
        clip_weight: The bound c, above 1; None: eᵘ, unbounded.
        alpha: Ridge penalty of the inner problem.
        criterion: Outer loss: minus the mean correlation, or the paper's squared error.
        lr: Adam's step size.
        max_epoch: Passes over the meta-tasks.
    """

    clip_method: ClipMethod
    clip_weight: Annotated[float, Gt(1), Le(1e12)] | None
    alpha: NonNegative
    criterion: Literal["ic_loss", "mse"]
    lr: Positive
    max_epoch: Natural

    @property
    def shape(self) -> WeightShape:
        return WeightShape(self.clip_method, self.clip_weight)


@dataclass(frozen=True)
class WeightShape:
    """How a score u becomes a weight: see `MetaTraining`."""

    method: ClipMethod
    clip_weight: float | None


@dataclass(frozen=True, eq=False)
class WeightModel:
    """A trained weight model: u = scale · (aᵀP + bias − mean over blocks), w = shape(u).

    Attributes:
        coefficients: (H,) float64, a: one per history step, oldest first.
        bias: Cancelled by the mean; kept because the published model has it.
        scale: k.
        shape: From u to w.
    """

    coefficients: Doubles
    bias: float
    scale: float
    shape: WeightShape

    def weights(self, meta: Doubles) -> Doubles:
        """Return (K,) float64 weights of the K blocks of an (H, K) meta input."""
        score = self.coefficients @ meta + self.bias
        score = (score - score.mean()) * self.scale
        bound = self.shape.clip_weight
        if bound is None or self.shape.method == "clamp":
            weights: Doubles = np.exp(score)
            return weights if bound is None else np.clip(weights, 1.0 / bound, bound)
        if self.shape.method == "tanh":
            return np.asarray(np.exp(np.tanh(score) * np.log(bound)))
        logistic = 0.5 * (1.0 + np.tanh(0.5 * score))
        return np.asarray(logistic / logistic.mean())


@dataclass(frozen=True)
class MetaScore:
    """One line of the meta-training history.

    Attributes:
        stage: ``unweighted``: all weights 1; ``initial``: before the first update; ``trained``: epoch `epoch`.
        epoch: 1, 2, …; 0 before training.
        phase: The tasks it is averaged over.
        loss: Mean of the criterion over the tasks. In a training epoch each task counts before its own update.
        rank_ic: Mean rank IC over all times of the tasks.
    """

    stage: Literal["unweighted", "initial", "trained"]
    epoch: int
    phase: str
    loss: float
    rank_ic: float
