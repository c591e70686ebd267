"""Projections on a few slow cosines for much less than one multiplication per time and cosine.

The cosines of `harness.evaluation.significance.long_run` hardly bend within a short chunk of times: through their values at 12
Chebyshev nodes goes a polynomial that is equal to them up to rounding. So a series only needs its 12 weighted sums per
chunk, whatever the number of cosines; each cosine is then a sum over the nodes. With half a chunk of phase
h = πνw/(2T) ≤ 0.49 the interpolation is off by 2(h/2)¹²/12! < 2⁻⁵² (Trefethen 2013, "Approximation theory and
approximation practice", theorem 8.2 with a cosine's derivatives). Short series, where that would not pay, are projected
on the cosines themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.evaluation.significance.defined import Doubles

_NODES = 12
_HALF_PHASE = 0.49


@dataclass(frozen=True, eq=False)
class Projector:
    """Weights that turn a series into its sum and its projections.

    Attributes
    ----------
    weights
        (w, n) float64, of the times of a chunk in its n sums.
    cosines
        (C, n, 1 + ν) float64, what each sum of each chunk adds to the total and to the ν projections.
    """

    weights: Doubles
    cosines: Doubles


def projector(count: int, degrees: int) -> Projector:
    """Return what projects series of T times on the orthonormal cosines 1 … ν, see `cosine_basis`."""
    width = max(int(2.0 * _HALF_PHASE * count / (np.pi * degrees)), 1)
    chunks = -(-count // width)
    wanted = 1 + degrees
    if count * wanted <= _NODES * (count + chunks * wanted):
        return Projector(_cosines(np.arange(count, dtype=np.float64), count, degrees), np.eye(wanted)[None])
    nodes = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)  # on [−1, 1]
    local = (2.0 * np.arange(width) + 1.0) / width - 1.0
    orders = np.arange(1, _NODES)
    # Lagrange polynomials by the discrete orthogonality of Chebyshev's, which loses no digits.
    chebyshev = np.cos(orders * np.arccos(local)[:, None]) @ np.cos(orders[:, None] * np.arccos(nodes))
    times = width * (np.arange(chunks)[:, None] + (nodes + 1.0) / 2.0) - 0.5  # (C, n)
    return Projector((1.0 + 2.0 * chebyshev) / _NODES, _cosines(times, count, degrees))


def _cosines(times: Doubles, count: int, degrees: int) -> Doubles:
    """Return (…, 1 + ν): one, and the orthonormal cosines at (…) times."""
    angles = np.pi / count * (times[..., None] + 0.5) * np.arange(1 + degrees)
    found: Doubles = np.cos(angles)
    found[..., 1:] *= np.sqrt(2.0 / count)
    return np.ascontiguousarray(found)
