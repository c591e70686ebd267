"""Gram blocks and weighted solves over a sample table (section 5 of the design)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["GramBlocks", "NormalEquations"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Weighted sufficient statistics of a least-squares problem; p features, all float64.

    Attributes
    ----------
    gram
        (p, p) XᵀWX.
    moment
        (p,) XᵀWy.
    feature_sum
        (p,) XᵀW1.
    label_sum, label_square
        1ᵀWy and yᵀWy.
    weight_sum
        1ᵀW1.
    count
        Rows with a label.
    """

    gram: Doubles
    moment: Doubles
    feature_sum: Doubles
    label_sum: float
    label_square: float
    weight_sum: float
    count: int

    @classmethod
    def from_rows(cls, features: Floats, label: Floats, weights: Doubles | None) -> NormalEquations:
        """Return the statistics of (m, p) rows; rows without a label (NaN) do not count."""
        raise NotImplementedError


class GramBlocks:
    """Blockwise statistics G_b, m_b over consecutive times, shared by every window and every weighting."""

    def weighted(self, start: int, stop: int, per_time: Doubles | None) -> NormalEquations:
        """Return the statistics of positions [start, stop) with one weight per time."""
        raise NotImplementedError
