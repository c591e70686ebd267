"""A seeded market whose premia drift, and of which the best forecast in expectation is known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from harness.data.calendar import Calendar
from harness.data.dates import ACCEPTED, configured_date, period_of
from harness.data.membership import covered
from harness.data.panel import Benchmark, Bools, Doubles, Panel, Truth, last_seen
from harness.errors import ConfigError
from harness.errors.limits import Fraction, check_limits

Drift = Literal["none", "gradual", "recurring", "abrupt"]

_STREAMS = ("premia", "exposures", "market", "volatility", "shocks", "instruments", "bars", "listings", "factor")
_KNOWN_STEPS = 64
_WIDEST_SHOCK = 5.0
_HIGHEST_VOLATILITY = 0.08
_FREEDOM = 5.0
_COMMON, _OWN, _BASE = 0.25, 0.2, 0.2
_COMMON_HALF_LIFE, _OWN_HALF_LIFE = 60.0, 20.0
_WIDEST_RANGE, _WIDEST_BODY, _RANGE_PER_VOLATILITY, _TURNOVER = 0.3, 0.9, 1.2, 0.008
_FIRST_LEVEL = 1000.0


def portable(values: Doubles) -> Doubles:
    """Return `values` rounded to single precision, as float64.

    exp, sin and tanh differ in their last place between processors and libraries; +, −, ×, / and √ do not. Rounded
    right after such a function, the error is gone (but for one value in some hundred million), and with it the
    difference between the fingerprints that two machines would compute from the same seed.
    """
    return values.astype(np.float32).astype(np.float64)


def _exp(values: Doubles) -> Doubles:
    return portable(np.exp(values))


def _logistic(x: Doubles) -> Doubles:
    return 1.0 / (1.0 + _exp(-x))


def _decay(half_life: float) -> float:
    """Return 2^(−1 / half_life), rounded to twelve places for the same reason as in `portable`."""
    return round(float(0.5 ** (1.0 / half_life)), 12)


def autoregression(decay: float, shocks: Doubles) -> Doubles:
    """Return the stationary AR(1) x_t = decay · x_{t−1} + √(1 − decay²) · shock_t along axis 0, x_0 = shock_0.

    `shocks` are independent standard normals; then every x_t is standard normal.
    """
    path: Doubles = shocks * np.sqrt(1.0 - decay * decay)
    path[0] = shocks[0]
    for before, now in itertools.pairwise(path):
        now += decay * before
    return path


def draw_premia(
    drift: Drift, size: tuple[int, int, int], stable: float, time_scale: float, rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Draw J premia p = (√stable · sign + √(1 − stable) · z) / √J, so that Σ_j E[p_j²] = 1, per unit of exposure.

    The state z is independent of the exposures and has mean 0 and variance 1; with τ = `time_scale` steps:

    ============  ==============================================================  ==============================
    drift         state                                                           E[z_{t+k} | t]
    ============  ==============================================================  ==============================
    none          p = sign / √J for ever
    gradual       stationary AR(1), half-life τ: φ = 2^(−1/τ)                     φ^k · z_t
    recurring     √2 · sin(2π t / P_j + phase_j), P_j geometric from 1.5 τ to 4τ  z_{t+k}: the phase is known
    abrupt        constant, redrawn from N(0, 1) in each step with h = 1/τ        (1 − h)^k · z_t
    ============  ==============================================================  ==============================

    Args:
        size: T times, K steps ahead, J premia.
        stable: Share of the mean square that never changes, in [0, 1]; 1 when nothing drifts.
        time_scale: τ.

    Returns:
        (T, J) the premium paid in the step that ends at t; (T, K, J) E[paid[t + k] | state at t] for k = 1 … K.
    """
    times, steps, factors = size
    signs = rng.choice([-1.0, 1.0], size=factors)
    if drift == "none":
        stable, state, ahead = 1.0, np.zeros((times, factors)), np.zeros(size)
    elif drift == "recurring":
        period = time_scale * portable(np.geomspace(1.5, 4.0, factors))
        phase = rng.uniform(0.0, 2.0 * np.pi, factors)
        angle = 2.0 * np.pi * np.arange(times + steps)[:, None] / period + phase
        cycle = np.sqrt(2.0) * portable(np.sin(angle))
        state, ahead = cycle[:times], cycle[np.arange(times)[:, None] + np.arange(1, steps + 1)]
    else:
        if drift == "gradual":
            kept = _decay(time_scale)
            state = autoregression(kept, rng.standard_normal((times, factors)))
        else:
            hazard = 1.0 / time_scale
            kept, fresh = 1.0 - hazard, rng.random(times) < hazard
            regime = np.maximum.accumulate(np.where(fresh, np.arange(times), 0))
            state = rng.standard_normal((times, factors))[regime]
        ahead = np.cumprod(np.full(steps, kept))[:, None] * state[:, None, :]
    fixed, moving = np.sqrt(stable / factors) * signs, np.sqrt((1.0 - stable) / factors)
    return fixed + moving * state, fixed + moving * ahead


def draw_listings(
    shape: tuple[int, int], late: int, delisted: int, suspension: tuple[float, float], rng: np.random.Generator
) -> tuple[Bools, Bools]:
    """Return (T, N) who is listed, one span each, and who is suspended, inside or outside of it; whatever the prices.

    `late` instruments come in 5–60 % of the time, `delisted` others leave at 50–95 %. A `suspension` has a chance to
    begin in each step, and a mean number of steps; its length is geometric.
    """
    times, instruments = shape
    order = rng.permutation(instruments)
    first = np.zeros(instruments, dtype=np.int64)
    stop = np.full(instruments, times, dtype=np.int64)
    first[order[:late]] = rng.integers(times // 20, max(3 * times // 5, times // 20 + 1), late)
    stop[order[late : late + delisted]] = rng.integers(times // 2, max(19 * times // 20, times // 2 + 1), delisted)
    rate, length = suspension
    starts, columns = np.nonzero(rng.random(shape) < rate)
    stops = np.minimum(starts + rng.geometric(1.0 / length, starts.size), times)
    return covered(shape, first, stop, np.arange(instruments)), covered(shape, starts, stops, columns)


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
    is_held = membership[:-1] & np.isfinite(seen[:-1])
    moves = np.where(is_held, seen[1:] / seen[:-1] - 1.0, 0.0)
    held = np.maximum(is_held.sum(axis=1), 1)
    return _FIRST_LEVEL * np.cumprod(np.concatenate([[1.0], 1.0 + moves.sum(axis=1) / held]))


HalfLife = Annotated[float, Ge(0.1), Le(1e6)]


@dataclass(frozen=True)
class SyntheticMarket:
    """A simulated equity market; `load` is a pure function of these fields.

    The return of instrument i in the step that ends at s is

        R_{s,i} = drift + β_i m_s + signal · volatility · Σ_j p_{s,j} x_{j,s−1,i} + ε_{s,i}

    with five characteristics x_j (AR(1), centred across instruments, shown by the bars with little noise), premia p_j
    that drift, a market return m and an idiosyncratic shock ε, both symmetric, fat-tailed, with stochastic
    volatility. As x and p are independent of each other and the rest has mean zero given the past, the conditional
    expectation of every future return is known exactly: it is the panel's `truth`.

    Equal fields give equal bits on every processor; see `portable`.

    Attributes:
        seed: Every part has a random stream of its own, so that changing one option does not reshuffle the others.
        instruments: How many instruments, N.
        days: How many business days, T, from `start` on.
        start: The first day; of a month or a year its first.
        drift: How premia move: ``none``, ``gradual``, ``recurring``, ``abrupt``; see `draw_premia`.
        signal: Standard deviation of the expected return of one step, in units of the idiosyncratic one: about the IC
            of an oracle for one step. 0 is a market without any signal.
        stable: Share of the premia's mean square that never changes.
        time_scale: Days: half-life of gradual drift, mean length of an abrupt regime, unit of the recurring periods.
        half_lives: Days, of the characteristics body, shadow, vwap, range, volume.
        noise: Standard deviation of what blurs a characteristic (standard deviation 1) in the bars.
        volatility: Standard deviation of an instrument's own return of one step.
        market_volatility: Standard deviation of the market's.
        market_return: Mean return of one step.
        members: How many names the index holds: the largest by capitalisation.
        review_every: Days from one review of the index to the next.
        late_listings: Share of the instruments that are listed after the first day.
        delistings: Share of the instruments that are delisted before the last day.
        suspension_rate: Chance that a suspension begins on a day.
        suspension_length: Its mean number of days.
        name: For reports.

    Raises:
        ConfigError: When a value is impossible.
    """

    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    instruments: Annotated[int, Ge(2), Le(100_000)] = 120
    days: Annotated[int, Ge(2), Le(100_000)] = 1800
    start: str | int = "2012-01-04"
    drift: Drift = "gradual"
    signal: Annotated[float, Ge(0), Le(0.5)] = 0.05
    stable: Fraction = 0.25
    time_scale: Annotated[float, Ge(2), Le(1e6)] = 250.0
    half_lives: tuple[HalfLife, HalfLife, HalfLife, HalfLife, HalfLife] = (60.0, 30.0, 20.0, 12.0, 8.0)
    noise: Annotated[float, Ge(0), Le(10)] = 0.25
    volatility: Annotated[float, Ge(1e-4), Le(0.05)] = 0.02
    market_volatility: Annotated[float, Ge(0), Le(0.03)] = 0.011
    market_return: Annotated[float, Ge(-0.01), Le(0.01)] = 0.0003
    members: Annotated[int, Ge(1), Le(100_000)] = 80
    review_every: Annotated[int, Ge(1), Le(100_000)] = 126
    late_listings: Fraction = 0.1
    delistings: Fraction = 0.03
    suspension_rate: Fraction = 0.001
    suspension_length: Annotated[float, Ge(1), Le(1e4)] = 5.0
    name: str = "synthetic"

    def __post_init__(self) -> None:
        check_limits(self, "data")
        shares = self.late_listings + self.delistings
        limits = (("members", self.members, 1, self.instruments), ("late_listings + delistings", shares, 0, 1))
        for name, value, low, high in limits:
            if not low <= value <= high:
                what, expected = "This market cannot be simulated.", f"{low:g} … {high:g}"
                raise ConfigError(what, where=f"data.{name}", got=value, expected=expected)
        object.__setattr__(self, "start", configured_date(self.start, "data.start"))
        self._calendar()

    def inputs(self) -> dict[str, str]:
        return {}

    def load(self) -> Panel:
        children = np.random.SeedSequence(self.seed).spawn(len(_STREAMS))
        streams = {name: np.random.Generator(np.random.PCG64(c)) for name, c in zip(_STREAMS, children, strict=True)}
        exposures = self._exposures(streams["exposures"])  # (J, T, N)
        size = (self.days, _KNOWN_STEPS, len(exposures))
        paid, ahead = draw_premia(self.drift, size, self.stable, self.time_scale, streams["premia"])
        scale = self.signal * self.volatility
        expected = np.zeros((self.days - 1, self.instruments))
        for j, exposure in enumerate(exposures[:, :-1]):  # added in the order of j on every machine
            expected += (scale * paid[1:])[:, j, None] * exposure
        price, surprise, volatility, shares = self._closes(expected, streams)
        bars = self._bars(price, surprise, volatility, exposures, streams["bars"])
        bars["volume"] *= shares
        bars["factor"] = self._factor(streams["factor"])
        shape = (self.days, self.instruments)
        late, gone = (round(share * self.instruments) for share in (self.late_listings, self.delistings))
        suspension = (self.suspension_rate, self.suspension_length)
        listed, suspended = draw_listings(shape, late, gone, suspension, streams["listings"])
        traded = listed & ~suspended
        fields = {name: np.where(traded, values, np.nan).astype(np.float32) for name, values in bars.items()}
        seen = last_seen(price, traded)
        membership = largest_members(seen * shares, listed, self.members, self.review_every)
        return Panel(
            calendar=self._calendar(),
            instruments=tuple(f"SIM{number:05d}" for number in range(self.instruments)),
            fields=fields,
            membership=membership,
            benchmark=Benchmark("SIMINDEX", index_level(seen, membership).astype(np.float32)),
            truth=Truth(
                exposures=exposures.astype(np.float32),
                decay=np.array([_decay(half_life) for half_life in self.half_lives]),
                premia=scale * ahead,
            ),
            name=self.name,
        )

    def _calendar(self) -> Calendar:
        start = period_of(self.start)
        if start.extent != "open":
            first = np.datetime_as_string(start.first, unit="D")  # a cast overflows before 1677-09-22
            days = np.busday_offset(first, np.arange(self.days), roll="forward")
            if period_of(days[0]).is_one_time and period_of(days[-1]).is_one_time:
                return Calendar(days)
        what = "The market begins on a day, and must lie between 1678 and 2262."
        got = f"{self.days} business days from {self.start}"
        expected = "another start, or fewer days" if self.start else ACCEPTED
        raise ConfigError(what, where="data.start | data.days", got=got, expected=expected)

    def _exposures(self, rng: np.random.Generator) -> Doubles:
        """Return (J, T, N) characteristics: standard normal AR(1), centred across instruments, which keeps both."""
        shape = (self.days, self.instruments)
        exposures = np.stack([autoregression(_decay(h), rng.standard_normal(shape)) for h in self.half_lives])
        exposures -= exposures.mean(axis=2, keepdims=True)
        exposures *= np.sqrt(self.instruments / (self.instruments - 1.0))
        return exposures

    def _closes(
        self, expected: Doubles, streams: dict[str, np.random.Generator]
    ) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        """Return closes, returns in units of their volatility, this volatility, (T, N) each; and (N,) shares."""
        common, own = self._volatility(streams["volatility"])
        market = self.market_volatility * common[1:] * _shocks(streams["market"], (self.days - 1, 1))
        shocks = own[1:] * _shocks(streams["shocks"], (self.days - 1, self.instruments))
        rng = streams["instruments"]
        beta = np.clip(1.0 + 0.2 * rng.standard_normal(self.instruments), 0.4, 1.6)
        start = 10.0 * _exp(0.7 * rng.standard_normal(self.instruments))
        shares = 1e9 * _exp(0.8 * rng.standard_normal(self.instruments))
        growth = np.ones((self.days, self.instruments))
        growth[1:] += self.market_return + beta * market + expected + shocks
        surprise = (growth - 1.0) / np.sqrt(own**2 + (beta * self.market_volatility * common) ** 2)
        return start * np.cumprod(growth, axis=0), surprise, own, shares

    def _bars(
        self, close: Doubles, surprise: Doubles, volatility: Doubles, exposures: Doubles, rng: np.random.Generator
    ) -> dict[str, Doubles]:
        """Return open, high, low, close, vwap and turnover of one share, (T, N) each; characteristics are blurred."""
        seen = exposures + self.noise * rng.standard_normal(exposures.shape)
        body_seen, shadow_seen, vwap_seen, range_seen, volume_seen = seen
        width = close * np.minimum(_RANGE_PER_VOLATILITY * volatility * _exp(0.4 * range_seen), _WIDEST_RANGE)
        body = _WIDEST_BODY * portable(np.tanh(0.6 * body_seen + 0.2 * surprise))
        shadows = (1.0 - np.abs(body)) * width
        upper = _logistic(1.2 * shadow_seen)
        opened = close - body * width
        high = np.maximum(opened, close) + upper * shadows
        low = np.minimum(opened, close) - (1.0 - upper) * shadows
        return {
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "vwap": np.clip(low + _logistic(1.2 * vwap_seen) * (high - low), low, high),
            "volume": _TURNOVER * _exp(0.5 * volume_seen + 0.15 * np.abs(surprise)),
        }

    def _volatility(self, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
        """Return the market's (T, 1) volatility, relative to its mean square, and the instruments' (T, N), absolute."""
        common = _COMMON * autoregression(_decay(_COMMON_HALF_LIFE), rng.standard_normal((self.days, 1)))
        own = _OWN * autoregression(_decay(_OWN_HALF_LIFE), rng.standard_normal((self.days, self.instruments)))
        base = _BASE * rng.standard_normal(self.instruments)
        spread = _COMMON**2 + _OWN**2 + _BASE**2
        volatility = self.volatility * _exp(common + own + base - spread)
        return _exp(common - _COMMON**2), np.minimum(volatility, _HIGHEST_VOLATILITY)

    def _factor(self, rng: np.random.Generator) -> Doubles:
        """Return (T, N) cumulative adjustment: 1 at first, times 1.02 (dividend) or 1.5 (split) about once a year."""
        shape = (self.days, self.instruments)
        event = rng.random(shape) < 1.0 / 244.0
        size = np.where(rng.random(shape) < 0.1, 1.5, 1.02)
        event[0] = False
        factor: Doubles = np.cumprod(np.where(event, size, 1.0), axis=0, dtype=np.float64)
        return factor


def _shocks(rng: np.random.Generator, shape: tuple[int, int]) -> Doubles:
    """Return Student-t shocks of variance 1 before a symmetric cut, which keeps their mean at exactly 0."""
    shocks = rng.standard_t(_FREEDOM, shape) * np.sqrt((_FREEDOM - 2.0) / _FREEDOM)
    cut: Doubles = np.clip(shocks, -_WIDEST_SHOCK, _WIDEST_SHOCK)
    return cut
