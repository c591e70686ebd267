"""The part of a series that is defined, and whether there is enough of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError

Doubles = npt.NDArray[np.float64]

SHORTEST = 8
SPANS = 5  # labels that must fit side by side into a series: fewer leave its long-run variance no two clean cosines
ROUNDING = 1e-12  # numbers of magnitude one that differ by less differ by nothing but rounding errors
_FEWEST_MOVING = 4  # of three values that differ from all others, a resample misses every one in e⁻³ = 5 % of all cases


def defined_rows(where: str, *series: npt.NDArray[Any]) -> tuple[Doubles, ...]:
    """Return the rows in which every (S,) or (S, M) series is defined, as contiguous float64.

    Raises
    ------
    DataError
        When the lengths differ, an array has another number of axes, or a value is infinite.
    """
    shapes = [values.shape for values in series]
    if any(len(shape) not in (1, 2) or shape[0] != shapes[0][0] for shape in shapes):
        raise DataError(
            "Series of the same times are needed.",
            where=where,
            got=shapes,
            expected="one value per time, equal lengths",
        )
    keep = np.ones(shapes[0][0], dtype=np.bool_)
    for values in series:
        if np.isinf(values).any():
            raise DataError("A series holds an infinite value.", where=where, expected="finite, or NaN if undefined")
        missing = np.isnan(values)
        keep &= ~(missing if missing.ndim == 1 else missing.any(axis=1))
    return tuple(np.ascontiguousarray(values[keep], dtype=np.float64) for values in series)


def shortest(look_ahead: int) -> int:
    """Return how many values of that overlap are needed before anything is known of their long-run variance."""
    return max(SHORTEST, SPANS * look_ahead)


def is_long_enough(count: int, look_ahead: int) -> bool:
    """Whether `count` values of that overlap carry any information on their own variance."""
    return count >= shortest(look_ahead)


def why_untested(count: int, look_ahead: int) -> str:
    """Return in words why `count` values of that overlap have neither interval nor t-value."""
    if is_long_enough(count, look_ahead):
        return "nearly all values are equal"
    if look_ahead == 1:
        return f"{count} defined values are fewer than {SHORTEST}"
    return f"{count} defined values are fewer than {shortest(look_ahead)}, {SPANS} times the look-ahead of {look_ahead}"


def is_constant(values: Doubles, magnitude: float) -> bool:
    """Whether (T,) values differ by no more than the rounding errors of numbers of that magnitude."""
    return values.size == 0 or float(np.ptp(values)) <= ROUNDING * magnitude


def varies(values: Doubles, magnitude: float) -> bool:
    """Whether (T,) values differ often enough to tell how far their mean could have moved.

    At least four must differ, by more than the rounding errors of numbers of that magnitude, from the median. One odd
    value among equal ones is a single event: nothing is known of how often it happens.
    """
    if values.size == 0:
        return False
    moving = np.abs(values - np.median(values)) > ROUNDING * magnitude
    return int(moving.sum()) >= _FEWEST_MOVING


def check_look_ahead(look_ahead: int, where: str) -> None:
    """Refuse a look-ahead below one, the value of series that do not overlap."""
    if look_ahead < 1:
        raise ConfigError("A look-ahead is at least one time.", where=where, got=look_ahead, expected="≥ 1")
