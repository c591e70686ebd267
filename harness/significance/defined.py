"""The part of a series that is defined, and whether there is enough of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ConfigError, DataError

__all__ = ["Doubles", "check_look_ahead", "defined_rows", "is_long_enough", "varies"]

Doubles = npt.NDArray[np.float64]

SHORTEST = 8
SPANS = 3  # non-overlapping labels that a series must hold before its long-run variance means anything


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


def is_long_enough(count: int, look_ahead: int) -> bool:
    """Whether `count` values of that overlap carry any information on their own variance."""
    return count >= max(SHORTEST, SPANS * look_ahead)


def varies(values: Doubles, magnitude: float) -> bool:
    """Whether (T,) values differ by more than the rounding errors of numbers of that magnitude."""
    return values.size > 0 and float(np.ptp(values)) > 16 * float(np.finfo(np.float64).eps) * magnitude


def check_look_ahead(look_ahead: int, where: str) -> None:
    """Refuse a look-ahead below one, the value of series that do not overlap."""
    if look_ahead < 1:
        raise ConfigError("A look-ahead is at least one time.", where=where, got=look_ahead, expected="≥ 1")
