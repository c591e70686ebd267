"""Raw daily rows, as exporters write them, as a panel holds them: units, days without trade, factor and vwap.

The factor is the running product of (last close / previous close as the exchange published it on the day), which is 1
on every day but an ex-day. It starts at 1 in an instrument's first row and knows nothing later: a new day changes no
old row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.data.panel import Bools, Doubles
from harness.data.rows import Rows
from harness.data.validation import PRICES
from harness.errors import ConfigError, DataError
from harness.errors.limits import Positive, check_limits

ZeroVolume = Literal["kept", "suspended"]
_ROUNDING = 1e-3
_ODD = 0.01  # a larger share of rows outside the day's range is no accident


@dataclass(frozen=True)
class Units:
    """What a 1 in the file means.

    Attributes:
        volume: Shares; None takes the volumes as they are.
        amount: Currency. The column ``amount`` is then read as ``vwap``; None leaves it a field like any other.

    Raises:
        ConfigError: When a unit is not positive.
    """

    volume: Positive | None = None
    amount: Positive | None = None

    def __post_init__(self) -> None:
        check_limits(self, "data.units")


@dataclass(frozen=True)
class RawPrices:
    """How the rows of a table become those of a panel; by default they stay as they are.

    Attributes:
        columns: canonical name → column of the file.
        units: What a 1 means.
        zero_volume: Whether rows without volume are ``kept`` or those of ``suspended`` days.

    Raises:
        ConfigError: When a column is missing, or two say the same.
    """

    columns: Mapping[str, str]
    units: Units
    zero_volume: ZeroVolume

    def __post_init__(self) -> None:
        names, given, units = self.columns, ", ".join(self.columns), self.units
        for key, is_set, needed in (
            ("data.columns.previous_close", "previous_close" in names, ("close",)),
            ("data.units.volume", units.volume is not None, ("volume",)),
            ("data.units.amount", units.amount is not None, ("amount", "volume", "low", "high")),
            ("data.zero_volume", self.zero_volume == "suspended", ("volume",)),
        ):
            lacking = [name for name in needed if is_set and name not in names]
            if lacking:
                what, got = f"Without `{lacking[0]}` this has no meaning.", f"{given}; no `{lacking[0]}`"
                expected, hint = f"columns for {', '.join(needed)}", f"+data.columns.{lacking[0]}=COLUMN names it"
                raise ConfigError(what, where=key, got=got, expected=expected, hint=hint)
        for name, other, is_read in (
            ("factor", "previous_close", "previous_close" in names),
            ("vwap", "amount", units.amount is not None),
        ):
            if is_read and name in names:
                what, expected = f"Both `{other}` and `{name}` say what the {name} is.", "one of them"
                hint = f"'~data.columns.{name}' computes it, '~data.columns.{other}' takes the file's"
                raise ConfigError(what, where="data.columns", got=given, expected=expected, hint=hint)

    def adjusted(self, rows: Rows, *, where: str, spot: Callable[[int], str]) -> Rows:
        """Return the rows that were traded, with prices × factor and volumes / factor.

        Args:
            rows: Each key once, in any order.
            where: The files, for messages.
            spot: Says in which file and row the row at a position stands.

        Raises:
            DataError: When nothing was traded, a close or a previous close is missing on a day with volume, or not
                positive, or a vwap lies outside the day's range.
        """
        fields, kept = rows.fields, np.ones(len(rows), dtype=bool)
        if self.zero_volume == "suspended" and "volume" in fields:
            kept &= ~np.isnan(fields["volume"]) & (fields["volume"] != 0)
        if "previous_close" in fields:
            # A day that was traded and has no close is a mistake: its return would be taken for an ex-day.
            was_open = (fields["volume"] > 0) if "volume" in fields else np.False_
            kept &= ~np.isnan(fields["close"]) | was_open
        if not kept.any():
            what, got = "Not a single row was traded.", f"{len(rows)} row(s), all without volume or close"
            raise DataError(what, where=where, got=got, expected="rows with volume > 0 and a close")
        positions = np.flatnonzero(kept)
        rows = rows if kept.all() else rows.take(kept)

        def refuse(bad: Bools, fault: str, values: Mapping[str, Doubles], expected: str, hint: str) -> None:
            def spot_of_kept(at: int) -> str:
                return spot(int(positions[at]))

            rows.refuse(bad, fault, spot=spot_of_kept, where=where, expected=expected, hint=hint, values=values)

        made: dict[str, Doubles] = {}
        if "volume" in fields and self.units.volume is not None:
            made["volume"] = _doubles(rows, "volume") * self.units.volume
        if "amount" in fields and self.units.amount is not None:
            made["vwap"] = _vwap(rows, self.units, refuse)
        if "previous_close" in fields:
            factor = _factor(rows, refuse)
            raw = {name: _doubles(rows, name) for name in (*PRICES, "volume") if name in fields} | made
            made = {name: values / factor if name == "volume" else values * factor for name, values in raw.items()}
            made["factor"] = factor
        read = {"previous_close"} | ({"amount"} if "vwap" in made and self.units.amount is not None else set())
        left = {name: values for name, values in rows.fields.items() if name not in read}
        return replace(rows, fields=left | {name: values.astype(np.float32) for name, values in made.items()})


def _doubles(rows: Rows, name: str) -> Doubles:
    return rows.fields[name].astype(np.float64)


def _factor(rows: Rows, refuse: Callable[..., None]) -> Doubles:
    """Return (n,) the running product of last close / previous close over each instrument's own rows."""
    import pandas as pd  # slow to import

    order = np.lexsort((rows.times, rows.codes))
    values = {name: _doubles(rows, name) for name in ("previous_close", "close")}
    close, previous, code = values["close"][order], values["previous_close"][order], rows.codes[order]
    is_first = np.append(True, code[1:] != code[:-1])  # what was published then compares with a row that is not here
    for name, is_needed in (("close", np.ones(len(order), dtype=bool)), ("previous_close", ~is_first)):
        bad = np.zeros(len(order), dtype=bool)
        bad[order] = is_needed & ~((values[name][order] > 0) & np.isfinite(values[name][order]))
        expected = "a positive number on each traded day, but for an instrument's first row"
        hint = "mend it; remove the row if nothing was traded: data.zero_volume=suspended does where there is no volume"
        refuse(bad, f"have no positive `{name}`", {name: values[name]}, expected, hint)
    step = np.ones(len(order))
    step[1:] = np.where(is_first[1:], 1.0, close[:-1] / np.where(is_first, 1.0, previous)[1:])
    factor = np.empty(len(order))
    factor[order] = pd.Series(step).groupby(code).cumprod()
    return factor


def _vwap(rows: Rows, units: Units, refuse: Callable[..., None]) -> Doubles:
    """Return (n,) amount / volume, NaN without volume. Amounts and volumes may be rounded to half a unit."""
    per_amount, per_volume = units.amount or 1.0, units.volume or 1.0
    amount, volume = _doubles(rows, "amount") * per_amount, _doubles(rows, "volume") * per_volume
    vwap = _ratio(amount, volume)
    least = _ratio(amount - per_amount / 2, volume + per_volume / 2)
    most = _ratio(amount + per_amount / 2, volume - per_volume / 2)  # NaN, no bound, for half a unit of volume
    values = {"vwap": vwap} | {name: _doubles(rows, name) for name in ("low", "high")}
    bad = (least > values["high"] * (1 + _ROUNDING)) | (most < values["low"] * (1 - _ROUNDING))
    bad &= ~np.isnan(vwap)
    if bad.any():
        times = float(np.nanmedian(values["high"] / np.where(vwap > 0, vwap, np.nan))) if (vwap > 0).any() else 1.0
        hint = "the units fit the other rows: correct these, or leave their amount empty"
        if not 1 / 3 < times < 3:
            hint = (
                f"the units are wrong: prices are about {float(f'{times:.2g}'):g} times amount / volume; "
                "data.units.amount and data.units.volume say what a 1 means, 1000 and 100 for thousands of yuan and "
                "lots of 100 shares"
            )
        elif bad.mean() > _ODD:
            hint = "prices are adjusted but amounts are not: '~data.columns.amount' leaves the vwap out"
        expected = f"amount × {per_amount:g} / (volume × {per_volume:g}) within the day's low … high, but for rounding"
        refuse(bad, "have a vwap outside the day's range", values, expected, hint)
    return vwap


def _ratio(above: Doubles, below: Doubles) -> Doubles:
    found: Doubles = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return found
