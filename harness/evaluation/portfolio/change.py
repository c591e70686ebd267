"""Whether the field `change` is what price limits take it for: the close over the close before it, minus one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import DataError

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_MOVED = 2e-3  # smaller changes are alike in every unit
_ABSOLUTE, _RELATIVE = 1e-3, 0.02  # rounding of published changes, and of prices
_MOST, _MOST_OF_ONE = 0.05, 0.2  # share of rows that may disagree: of all, and of one instrument
_FEWEST = 5  # rows that say anything about one instrument
_BETTER = 0.2  # another unit is taken for the field's when it misses by this share of what a ratio does


def check_change(panel: Panel, start: int, stop: int) -> None:
    """Refuse a panel whose field ``change`` disagrees with its prices at calendar positions [start, stop).

    Single rows may disagree, at a split or a dividend that the prices leave out; a whole instrument may not, and no
    more than a twentieth of all rows. Without the field there is nothing to check.

    Raises
    ------
    DataError
        With the rows, the first instrument and time, and the unit or the factor by which the field is off.
    """
    if "change" not in panel.fields:
        return
    first = max(start - 1, 0)
    close = panel.fields[panel.price_field][:stop].astype(np.float64)
    before = _filled(close)[first : stop - 1]
    now = close[first + 1 : stop]
    given = panel.fields["change"][first + 1 : stop].astype(np.float64)
    with np.errstate(invalid="ignore"):
        moved = now / before - 1.0
        counts = panel.membership[first + 1 : stop] & ~(np.isnan(moved) | np.isnan(given))
        counts &= np.maximum(np.abs(moved), np.abs(given)) > _MOVED
        off = counts & (np.abs(given - moved) > _ABSOLUTE + _RELATIVE * np.abs(moved))
    rows = counts.sum(axis=0)  # (N,)
    wrong = (rows >= _FEWEST) & (off.sum(axis=0) > _MOST_OF_ONE * rows)
    unit = _unit(given[counts], moved[counts], before[counts])
    if unit is None and not wrong.any() and off.sum() <= _MOST * max(int(rows.sum()), 1):
        return
    bad = off & wrong if wrong.any() and unit is None else off if off.any() else counts
    unit = unit or _unit(given[bad], moved[bad], before[bad])
    at, column = (int(v[0]) for v in np.nonzero(bad))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = float(np.nanmedian(given[bad] / moved[bad]))
    raise DataError(
        f"The field `change` is not the close over the close before, minus one: {int(bad.sum()):,} of "
        f"{int(rows.sum()):,} rows of members that moved disagree, in {int(bad.any(axis=0).sum())} instrument(s); it "
        f"{'looks like ' + unit if unit else 'has no unit that is known'} (median factor {factor:.4g}).",
        where=f"panel.fields.change, first {panel.instruments[column]} at {panel.calendar.format(first + 1 + at)}",
        got=f"{given[at, column]:.6g}",
        expected=f"{moved[at, column]:.6g}, as price limits of evaluation.portfolio.limit_threshold take it",
        hint="give it as a ratio, leave the field out (limits are then made of the close), or set limit_threshold=null",
    )


def _unit(given: Doubles, moved: Doubles, before: Doubles) -> str | None:
    """Return the unit that the given changes are in, when it is another than a ratio and can be told."""
    if given.size < _FEWEST:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        units = {
            "per cent, 100 times a ratio": moved * 100.0,
            "basis points, 10,000 times a ratio": moved * 1e4,
            "money, the close minus the close before": moved * before,
            "the close over the close before": 1.0 + moved,
            "a logarithm of the close over the close before": np.log1p(moved),
            "the change with its sign turned": -moved,
        }
    error = float(np.median(np.abs(given - moved)))
    misses = {name: float(np.nanmedian(np.abs(given - values))) for name, values in units.items()}
    best = min(misses, key=lambda name: misses[name])
    return best if error > 1e-5 and misses[best] < _BETTER * error else None


def _filled(values: Doubles) -> Doubles:
    """Return (T, N) the last value that was not missing up to each time."""
    newest = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.shape[0])[:, None]), axis=0)
    filled: Doubles = np.take_along_axis(values, newest, axis=0)
    return filled
