"""What a panel must fulfil (errors), what looks odd in one (findings), and what it holds (a description)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar, frequency_of
from harness.data.panel import Benchmark, Panel, last_seen
from harness.data.text_files import SHOWN, first_of
from harness.errors import DataError

Bools = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close", "vwap")
_NEGATIVE_HINT = (
    "leave the rows out if nothing was traded; prices of futures or spreads that are negative in truth: "
    "data.negative_prices=true (data=tabular)"
)
_EXTREME_RETURN = 0.5
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Finding:
    """Something odd that is not an error: how many pairs (time, instrument) it concerns, and the first few as text."""

    what: str
    count: int
    examples: tuple[str, ...]


def check_panel(panel: Panel, *, where: str, any_sign: bool = False) -> Panel:
    """Return the panel when it fulfils the contract of market data.

    Fields named open, high, low, close, vwap and factor must be positive (prices need not with `any_sign`), volume not
    negative, high not below low, nothing infinite; NaN means "not traded" and is always allowed. There must be prices,
    and members that have some. Fields of other names may hold any finite number. A benchmark has a level at some time,
    and its levels are as prices.

    Raises:
        DataError: With the number of offending values and the first ones.
    """
    fields = panel.fields

    def refuse(bad: Bools, names: tuple[str, ...], what: str, expected: str, hint: str | None = None) -> None:
        found = _cells(panel, bad, what, names)
        if found.count:
            what = f"{found.count} {found.what}."
            raise DataError(what, where=where, got=first_of(found.examples), expected=expected, hint=hint)

    for name, values in fields.items():
        refuse(np.isinf(values), (name,), f"values of `{name}` are infinite", "finite numbers, or none")
        if name == "factor" or (name in PRICES and not any_sign):
            hint = _NEGATIVE_HINT if name in PRICES else None
            refuse(values <= 0, (name,), f"values of `{name}` are not positive", "positive numbers", hint)
    if "volume" in fields:
        refuse(fields["volume"] < 0, ("volume",), "volumes are negative", "numbers ≥ 0")
    if "high" in fields and "low" in fields:
        refuse(fields["high"] < fields["low"], ("high", "low"), "rows have high < low", "high ≥ low")
    if not panel.traded.any():
        raise DataError("There is not a single price.", where=where, got=f"no value in `{panel.price_field}`")
    if not (panel.traded & panel.membership).any():
        what, expected = "Membership and prices do not overlap: no member ever has a price.", "a time at which one has"
        got = f"{int(panel.membership.sum())} memberships and {int(panel.traded.sum())} prices"
        raise DataError(what, where=where, got=got, expected=expected)
    if panel.benchmark is not None:
        _check_benchmark(panel.benchmark, panel.calendar, where, any_sign)
    return panel


def _check_benchmark(benchmark: Benchmark, calendar: Calendar, where: str, any_sign: bool) -> None:
    level = benchmark.close
    if np.isnan(level).all():
        what, got = "The benchmark and the panel do not overlap.", f"no level of {benchmark.name} in {calendar.reach}"
        hint = "both need the same times: a day at 15:00 is not the same as that day without a time"
        raise DataError(what, where=where, got=got, hint=hint)
    bad = np.flatnonzero(np.isinf(level) | ((level <= 0) & (not any_sign)))
    if bad.size:
        what = f"{bad.size} level(s) of the benchmark {benchmark.name} are not positive numbers."
        got = first_of(f"{calendar.format(int(at))} {level[at]:g}" for at in bad)
        expected = "levels such as 3012.5, and no row, rather than 0, where there is none"
        hint = "returns become levels in pandas: 100 * (1 + returns).cumprod()"
        raise DataError(what, where=where, got=got, expected=expected, hint=hint)


def validate(panel: Panel) -> list[Finding]:
    """Return what looks odd in a valid panel, worst first; nothing here is an error.

    Members without a price (unless everyone is always a member), prices outside the day's range, moves beyond ±50 %
    between consecutive prices, prices without volume, instruments that never trade, times at which nobody trades, gaps
    in the benchmark.
    """
    fields, traded = panel.fields, panel.traded
    findings = []
    if not panel.membership.all():
        findings.append(_cells(panel, panel.membership & ~traded, "members have no price at that time", ()))
    if {"high", "low"} <= set(fields):
        slack = _ROUNDING * fields["high"]
        for name in sorted({"open", "close", "vwap"} & set(fields)):
            outside = (fields[name] > fields["high"] + slack) | (fields[name] < fields["low"] - slack)
            findings.append(_cells(panel, outside, f"`{name}` lies outside low … high", (name, "low", "high")))
    if panel.price_field in PRICES:
        prices = fields[panel.price_field]
        moves = np.full_like(prices, np.nan)
        moves[1:] = prices[1:] / last_seen(prices, traded)[:-1] - 1
        findings.append(_cells(panel, np.abs(moves) > _EXTREME_RETURN, "moves exceed ±50 %", (panel.price_field,)))
    if "volume" in fields:
        findings.append(_cells(panel, traded & ~(fields["volume"] > 0), "prices come without volume", ("volume",)))
    never = [panel.instruments[at] for at in np.flatnonzero(~traded.any(axis=0)).tolist()]
    findings.append(Finding("instruments never trade", len(never), tuple(never[:SHOWN])))
    has_price: Bools = np.asarray(traded.any(axis=1))  # (T,)
    began, ended = np.maximum.accumulate(has_price), ~np.maximum.accumulate(has_price[::-1])[::-1]
    times = {
        "times lie before the first price: the calendar begins too early": ~began,
        "times lie after the last price: the calendar goes on where nothing can be tested": ended,
        "times have no price at all": began & ~ended & ~has_price,
    }
    if panel.benchmark is not None:
        times["times lack a benchmark level"] = np.isnan(panel.benchmark.close)
    for what, bad in times.items():
        first = tuple(panel.calendar.format(at) for at in np.flatnonzero(bad)[:SHOWN].tolist())
        findings.append(Finding(what, int(bad.sum()), first))
    return sorted((f for f in findings if f.count), key=lambda finding: -finding.count)


def describe(panel: Panel) -> dict[str, object]:
    """Return what a panel holds: sizes, period, fields, share of missing values, members a time, fingerprint.

    ``rows`` counts prices of members: the samples that a model can have. A field's missing share is taken over them.
    """
    rows = panel.traded & panel.membership
    per_time, count = rows.sum(axis=1), int(rows.sum())
    low, middle, high = per_time.min(), np.median(per_time), per_time.max()
    frequency = frequency_of(panel.calendar)
    return {
        "name": panel.name,
        "times": len(panel.calendar),
        "instruments": len(panel.instruments),
        "first": panel.calendar.format(0),
        "last": panel.calendar.format(-1),
        "frequency": frequency.name,
        "periods_per_year": frequency.periods_per_year,
        "prices": int(panel.traded.sum()),
        "rows": count,
        "missing": {name: float(np.isnan(values[rows]).sum() / max(count, 1)) for name, values in panel.fields.items()},
        "members_per_time": {"min": int(low), "median": float(middle), "max": int(high)},
        "benchmark": None if panel.benchmark is None else panel.benchmark.name,
        "truth": panel.truth is not None,
        "fingerprint": panel.fingerprint,
    }


def _cells(panel: Panel, bad: Bools, what: str, names: tuple[str, ...]) -> Finding:
    examples = []
    for time, column in zip(*np.unravel_index(np.flatnonzero(bad)[:SHOWN], bad.shape), strict=True):
        values = "".join(f" {name}={panel.fields[name][time, column]:g}" for name in names)
        examples.append(f"{panel.calendar.format(int(time))} {panel.instruments[int(column)]}{values}")
    return Finding(what, int(np.count_nonzero(bad)), tuple(examples))
