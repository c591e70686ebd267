"""What a panel must fulfil (errors), what looks odd in one (findings), and what it holds (a description)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from harness.data.calendar import Calendar, frequency_of
from harness.data.panel import Benchmark, Bools, Floats, Panel, last_seen
from harness.data.text_files import SHOWN, first_of
from harness.errors import DataError

PRICES = ("open", "high", "low", "close", "vwap")
_NEGATIVE_HINT = (
    "leave the rows out if nothing was traded; prices of futures or spreads that are negative in truth: "
    "data.negative_prices=true (data=tabular)"
)
_EXTREME_RETURN = 0.5
_ROUNDING = 1e-5

_CHANGED = 1e-4  # a smaller change of the factor is noise of whoever divided two rounded prices
_UNDONE_WITHIN = 20  # times
_NEW = 5  # the first rows of an instrument: new listings have no limit, or another one
_HALF_TICK = 0.005  # exchanges round the prices at the limit to 0.01
_SLACK, _SLACK_WITHOUT_FACTOR = 0.001, 0.01  # without a factor the unadjusted price, and so its tick, is not known
_A_SHARES = re.compile(r"(?i)(SH|SZ|BJ)\.?\d{6}|\d{6}\.(SH|SS|SZ|BJ|XSHG|XSHE)")
_A_SHARE_LIMIT = 0.10
_BOARDS = (  # the digits of a code, since when, how many times the limit of the main boards
    (re.compile(r"\D*68[89]\d{3}\D*"), "2019-07-22", 2.0),  # STAR
    (re.compile(r"\D*30[01]\d{3}\D*"), "2020-08-24", 2.0),  # ChiNext
    (re.compile(r"(?i)BJ\.?\d{6}|\d{6}\.BJ"), "2021-11-15", 3.0),  # Beijing
)
_UNDONE = "factors change and return to their earlier value: an ex-day that was undone"
_UNDONE_ADVICE = (
    "look the ex-day up in another source; if there was none, the returns of both days are wrong: from the day until "
    "`back`, not included, the factor is `before`, and prices are to be adjusted by it"
)
_BEYOND_ADVICE = (
    "look the day up in another source: a wrong factor, an ex-day that prices are not adjusted for, a wrong price, "
    "or a day without a limit; evaluation.portfolio.limit_threshold sets the limit, null where the market has none"
)


@dataclass(frozen=True)
class Finding:
    """Something odd that is not an error.

    Attributes:
        what: Its kind.
        count: How many pairs (time, instrument) it concerns.
        examples: The first few, as text.
        advice: What to do, where the kind alone does not say it.
    """

    what: str
    count: int
    examples: tuple[str, ...]
    advice: str = ""


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


def validate(panel: Panel, *, limit: float | None = None) -> list[Finding]:
    """Return what looks odd in a valid panel, worst first; nothing here is an error.

    Factors that change and return, moves beyond the daily limit; then, by their count, members without a price (unless
    everyone is always a member), prices outside the day's range, moves beyond ±50 % between consecutive prices, prices
    without volume, instruments that never trade, times at which nobody trades, gaps in the benchmark.

    Args:
        limit: The most that a price may move in a day, on the main boards where there are others. None: there is none.
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
        before = np.full_like(prices, np.nan)
        before[1:] = last_seen(prices, traded)[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):  # prices of spreads may be 0
            moves = prices / before - 1
        findings.append(_cells(panel, np.abs(moves) > _EXTREME_RETURN, "moves exceed ±50 %", (panel.price_field,)))
        if limit is not None and frequency_of(panel.calendar).name.startswith("daily"):
            findings.append(_beyond_limit(panel, before, moves, limit))
    else:
        findings += _holes(panel)
    if "factor" in fields:
        findings.append(_undone_factors(panel))
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
    return sorted((f for f in findings if f.count), key=lambda finding: (not finding.advice, -finding.count))


def _holes(panel: Panel) -> list[Finding]:
    """Name series that begin late, and times within a series without a value, such as hours that clocks leave out."""
    traded, shown = panel.traded, panel.calendar.format
    begun, over = np.logical_or.accumulate(traded), ~np.logical_or.accumulate(traded[::-1])[::-1]
    first = {panel.instruments[at]: int(traded[:, at].argmax()) for at in np.flatnonzero(traded.any(axis=0)).tolist()}
    late = [f"{name} {shown(at)}" for name, at in first.items() if at > 0]
    return [
        Finding("series begin after the first time", len(late), tuple(late[:SHOWN])),
        _cells(panel, begun & ~over & ~traded, "times within a series have no value", ()),
    ]


def a_share_limit(instruments: Iterable[str]) -> float | None:
    """Return the daily limit of China's main boards when all codes are of its exchanges (``SH600000``), else None."""
    return _A_SHARE_LIMIT if all(_A_SHARES.fullmatch(code) for code in instruments) else None


def _undone_factors(panel: Panel) -> Finding:
    """Name the first day of each change of the factor that is undone within `_UNDONE_WITHIN` times."""
    factor = panel.fields["factor"]
    known = ~np.isnan(factor)
    before = np.full_like(factor, np.nan)
    before[1:] = last_seen(factor, known)[:-1]
    column, time = np.nonzero((np.abs(factor / before - 1) > _CHANGED).T)  # n changes, by instrument, then by time
    old, new = before[time, column], factor[time, column]
    back = np.zeros_like(time)  # the time at which the old value is back, 0: it never is
    for later in range(min(_UNDONE_WITHIN, time.size - 1), 0, -1):
        near = (column[later:] == column[:-later]) & (time[later:] - time[:-later] <= _UNDONE_WITHIN)
        near &= np.abs(new[later:] / old[:-later] - 1) <= _ROUNDING
        back[:-later][near] = time[later:][near]
    until = np.zeros(factor.shape, dtype=np.intp)
    until[time, column] = back

    def shown(at: int, of: int) -> str:
        after, day = factor[until[at, of], of], panel.calendar.format(int(until[at, of]))
        return f" before={before[at, of]:g} after={after:g} back={day}"

    return replace(_cells(panel, until > 0, _UNDONE, ("factor",), shown), advice=_UNDONE_ADVICE)


def _beyond_limit(panel: Panel, before: Floats, moves: Floats, limit: float) -> Finding:
    """Name moves beyond the daily limit; the first rows of an instrument and the day after a suspension may be free."""
    prices, times = panel.fields[panel.price_field], panel.calendar.times
    limits = np.full_like(prices, limit)
    for code, since, times_as_wide in _BOARDS:
        of_board = np.array([code.fullmatch(instrument) is not None for instrument in panel.instruments])
        limits[np.ix_(times >= np.datetime64(since), of_board)] *= times_as_wide
    slack = np.full_like(prices, _SLACK_WITHOUT_FACTOR)
    if "factor" in panel.fields:
        with np.errstate(divide="ignore"):  # before / factor: the last close, as it is published on the day
            tick = np.abs(_HALF_TICK * panel.fields["factor"] / before)
        slack = np.where(np.isnan(tick), slack, _SLACK + tick)
    is_open = panel.traded & ~(panel.fields["volume"] == 0) if "volume" in panel.fields else panel.traded
    bad = is_open & (np.cumsum(is_open, axis=0) > _NEW) & (np.abs(moves) > limits + slack)
    bad[1:] &= is_open[:-1]

    def shown(at: int, of: int) -> str:
        later = prices[at + 1 :, of]
        after = next((f"{price:g}" for price in later[~np.isnan(later)]), "none")
        return f" before={before[at, of]:g} after={after} return={moves[at, of]:+.2%} limit={limits[at, of]:.0%}"

    what = f"moves exceed the daily price limit of {100 * limit:g} %"
    return replace(_cells(panel, bad, what, (panel.price_field,), shown), advice=_BEYOND_ADVICE)


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


def _cells(
    panel: Panel, bad: Bools, what: str, names: tuple[str, ...], more: Callable[[int, int], str] = lambda at, of: ""
) -> Finding:
    examples = []
    for at, of in np.transpose(np.unravel_index(np.flatnonzero(bad)[:SHOWN], bad.shape)).tolist():
        values = "".join(f" {name}={panel.fields[name][at, of]:g}" for name in names)
        examples.append(f"{panel.calendar.format(at)} {panel.instruments[of]}{values}{more(at, of)}")
    return Finding(what, int(np.count_nonzero(bad)), tuple(examples))
