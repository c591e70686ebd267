"""What a panel must fulfil (errors), what looks odd in one (findings), and what it holds (a description)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar, frequency_of
from harness.data.panel import Benchmark, Panel
from harness.errors import DataError

Bools = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close", "vwap")
_POSITIVE = (*PRICES, "factor")
_NEGATIVE_HINT = (
    "leave the rows out if nothing was traded; prices of futures or spreads that are negative in truth: "
    "data.negative_prices=true (data=tabular)"
)
_SHOWN = 5
_EXTREME_RETURN = 0.5
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Finding:
    """Something odd that is not an error.

    Attributes:
        what: One line.
        count: How many (time, instrument) pairs it concerns.
        examples: The first few, as text.
    """

    what: str
    count: int
    examples: tuple[str, ...]


def check_keys(
    times: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    where: str,
    hint: str,
    own_order: npt.NDArray[np.int64] | None = None,
) -> None:
    """Refuse rows that are not sorted by (time, instrument), or that repeat a key.

    Args:
        times: (n,) nanoseconds since 1970.
        codes: (n,) index into `names`, which are sorted.
        names: The instruments.
        where, hint: The file, and how to mend it, for the message.
        own_order: (n,) another order of the instruments that will do as well: that of the column's own type, in which 9
            comes before 10.

    Raises:
        DataError: With the number of offending rows and the first ones.
    """
    step, move = np.diff(times), np.diff(codes)
    backward = (step < 0) | ((step == 0) & (move < 0))
    if own_order is not None:
        own = (step < 0) | ((step == 0) & (np.diff(own_order) < 0))
        backward = backward if own.any() else own
    for fault, bad in (
        ("step back: they are not sorted by time, then instrument", backward),
        ("repeat the key of the row before", (step == 0) & (move == 0)),
    ):
        rows = np.flatnonzero(bad) + 1
        if rows.size:
            moments = times.astype("datetime64[ns]")
            shown = [f"row {row}: {_time_text(moments[row])} {names[codes[row]]}" for row in rows[:_SHOWN].tolist()]
            raise DataError(
                f"{rows.size} row(s) {fault}.",
                where=where,
                got=_first(shown),
                expected="rows sorted by time, then instrument, each key once",
                hint=hint,
            )


def check_unique(
    times: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], names: Sequence[str], *, where: str, zone: str | None
) -> None:
    """Refuse rows, sorted by (time, instrument), that hold the same time and instrument; arguments as in `check_keys`.

    `zone` is the time zone on whose clock the times were read: in one with summer time an hour repeats itself.

    Raises:
        DataError: With the number of such rows and the first ones.
    """
    rows = np.flatnonzero((np.diff(times) == 0) & (np.diff(codes) == 0)) + 1
    if rows.size:
        moments = times.astype("datetime64[ns]")
        raise DataError(
            f"{rows.size} row(s) have a time and an instrument that another row has too.",
            where=where,
            got=_first([f"{_time_text(moments[row])} {names[codes[row]]}" for row in rows[:_SHOWN].tolist()]),
            expected="each time and instrument once",
            hint=repeated_hour(zone)
            or "keep one of them, in pandas: frame.drop_duplicates([time column, instrument column])",
        )


def repeated_hour(zone: str | None) -> str | None:
    """Return what to do about times that repeat or step back because they were read on the clock of a time zone."""
    if zone in (None, "UTC"):
        return None
    return f"when the clocks of {zone} go back an hour repeats: data.timezone=UTC has none that does"


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
    for name, values in fields.items():
        _refuse(panel, np.isinf(values), (name,), where, f"values of `{name}` are infinite", "finite numbers, or none")
        if name in _POSITIVE and not (any_sign and name in PRICES):
            hint = _NEGATIVE_HINT if name in PRICES else None
            _refuse(
                panel, values <= 0, (name,), where, f"values of `{name}` are not positive", "positive numbers", hint
            )
    if "volume" in fields:
        _refuse(panel, fields["volume"] < 0, ("volume",), where, "volumes are negative", "numbers ≥ 0")
    if "high" in fields and "low" in fields:
        _refuse(panel, fields["high"] < fields["low"], ("high", "low"), where, "rows have high < low", "high ≥ low")
    if not panel.traded.any():
        raise DataError("There is not a single price.", where=where, got=f"no value in `{panel.price_field}`")
    if not (panel.traded & panel.membership).any():
        raise DataError(
            "Membership and prices do not overlap: no member ever has a price.",
            where=where,
            got=f"{int(panel.membership.sum())} memberships and {int(panel.traded.sum())} prices",
            expected="at least one time at which a member has a price",
        )
    if panel.benchmark is not None:
        _check_benchmark(panel, panel.benchmark, where, any_sign)
    return panel


def _check_benchmark(panel: Panel, benchmark: Benchmark, where: str, any_sign: bool) -> None:
    """Refuse an index without a level at any time of the panel, or whose returns its levels cannot give."""
    level, shown = benchmark.close, panel.calendar.format
    if np.isnan(level).all():
        raise DataError(
            "The benchmark and the panel do not overlap.",
            where=where,
            got=f"no level of {benchmark.name} within {_period(panel.calendar)}",
            hint="both need the same times: a day at 15:00 is not the same as that day without a time",
        )
    bad = np.flatnonzero(np.isinf(level) | ((level <= 0) & (not any_sign)))
    if bad.size:
        raise DataError(
            f"{bad.size} level(s) of the benchmark {benchmark.name} are not positive numbers.",
            where=where,
            got=_first([f"{shown(int(at))} {level[at]:g}" for at in bad[:_SHOWN]]),
            expected="levels such as 3012.5, and no row where there is none",
            hint="a missing level is left out, not 0; returns become levels in pandas: 100 * (1 + returns).cumprod()",
        )


def validate(panel: Panel) -> list[Finding]:
    """Return what looks odd in a valid panel, worst first; nothing here is an error.

    Members without a price (unless everyone is always a member), prices outside the day's range, moves beyond ±50 %
    between consecutive prices, prices without volume, instruments that never trade, times at which nobody trades, gaps
    in the benchmark.
    """
    fields, traded = panel.fields, panel.traded
    findings = []
    if not panel.membership.all():
        findings.append(_finding(panel, panel.membership & ~traded, "members have no price at that time", ()))
    if {"high", "low"} <= set(fields):
        slack = _ROUNDING * fields["high"]
        for name in sorted({"open", "close", "vwap"} & set(fields)):
            outside = (fields[name] > fields["high"] + slack) | (fields[name] < fields["low"] - slack)
            findings.append(_finding(panel, outside, f"`{name}` lies outside low … high", (name, "low", "high")))
    if panel.price_field in PRICES:
        moves = _moves(panel)
        findings.append(_finding(panel, np.abs(moves) > _EXTREME_RETURN, "moves exceed ±50 %", (panel.price_field,)))
    if "volume" in fields:
        findings.append(_finding(panel, traded & ~(fields["volume"] > 0), "prices come without volume", ("volume",)))
    never = np.flatnonzero(~traded.any(axis=0))
    findings.append(_listing("instruments never trade", [panel.instruments[int(at)] for at in never]))
    findings += _idle_times(panel)
    if panel.benchmark is not None:
        gaps = np.flatnonzero(np.isnan(panel.benchmark.close))
        findings.append(_listing("times lack a benchmark level", [panel.calendar.format(int(at)) for at in gaps]))
    return sorted((f for f in findings if f.count), key=lambda finding: -finding.count)


def _idle_times(panel: Panel) -> list[Finding]:
    """Return the times at which nobody trades: before the first price, after the last one, and between."""
    has_price = panel.traded.any(axis=1)  # (T,)
    priced, idle = np.flatnonzero(has_price), np.flatnonzero(~has_price)
    early, late = idle < priced[0], idle > priced[-1]
    return [
        _listing(what, [panel.calendar.format(int(at)) for at in idle[those]])
        for what, those in (
            ("times lie before the first price: the calendar begins too early", early),
            ("times lie after the last price: the calendar goes on where nothing can be tested", late),
            ("times have no price at all", ~early & ~late),
        )
    ]


def describe(panel: Panel) -> dict[str, object]:
    """Return what a panel holds: sizes, period, fields, share of missing values, members a time, fingerprint.

    ``rows`` counts prices of members: the samples that a model can have. A field's missing share is taken over them.
    """
    rows = panel.traded & panel.membership
    per_time = rows.sum(axis=1)
    count = int(rows.sum())
    frequency = frequency_of(panel.calendar)
    return {
        "name": panel.name,
        "times": len(panel.calendar),
        "instruments": len(panel.instruments),
        "first": panel.calendar.format(0),
        "last": panel.calendar.format(len(panel.calendar) - 1),
        "frequency": frequency.name,
        "periods_per_year": frequency.periods_per_year,
        "prices": int(panel.traded.sum()),
        "rows": count,
        "missing": {name: float(np.isnan(values[rows]).sum() / max(count, 1)) for name, values in panel.fields.items()},
        "members_per_time": {
            "min": int(per_time.min()),
            "median": float(np.median(per_time)),
            "max": int(per_time.max()),
        },
        "benchmark": None if panel.benchmark is None else panel.benchmark.name,
        "truth": panel.truth is not None,
        "fingerprint": panel.fingerprint,
    }


def _moves(panel: Panel) -> npt.NDArray[np.float32]:
    """Return (T, N) relative change of the price since the instrument's last one; NaN where there is none."""
    prices = panel.fields[panel.price_field]
    newest = np.maximum.accumulate(np.where(panel.traded, np.arange(prices.shape[0])[:, None], 0), axis=0)
    moves = np.full_like(prices, np.nan)
    moves[1:] = prices[1:] / np.take_along_axis(prices, newest, axis=0)[:-1] - 1
    return moves


def _refuse(
    panel: Panel, bad: Bools, names: tuple[str, ...], where: str, what: str, expected: str, hint: str | None = None
) -> None:
    found = _finding(panel, bad, what, names)
    if found.count:
        raise DataError(f"{found.count} {what}.", where=where, got=_first(found.examples), expected=expected, hint=hint)


def _finding(panel: Panel, bad: Bools, what: str, names: tuple[str, ...]) -> Finding:
    count = int(np.count_nonzero(bad))
    if count == 0:
        return Finding(what, 0, ())
    first = np.flatnonzero(bad)[:_SHOWN]
    examples = []
    for time, column in zip(*np.unravel_index(first, bad.shape), strict=True):
        values = "".join(f" {name}={panel.fields[name][time, column]:g}" for name in names)
        examples.append(f"{panel.calendar.format(int(time))} {panel.instruments[int(column)]}{values}")
    return Finding(what, count, tuple(examples))


def _listing(what: str, names: Sequence[str]) -> Finding:
    return Finding(what, len(names), tuple(names[:_SHOWN]))


def _first(lines: Sequence[str]) -> str:
    return "the first:\n" + "\n".join(f"    {line}" for line in lines)


def _period(calendar: Calendar) -> str:
    return f"{calendar.format(0)} … {calendar.format(len(calendar) - 1)}"


def _time_text(moment: np.datetime64) -> str:
    text = str(np.datetime_as_string(moment, unit="s"))
    return text.removesuffix("T00:00:00").replace("T", " ")
