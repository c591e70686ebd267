"""How factor premia drift: their path, and what is known about their future at every time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


def portable(values: Doubles) -> Doubles:
    """Return `values` rounded to single precision, as float64.

    exp, sin and tanh differ in their last place between processors and libraries; +, −, ×, / and √ do not. Rounded
    right after such a function, the error is gone (but for one value in some hundred million), and with it the
    difference between the fingerprints that two machines would compute from the same seed.
    """
    return values.astype(np.float32).astype(np.float64)


def half_life_decay(half_life: float) -> float:
    """Return 2^(−1 / half_life), rounded to twelve places for the same reason."""
    return round(float(0.5 ** (1.0 / half_life)), 12)


Drift = Literal["none", "gradual", "recurring", "abrupt"]
Doubles = npt.NDArray[np.float64]

_SHORTEST_PERIOD, _LONGEST_PERIOD = 1.5, 4.0


@dataclass(frozen=True, eq=False)
class Premia:
    """Premia per unit of exposure; T times, J factors, K steps ahead.

    Attributes:
        paid: (T, J) float64, the premium paid in the step that ends at t.
        expected: (T, K, J) float64, E[paid[t + k] | state at t] for k = 1 … K.
    """

    paid: Doubles
    expected: Doubles


@dataclass(frozen=True)
class PremiumProcess:
    """J premia p = (√stable · sign + √(1 − stable) · z) / √J, so that Σ_j E[p_j²] = 1; independent of the exposures.

    The state z has mean 0 and variance 1; with τ = `time_scale`:

    ============  ==============================================================  ==============================
    drift         state                                                           E[z_{t+k} | t]
    ============  ==============================================================  ==============================
    none          p = sign / √J for ever
    gradual       stationary AR(1), half-life τ: φ = 2^(−1/τ)                     φ^k · z_t
    recurring     √2 · sin(2π t / P_j + phase_j), P_j geometric from 1.5 τ to 4τ  z_{t+k}: the phase is known
    abrupt        constant, redrawn from N(0, 1) in each step with h = 1/τ        (1 − h)^k · z_t
    ============  ==============================================================  ==============================

    Attributes:
        drift: The kind.
        factors: J.
        stable: Share of the mean square that never changes, in [0, 1]; 1 when nothing drifts.
        time_scale: τ in steps.
    """

    drift: Drift
    factors: int
    stable: float
    time_scale: float

    def draw(self, times: int, steps: int, rng: np.random.Generator) -> Premia:
        """Return the premia of `times` steps, with expectations up to `steps` ahead."""
        signs = rng.choice([-1.0, 1.0], size=self.factors)
        state, ahead = self._state(times, steps, rng)
        stable = 1.0 if self.drift == "none" else self.stable
        fixed, moving = np.sqrt(stable / self.factors) * signs, np.sqrt((1.0 - stable) / self.factors)
        return Premia(paid=fixed + moving * state, expected=fixed + moving * ahead)

    def _state(self, times: int, steps: int, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
        """Return z (T, J) and E[z_{t+k} | t] (T, K, J)."""
        shape = (times, self.factors)
        match self.drift:
            case "none":
                return np.zeros(shape), np.zeros((times, steps, self.factors))
            case "gradual":
                decay = half_life_decay(self.time_scale)
                state = autoregression(decay, rng.standard_normal(shape))
                return state, _powers(decay, steps)[:, None] * state[:, None, :]
            case "recurring":
                period = self.time_scale * portable(np.geomspace(_SHORTEST_PERIOD, _LONGEST_PERIOD, self.factors))
                phase = rng.uniform(0.0, 2.0 * np.pi, self.factors)
                angle = 2.0 * np.pi * np.arange(times + steps)[:, None] / period + phase
                wave = np.sqrt(2.0) * portable(np.sin(angle))
                return wave[:times], wave[np.arange(times)[:, None] + np.arange(1, steps + 1)]
            case "abrupt":
                hazard = 1.0 / self.time_scale
                fresh = rng.random(times) < hazard
                regime = np.maximum.accumulate(np.where(fresh, np.arange(times), 0))
                state = rng.standard_normal(shape)[regime]
                return state, _powers(1.0 - hazard, steps)[:, None] * state[:, None, :]


def _powers(base: float, steps: int) -> Doubles:
    """Return (K,) base^1 … base^K."""
    powers: Doubles = np.cumprod(np.full(steps, base))
    return powers


def autoregression(decay: float, shocks: Doubles) -> Doubles:
    """Return the stationary AR(1) x_t = decay · x_{t−1} + √(1 − decay²) · shock_t along axis 0, x_0 = shock_0.

    `shocks` are independent standard normals; then every x_t is standard normal.
    """
    path: Doubles = shocks * np.sqrt(1.0 - decay * decay)
    path[0] = shocks[0]
    for before, now in itertools.pairwise(path):
        now += decay * before
    return path
