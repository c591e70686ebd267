"""A factor that comes back and a move beyond the price limit are named, in simulated markets that have neither else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.data.validation import Finding, a_share_limit, validate

CODES = ("SH600000", "SH600004", "SH688001", "SZ000001", "SZ300001")
START = np.datetime64("2020-07-01")  # ChiNext goes from 10 to 20 % within the simulated days
REFORM = np.datetime64("2020-08-24")
DAYS = 90


def limit_of(code: str, day: np.datetime64) -> float:
    return 0.2 if code.startswith("SH688") or (code.startswith("SZ300") and day >= REFORM) else 0.1


def market(seed: int, ex_days: float = 0.05, suspended: float = 0.04) -> Panel:
    """Return A-shares by the rules: prices in cents that stop at the limits, which new and resumed ones do not have."""
    rng = np.random.default_rng(seed)
    days = np.busday_offset(START, np.arange(DAYS), roll="forward")
    close, factor = np.full((2, DAYS, len(CODES)), np.nan)
    for column, code in enumerate(CODES):
        listed = 0 if rng.random() < 0.6 else int(rng.integers(1, 40))
        raw, adjustment, was_open, rows = round(float(rng.uniform(2, 60)), 2), 1.0, False, 0
        for time in range(listed, DAYS):
            if rng.random() < suspended:
                was_open = False
                continue
            published = raw
            if rows and rng.random() < ex_days:
                published = max(round(raw / float(rng.choice([1.003, 1.02, 1.1, 2.0])), 2), 0.5)
            adjustment *= raw / published
            limit = limit_of(code, days[time]) if was_open and rows >= 5 else 0.6
            moved = published * (1 + np.clip(rng.normal(0, 0.6 * limit), -limit, limit))
            raw = max(np.floor(moved * 100 + 0.5 + 1e-9) / 100, 0.5)
            close[time, column], factor[time, column] = raw * adjustment, adjustment
            was_open, rows = True, rows + 1
    membership = np.ones(close.shape, dtype=np.bool_)
    fields = {"close": close.astype(np.float32), "factor": factor.astype(np.float32)}
    return Panel(Calendar(days), CODES, fields, membership)


def faults(panel: Panel, limit: float | None = 0.1) -> dict[str, Finding]:
    """Return the findings of the two kinds, by the first word of their kind."""
    return {finding.what.split()[0]: finding for finding in validate(panel, limit=limit) if finding.advice}


def scaled(panel: Panel, rows: slice, column: int, by: float, *names: str) -> Panel:
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for name in names:
        fields[name][rows, column] *= np.float32(by)
    return replace(panel, fields=fields)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_a_market_that_keeps_the_rules_has_neither_fault(seed):
    assert faults(market(seed)) == {}


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 20), st.floats(0.003, 0.45), st.booleans(), st.data())
def test_an_ex_day_that_is_undone_is_named_with_both_its_days(seed, days, size, is_fall, data):
    panel = market(seed, suspended=0.01)
    factor = panel.fields["factor"]
    same = (factor[1:] == factor[:-1]).astype(int)  # at time t + 1 as at time t
    steady = [
        (time, column)
        for time in range(1, DAYS - days)
        for column in range(len(CODES))
        if same[time - 1 : time + days, column].all()
    ]
    if not steady:
        return
    time, column = data.draw(st.sampled_from(steady))
    by = 1 - size if is_fall else 1 / (1 - size)
    found = faults(scaled(panel, slice(time, time + days), column, by, "factor", "close"))["factors"]
    shown, old = panel.calendar.format, factor[time, column]
    # There may be others: with an ex-day of the market the change can make up a second one.
    assert (
        f"{shown(time)} {CODES[column]} factor={old * np.float32(by):g} before={old:g} after={old:g} "
        f"back={shown(time + days)}"
    ) in found.examples


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(0.02, 3.0), st.booleans(), st.booleans(), st.data())
def test_a_move_that_the_limit_forbids_is_named_with_the_prices_around_it(seed, excess, is_fall, lasts, data):
    panel = market(seed)
    close, factor = panel.fields["close"], panel.fields["factor"]
    traded = panel.traded
    certain = traded[1:] & traded[:-1] & (np.cumsum(traded, axis=0)[1:] > 5) & (close[:-1] / factor[1:] > 1.0)
    time, column = data.draw(st.sampled_from([(int(t) + 1, int(c)) for t, c in np.argwhere(certain)]))
    limit = limit_of(CODES[column], panel.calendar.times[time])
    to = (1 - limit) / (1 + excess) - 0.01 if is_fall else 1 + limit + excess
    by = float(to * close[time - 1, column] / close[time, column])
    if lasts:  # a wrong step of the factor; else a wrong price
        wrong = scaled(panel, slice(time, None), column, by, "close", "factor")
    else:
        wrong = scaled(panel, slice(time, time + 1), column, by, "close")
    found = faults(wrong)["moves"]
    before, price, after = close[time - 1, column], *np.split(wrong.fields["close"][time:, column], [1])
    after = after[~np.isnan(after)]
    assert found.count == 1 or (found.count == 2 and not lasts)  # the way back is as impossible
    assert found.examples[0] == (
        f"{panel.calendar.format(time)} {CODES[column]} close={price[0]:g} "
        f"before={before:g} after={f'{after[0]:g}' if after.size else 'none'} "
        f"return={price[0] / before - 1:+.2%} limit={limit:.0%}"
    )
    assert "moves" not in faults(wrong, limit=None)


def steady(times: int = 12, *, code: str = "SH600000", start: str = "2020-09-01", step: int = 1) -> Panel:
    """Return one instrument whose price is 10 on `times` days."""
    close = np.full((times, 1), 10, dtype=np.float32)
    calendar = Calendar(np.datetime64(start) + step * np.arange(times))
    fields = {"close": close, "volume": np.ones_like(close)}
    return Panel(calendar, (code,), fields, np.ones(close.shape, dtype=np.bool_))


def jump(panel: Panel, time: int, to: float = 1.3) -> Panel:
    return scaled(panel, slice(time, None), 0, to, "close")


def without(panel: Panel, time: int, name: str, value: float) -> Panel:
    values = panel.fields[name].copy()
    values[time] = value
    return replace(panel, fields={**panel.fields, name: values})


@pytest.mark.parametrize(
    ("panel", "count"),
    [
        (jump(steady(), 5), 1),
        (jump(steady(), 4), 0),
        (jump(without(steady(), 7, "close", np.nan), 8), 0),
        (jump(without(steady(), 7, "volume", 0.0), 8), 0),
        (jump(without(steady(), 7, "volume", np.nan), 8), 1),
        (jump(steady(step=7), 8), 0),
        (jump(steady(), 8, 1.105), 0),
        (jump(steady(), 8, 1.115), 1),
        (jump(steady(), 8, 0.885), 1),
        (jump(steady(code="SH688001"), 8, 1.19), 0),
        (jump(steady(code="300001.SZ"), 8, 1.19), 0),
        (jump(steady(code="300001.SZ", start="2020-08-10"), 8, 1.19), 1),
        (jump(steady(code="BJ430047", start="2022-01-03"), 8, 1.29), 0),
        (jump(steady(code="THIRTY"), 8, 1.19), 1),
    ],
    ids=[
        *("sixth row", "newly listed", "resumed", "resumed after no volume", "volume not known", "weekly"),
        *("rounded", "above", "below", "STAR", "ChiNext", "ChiNext before", "Beijing", "another market"),
    ],
)
def test_only_days_that_surely_had_a_limit_are_held_against_it(panel, count):
    found = faults(panel).get("moves")
    assert (found.count if found else 0) == count


def test_cents_are_allowed_for_where_the_factor_tells_the_price_in_money():
    panel = jump(steady(), 8, 1.15)
    factor = np.full_like(panel.fields["close"], 10)  # of 1.00 in money: 1.15 is beyond, of 0.10 it is not
    dear, cheap = (replace(panel, fields={**panel.fields, "factor": factor * by}) for by in (1, 10))
    assert faults(dear)["moves"].count == 1
    assert "moves" not in faults(cheap)


@pytest.mark.parametrize(
    ("factors", "examples"),
    [
        ([1, 1, 2, 1, 1, 1], ["2020-09-03 SH600000 factor=2 before=1 after=1 back=2020-09-04"]),
        ([1, 2, np.nan, 2, np.nan, 1], ["2020-09-02 SH600000 factor=2 before=1 after=1 back=2020-09-06"]),
        ([1, 2, 3, 1, 1, 1], ["2020-09-02 SH600000 factor=2 before=1 after=1 back=2020-09-04"]),
        ([1, 1, 2, 2, 3, 3], []),
        ([2, 2, 1, 1, 1, 1], []),
        ([1, 1.00005, 1, 1.00005, 1, 1], []),
        ([1, *[2] * 21, 1], []),
        ([1, *[2] * 20, 1], ["2020-09-02 SH600000 factor=2 before=1 after=1 back=2020-09-22"]),
    ],
    ids=["a day", "around gaps", "in two steps", "two ex-days", "a fall", "rounding", "a month", "almost a month"],
)
def test_a_factor_is_undone_when_it_is_back_within_twenty_times(factors, examples):
    panel = steady(len(factors))
    factor = np.array(factors, dtype=np.float32)[:, None]
    found = faults(replace(panel, fields={**panel.fields, "factor": factor})).get("factors")
    assert list(found.examples if found else ()) == examples


def test_faults_stand_first_and_are_told_what_to_do():
    panel = replace(jump(steady(), 8), membership=np.ones((12, 1), dtype=np.bool_))
    quiet = without(without(panel, 0, "volume", 0.0), 1, "volume", 0.0)
    first, second = validate(quiet, limit=0.1)
    assert (first.what, first.count) == ("moves exceed the daily price limit of 10 %", 1)
    assert "limit_threshold" in first.advice
    assert (second.what, second.count, second.advice) == ("prices come without volume", 2, "")


@pytest.mark.parametrize(
    ("codes", "limit"),
    [
        (("SH600000", "SZ000001", "BJ430047"), 0.1),
        (("600000.SH", "000001.XSHE", "600004.SS"), 0.1),
        (("sh600000",), 0.1),
        (("SH600000", "AAPL"), None),
        (("005930",), None),
        (("SH6000001",), None),
    ],
)
def test_codes_tell_whether_the_market_is_that_of_a_shares(codes, limit):
    assert a_share_limit(codes) == limit
