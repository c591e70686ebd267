"""The market that a portfolio trades in: prices, whether orders are accepted, lots, the benchmark's return."""

from __future__ import annotations

import math

import numpy as np

from harness.data.panel import Panel
from harness.errors import ConfigError, DataError, closest
from harness.evaluation.portfolio.strategy import Codes, Doubles, Flags, Trading

_MONTH = 20  # periods over which volume and volatility are taken
_FEW = 0.01  # share of prices without volume that real data have, and that nobody need hear of


class Market:
    """The exchange during S times, calendar positions [start, stop); N instruments.

    An instrument is suspended where it has no close, or, by `Trading.suspended_when`, no volume. The change of
    price that limits are compared with is the panel's field ``change``, or else made of the close and the last close
    before it.

    Attributes:
        close, deal: (S, N) float64, that and the price of orders, NaN while suspended.
        before: (S, N) float64, the last close before each time, NaN where there has been none.
        last: (S, N) float64, the last close up to each time.
        can_buy, can_sell: (S, N) bool, false while suspended or at a limit.
        factor: (S, N) float64, raw shares per adjusted share; None when any amount may be traded.
        benchmark: (S,) float64 return since the time before; NaN from `stop` on.
        times, instruments: (S,) ``datetime64[ns]``, and the names of the columns.
        days: (S,) float64 since the time before.
        absent: (S, N) int32, for how many times in a row there has been no price, this one included.
        stop: One past the last time at which a member has a price.
        notes: What a reader must know beside the numbers, with counts.

    Raises:
        ConfigError: When the panel lacks the deal price or the benchmark.
        DataError: When lots are asked for and the factor is missing, or the benchmark does not cover these times.
    """

    def __init__(self, panel: Panel, start: int, stop: int, config: Trading) -> None:
        span = slice(start, stop)
        self._panel, self._config, self._span, self.notes = panel, config, span, list[str]()
        self.times, self.instruments = panel.calendar.times[span], panel.instruments
        if "volume" not in panel.fields and any(cost.needs_volume for cost in config.costs):
            what, where = "A cost follows from volumes, and the panel has none.", "evaluation.portfolio.costs"
            expected, hint = "a field `volume`", "leave that cost out"
            raise ConfigError(what, where=where, got=", ".join(panel.fields), expected=expected, hint=hint)
        close = panel.fields[panel.price_field].astype(np.float64)  # (T, N)
        has_price = panel.traded[span] & panel.membership[span]
        if config.needs_volume and "volume" in panel.fields:
            idle = ~(panel.fields["volume"] > 0)
            count, total = int((has_price & idle[span]).sum()), int(has_price.sum())
            if count > _FEW * total:
                self.notes.append(
                    f"{count:,} of {total:,} prices of members in the test range ({count / total:.1%}) come without "
                    "volume and count as suspended; evaluation.portfolio.suspended_when=no_close trades them"
                )
            close[idle] = np.nan
        filled, self.close = _filled(close), close[span]
        self.before, self.last = filled[:-1][span], filled[1:][span]
        self._priced = ~np.isnan(self.close)
        busy = np.flatnonzero(has_price.any(axis=1))
        self.stop = int(busy[-1]) + 1 if busy.size else 0
        self.can_buy, self.can_sell = self._accepted()
        self.benchmark = np.full(stop - start, np.nan)
        self.benchmark[: self.stop] = self._returns_of_benchmark()
        self.deal = self._prices_of_orders()
        self.factor = None if config.trade_unit is None else self._factors()
        at = np.arange(stop, dtype=np.int32)[:, None]
        self.days = np.diff(panel.calendar.times[:stop], prepend=panel.calendar.times[:1])[span] / np.timedelta64(
            1, "D"
        )
        self.absent = (at - np.maximum.accumulate(np.where(panel.traded[:stop], at, -1), axis=0))[span]

    def history(self, s: int, field: str, periods: int) -> Doubles:
        """Return (periods, N) float64, a copy of a field's newest values before time s; raises `ConfigError`."""
        fields, stop = self._panel.fields, self._span.start + s
        if field not in fields:
            what, expected = "A strategy asks for a field that the panel has not.", ", ".join(fields)
            hint = closest(field, fields)
            raise ConfigError(what, where="evaluation.portfolio", got=field, expected=expected, hint=hint)
        return fields[field][max(stop - max(periods, 0), 0) : stop].astype(np.float64)

    def daily_value(self, at: Codes, column: Codes) -> Doubles:
        """Return (n,) float64, what was traded of instruments per period before times `at`, as `PricedOrder` has it."""
        if "volume" not in self._panel.fields:
            return np.full(at.size, np.nan)
        close, volume = (self._past(name, at, column) for name in (self._panel.price_field, "volume"))
        value = close * volume
        known = value > 0
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(known, value, 0.0).sum(axis=1) / known.sum(axis=1))

    def volatility(self, s: int, column: int) -> float:
        """Return the volatility of an instrument before time s, as `PricedOrder` has it."""
        close = self._past(self._panel.price_field, np.array([s]), np.array([column]))[0]
        moved = np.diff(np.log(close[close > 0]))
        return float(moved.std(ddof=1)) if moved.size > 1 else math.nan

    def _past(self, field: str, at: Codes, column: Codes) -> Doubles:
        """Return (n, 20) float64, a field's values before times; NaN before the calendar."""
        times = (self._span.start + at)[:, None] - np.arange(_MONTH, 0, -1)
        values = self._panel.fields[field][np.maximum(times, 0), column[:, None]].astype(np.float64)
        return np.where(times >= 0, values, np.nan)

    def _field(self, name: str) -> Doubles:
        return self._panel.fields[name][self._span].astype(np.float64)

    def _prices_of_orders(self) -> Doubles:
        name, panel = self._config.deal_price, self._panel
        if name not in panel.fields:
            what, where = "The panel has no such price.", "evaluation.portfolio.deal_price"
            expected, hint = ", ".join(panel.fields), closest(name, panel.fields)
            raise ConfigError(what, where=where, got=name, expected=expected, hint=hint)
        deal = self._field(name)
        known, traded = deal > 1e-8, self._priced & panel.membership[self._span]
        lacking = traded & ~known
        if lacking.any():
            self.notes.append(
                f"{int(lacking.sum()):,} of {int(traded.sum()):,} traded rows of members lack the deal price "
                f"`{name}`; orders are filled at the close there"
            )
        # A missing one is the close, as in qlib's exchange.
        return np.where(self._priced, np.where(known, deal, self.close), np.nan)

    def _accepted(self) -> tuple[Flags, Flags]:
        config = self._config
        if config.limit_threshold is None:
            return self._priced, self._priced
        change = self.close / self.before - 1.0
        if "change" in self._panel.fields:
            given = self._field("change")
            # qlib takes a missing change for none.
            change = given if config.rules == "qlib" else np.where(np.isnan(given), change, given)
        up, down = change >= config.limit_threshold, change <= -config.limit_threshold
        if config.forbid_all_trade_at_limit:
            up = down = up | down
        return self._priced & ~up, self._priced & ~down

    def _factors(self) -> Doubles:
        panel, hint = self._panel, "trade any amount with evaluation.portfolio.trade_unit=null"
        if "factor" not in panel.fields:
            what, got = "Lots need the adjustment factor, and the panel has none.", ", ".join(panel.fields)
            raise DataError(what, where="panel.fields", got=got, expected="a field `factor`", hint=hint)
        factor = self._field("factor")
        # Who is bought at a time had a score, as a member, at the time before.
        scored = np.zeros_like(panel.membership)
        scored[1:] = panel.membership[:-1]
        lacking = self._priced & ~(factor > 0) & scored[self._span]
        if lacking.any():
            at, column = (int(v[0]) for v in np.nonzero(lacking))
            what = f"{int(lacking.sum())} traded prices have no positive adjustment factor."
            where = f"{panel.instruments[column]} at {panel.calendar.format(self._span.start + at)}"
            raise DataError(what, where=where, got=factor[at, column], hint=hint)
        return factor

    def _returns_of_benchmark(self) -> Doubles:
        busy = slice(self._span.start, self._span.start + self.stop)
        if self._config.benchmark == "index":
            return self._returns_of_index(busy)
        if self._config.benchmark == "cash":
            return np.zeros(self.stop)
        close, before = self.close[: self.stop], self.before[: self.stop]
        known = self._panel.membership[busy] & ~np.isnan(close) & ~np.isnan(before)
        change = np.where(known, close / before - 1.0, 0.0)
        counts = known.sum(axis=1)
        if (counts == 0).any():
            self.notes.append(
                f"at {int((counts == 0).sum())} of {counts.size} test periods no member traded: the universe's return "
                "is 0 there, and counts at the next price"
            )
        return np.asarray(change.sum(axis=1) / np.maximum(counts, 1))

    def _returns_of_index(self, span: slice) -> Doubles:
        """Return the index's return since its last level; 0 where it has none, its return counts at the next level."""
        index, shown, where = self._panel.benchmark, self._panel.calendar.format, "evaluation.portfolio.benchmark"
        if index is None:
            what = "The panel has no benchmark index."
            hint = "data.benchmark=FILE gives the panel an index, where the source has that key"
            raise ConfigError(what, where=where, got="index", expected="universe | cash", hint=hint)
        level = index.close.astype(np.float64)
        known, times = np.flatnonzero(~np.isnan(level)), np.arange(span.start, span.stop)
        covered = (times > known[0]) & (times <= known[-1]) if known.size else np.zeros(times.size, dtype=np.bool_)
        if not covered[max(1 - span.start, 0) :].all():
            held = f"{shown(int(known[0]))} … {shown(int(known[-1]))}" if known.size else "none"
            raise DataError(
                f"The benchmark {index.name} does not cover the test range: the return of "
                f"{int((~covered).sum())} of {times.size} test periods is not known.",
                where=where,
                got=f"levels {held}",
                expected=f"from before {shown(span.start)} to {shown(span.stop - 1)}",
                hint="give the missing levels, shorten windows.test, or take evaluation.portfolio.benchmark=universe",
            )
        change = level[span] / _filled(level)[span] - 1.0
        holes = np.isnan(change)
        if holes.any():
            self.notes.append(
                f"the benchmark {index.name} has no level at {int(holes.sum())} of {holes.size} test periods, "
                f"first {shown(int(times[holes][0]))}: its return counts at the next level"
            )
        return np.where(holes, 0.0, change)


def _filled(values: Doubles) -> Doubles:
    """Return (T + 1, …) the last value before each of T times and one more that was not missing; NaN: there is none."""
    filled = np.concatenate([np.full_like(values[:1], np.nan), values])
    missing = np.isnan(filled)
    for t in range(1, len(filled)):  # row by row: a gather over all times takes five times as long
        np.copyto(filled[t : t + 1], filled[t - 1 : t], where=missing[t])
    return filled


_MOVED = 2e-3  # smaller changes are alike in every unit
_ABSOLUTE, _RELATIVE = 1e-3, 0.02  # rounding of published changes, and of prices
_MOST, _MOST_OF_ONE = 0.05, 0.2  # share of rows that may disagree: of all, and of one instrument
_FEWEST = 5  # rows that say anything about one instrument
_BETTER = 0.2  # another unit is taken for the field's when it misses by this share of what a ratio does


def check_change(panel: Panel, start: int, stop: int) -> None:
    """Refuse a panel whose field ``change`` disagrees with its prices at calendar positions [start, stop).

    Single rows may disagree, at a split or a dividend that the prices leave out; a whole instrument may not, and no
    more than a twentieth of all rows. Without the field there is nothing to check.

    Raises:
        DataError: With the rows, the first instrument and time, and the unit or the factor by which the field is off.
    """
    if "change" not in panel.fields:
        return
    close, span = panel.fields[panel.price_field][:stop].astype(np.float64), slice(max(start, 1), stop)
    before, given = _filled(close)[:stop][span], panel.fields["change"][span].astype(np.float64)
    with np.errstate(invalid="ignore"):
        moved = close[span] / before - 1.0
        counts = panel.membership[span] & ~(np.isnan(moved) | np.isnan(given))
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
        where=f"panel.fields.change, first {panel.instruments[column]} at {panel.calendar.format(span.start + at)}",
        got=f"{given[at, column]:.6g}",
        expected=f"{moved[at, column]:.6g}, as price limits of evaluation.portfolio.limit_threshold take it",
        hint="give it as a ratio, leave the field out (limits are then made of the close), or set limit_threshold=null",
    )


def _unit(given: Doubles, moved: Doubles, before: Doubles) -> str | None:
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
