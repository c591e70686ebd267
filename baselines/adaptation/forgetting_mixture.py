"""A mixture of forgetting factors: how fast the past fades is judged, as of each decision, by matured losses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from baselines.adaptation.gradual_forgetting import block_starts
from harness.errors import ConfigError
from harness.errors.limits import Count, Positive, check_limits
from harness.execution.threads import one_blas_thread
from harness.samples.interfaces import Doubles, Floats, History, Preprocess, TimeWeights
from harness.samples.preprocess import of_series
from harness.samples.table import Positions
from harness.samples.windows import Window
from harness.store import codec

_STAGE = "forgetting"


@dataclass(frozen=True)
class ForgettingMixture:
    """Exponential forgetting whose half-life is chosen or mixed by the losses of one ridge proxy per half-life.

    The proxies walk forward through the whole past in blocks: each is fitted on what had matured before its block, by
    sums that fade by a factor per block, and forecasts that block. At a decision the losses that have matured say how
    probable each half-life k is (the exponentially weighted average forecaster of Cesa-Bianchi and Lugosi, *Prediction,
    Learning, and Games*, 2006, with discounted losses)

        p_k ∝ exp(−Σ_s 2^(−age(s) / `memory`) · Σ_i (y_si − x_siᵀθ_k)² / (2σ²L))

    L is the look-ahead: labels of L times overlap, and count as one. σ² is the smallest mean square.

    Attributes:
        half_lives: Periods in which a weight halves; null never forgets.
        rule: ``mix`` weights the past by the mean of the half-lives' weights, each of mean 1, under p; ``choose`` by
            those of the most probable half-life.
        memory: Periods in which a loss loses half of its say.
        block: Periods per block of the proxies, and that share one weight.
        alpha: Penalty of the ridge proxies.
        preprocess: What the proxies' features and label go through, fitted before the first test.

    Raises:
        ConfigError: When there are fewer than two half-lives.
    """

    half_lives: tuple[Positive | None, ...]
    rule: Literal["mix", "choose"]
    memory: Positive
    block: Count
    alpha: Positive
    preprocess: Preprocess

    def __post_init__(self) -> None:
        check_limits(self, "adaptation")
        if len(set(self.half_lives)) < 2:
            what, where = "A mixture needs something to mix.", "adaptation.half_lives"
            raise ConfigError(what, where=where, got=list(self.half_lives), expected="two half-lives or more")

    def fit(self, history: History) -> FittedMixture:
        first = history.windows[0]
        view = history.as_of(first.decision)
        fitted = self.preprocess.fit(view, first.train)
        start, found = history.segment.start, list[Doubles]()
        proxies = _Proxies(self, start, view.look_ahead)
        history.observer.start(_STAGE, len(history.windows))
        for window in history.windows:
            view = history.as_of(window.decision)
            for a, b in proxies.chunks(window.learn_stop):
                offsets = view.offsets(a, b)
                own = of_series(fitted, view.codes(a, b))
                features, label = own.features(view.features(a, b), offsets), own.label(view.label(a, b), offsets)
                proxies.learn(features, label, offsets)
            found.append(proxies.probabilities())
            history.observer.advance(_STAGE)
        history.observer.finish(_STAGE)
        decisions = np.array([window.decision for window in history.windows], dtype=np.int64)
        rates = np.array([0.0 if half is None else 1.0 / half for half in self.half_lives])
        return FittedMixture(self.rule, self.block, start, rates, decisions, np.stack(found))

    def load(self, folder: Path) -> FittedMixture:
        return codec.load(folder, FittedMixture, mapped=False)


@dataclass(frozen=True, eq=False)
class FittedMixture:
    """The probabilities of K half-lives in W windows.

    Attributes:
        rule, block: As configured.
        start: The position at which the blocks of equal weight begin.
        rates: (K,) float64, one over each half-life; 0 never forgets.
        decisions: (W,) int64 decision of each window.
        probabilities: (W, K) float64.
    """

    rule: Literal["mix", "choose"]
    block: int
    start: int
    rates: Doubles
    decisions: Positions
    probabilities: Doubles

    def time_weights(self, window: Window) -> TimeWeights:
        starts = block_starts(window, self.start, self.block)
        age = np.arange(starts.size, dtype=np.float64)[::-1] * self.block
        each = np.exp2(-self.rates[:, None] * age)  # (K, blocks)
        p = self.probabilities[int(np.searchsorted(self.decisions, window.decision))]
        if self.rule == "choose":
            return TimeWeights(starts, each[int(p.argmax())])
        return TimeWeights(starts, p @ (each / each.mean(axis=1, keepdims=True)))

    def save(self, folder: Path) -> None:
        codec.save(folder, self)


class _Proxies:
    """K ridge proxies that walk forward, and their losses at every time that they have forecast."""

    def __init__(self, settings: ForgettingMixture, start: int, look_ahead: int) -> None:
        self._settings, self._start, self._at, self._ahead = settings, start, start, look_ahead
        halves = [np.inf if half is None else half for half in settings.half_lives]
        self._fade = np.exp2(-settings.block / np.array(halves))
        self._rows: list[Doubles] = []  # (m, F + 1) of the block that has not ended, label last
        self._sums: Doubles = np.zeros((len(halves), 1, 1))
        self._waiting: deque[tuple[int, Doubles]] = deque()  # from when on proxies forecast, and their (F, K) θ
        self._theta: Doubles | None = None
        # (times, K) sums of squares, and (times,) how many rows they are of
        self._losses, self._counts = [np.zeros((0, len(halves)))], [np.zeros(0)]

    def chunks(self, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the periods up to `stop` that are still to be learned, cut where proxies are fitted or take over."""
        block = self._settings.block
        while self._at < stop:
            done = [(self._at - self._start + shift) % block for shift in (0, self._ahead - 1)]
            yield self._at, min(stop, self._at + block - max(done))

    def learn(self, features: Floats, label: Floats, offsets: Positions) -> None:
        """Judge the forecasts of the next times by their labels, then learn from them."""
        while self._waiting and self._waiting[0][0] <= self._at:
            self._theta = self._waiting.popleft()[1]
        known = ~np.isnan(label)
        rows = np.column_stack([features[known], label[known]]).astype(np.float64)
        if self._theta is not None:
            with one_blas_thread():
                squares = np.square(rows[:, -1:] - rows[:, :-1] @ self._theta)  # (m, K)
            before = np.concatenate([[0], np.cumsum(known)])[offsets]  # (times + 1,)
            sums = np.concatenate([np.zeros((1, squares.shape[1])), np.cumsum(squares, axis=0)])[before]
            self._losses.append(np.diff(sums, axis=0))
            self._counts.append(np.diff(before))
        self._rows.append(rows)
        self._at += offsets.size - 1
        if (self._at - self._start + self._ahead - 1) % self._settings.block == 0:
            self._fit()

    def _fit(self) -> None:
        rows, self._rows = np.concatenate(self._rows), []
        with one_blas_thread():
            self._sums = self._fade[:, None, None] * self._sums + rows.T @ rows
            penalty = self._settings.alpha * np.eye(rows.shape[1] - 1)
            theta = [cho_solve(cho_factor(sums[:-1, :-1] + penalty), sums[:-1, -1]) for sums in self._sums]
        self._waiting.append((self._at + self._ahead - 1, np.stack(theta, axis=1)))

    def probabilities(self) -> Doubles:
        """Return (K,) probabilities by all losses so far; all alike before the first."""
        self._losses, self._counts = [np.concatenate(self._losses)], [np.concatenate(self._counts)]
        say = np.exp2(-np.arange(len(self._counts[0]), dtype=np.float64)[::-1] / self._settings.memory)
        total, weight = say @ self._losses[0], float(say @ self._counts[0])
        if weight == 0 or total.min() == 0:
            return np.full(total.size, 1.0 / total.size)
        evidence = total / (2.0 * (total.min() / weight) * self._ahead)
        p = np.exp(evidence.min() - evidence)
        probabilities: Doubles = p / p.sum()
        return probabilities
