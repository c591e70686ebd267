"""Make simulated numbers the same on every processor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


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
