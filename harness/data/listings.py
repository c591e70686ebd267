"""Who is listed, suspended and in the index at each time of a simulated market."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_FIRST_LEVEL = 1000.0


@dataclass(frozen=True, eq=False)
class Listings:
    """Trading status; T times, N instruments.

    Attributes
    ----------
    listed
        (T, N) bool, one span per instrument.
    suspended
        (T, N) bool, spells inside or outside of it.
    """

    listed: Bools
    suspended: Bools

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int],
        *,
        late: int,
        delisted: int,
        suspension: tuple[float, float],
        rng: np.random.Generator,
    ) -> Listings:
        """Draw who comes late (in 5–60 % of the time) or leaves early (50–95 %), and suspensions of geometric length.

        `late` and `delisted` count instruments, none is both; `suspension` is the chance that a spell begins in a step
        and the mean number of steps it lasts. Nothing here depends on prices.
        """
        times, instruments = shape
        order = rng.permutation(instruments)
        first = np.zeros(instruments, dtype=np.int64)
        stop = np.full(instruments, times, dtype=np.int64)
        first[order[:late]] = rng.integers(times // 20, max(3 * times // 5, times // 20 + 1), late)
        stop[order[late : late + delisted]] = rng.integers(times // 2, max(19 * times // 20, times // 2 + 1), delisted)
        when = np.arange(times)[:, None]
        return cls(listed=(when >= first) & (when < stop), suspended=_spells(shape, suspension, rng))

    @property
    def traded(self) -> Bools:
        """(T, N) bool: has it a price."""
        return self.listed & ~self.suspended


def _spells(shape: tuple[int, int], suspension: tuple[float, float], rng: np.random.Generator) -> Bools:
    rate, length = suspension
    starts, columns = np.nonzero(rng.random(shape) < rate)
    stops = np.minimum(starts + rng.geometric(1.0 / length, starts.size), shape[0])
    edges = np.zeros((shape[0] + 1, shape[1]), dtype=np.int32)
    np.add.at(edges, (starts, columns), 1)
    np.add.at(edges, (stops, columns), -1)
    spells: Bools = np.cumsum(edges[:-1], axis=0) > 0
    return spells


def last_seen(price: Doubles, traded: Bools) -> Doubles:
    """Return (T, N), the newest price at which an instrument has traded by each time; NaN before the first."""
    newest = np.maximum.accumulate(np.where(traded, np.arange(price.shape[0])[:, None], -1), axis=0)
    seen = np.take_along_axis(price, np.maximum(newest, 0), axis=0)
    return np.where(newest >= 0, seen, np.nan)


def largest_members(size: Doubles, listed: Bools, count: int, review_every: int) -> Bools:
    """Return (T, N) bool, the `count` largest at the close before each review, until the next one or their delisting.

    `size` (T, N) is NaN while unknown. The first review knows its own close, as there is none before.
    """
    members = np.zeros(size.shape, dtype=bool)
    for start in range(0, size.shape[0], review_every):
        known = np.where(listed[start], np.nan_to_num(size[max(start - 1, 0)], nan=-np.inf), -np.inf)
        ranked = np.argsort(-known, kind="stable")[:count]
        members[start : start + review_every, ranked[np.isfinite(known[ranked])]] = True
    return members & listed


def index_level(seen: Doubles, membership: Bools) -> Doubles:
    """Return (T,) level of an index that holds each time's members in equal weight until the next; starts at 1000.

    `seen` are the newest known prices, so that a suspended member stands still until it trades again.
    """
    moves = np.where(membership[:-1] & np.isfinite(seen[:-1]), seen[1:] / seen[:-1] - 1.0, 0.0)
    held = np.maximum((membership[:-1] & np.isfinite(seen[:-1])).sum(axis=1), 1)
    return _FIRST_LEVEL * np.cumprod(np.concatenate([[1.0], 1.0 + moves.sum(axis=1) / held]))
