"""What the exchange offers at each time: prices, whether orders are accepted, lots, the benchmark's return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import ConfigError, DataError, closest
from harness.portfolio.topk_dropout import TopkDropout

__all__ = ["Market", "market_of"]

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Market:
    """The exchange during S times; N instruments.

    Attributes
    ----------
    close
        (S, N) float64, NaN while suspended.
    deal
        (S, N) float64, the price of orders, NaN while suspended.
    can_buy, can_sell
        (S, N) bool, false while suspended or at a limit.
    factor
        (S, N) float64, raw shares per adjusted share; None when any amount may be traded.
    benchmark
        (S,) float64 return since the time before.
    """

    close: Doubles
    deal: Doubles
    can_buy: Flags
    can_sell: Flags
    factor: Doubles | None
    benchmark: Doubles


def market_of(panel: Panel, start: int, stop: int, config: TopkDropout) -> Market:
    """Return the exchange during calendar positions [start, stop).

    An instrument is suspended where it has no close, or where the panel has a volume and it is missing or zero. The
    change of price that limits are compared with is the panel's field ``change``, or else made of the close and the
    last close before it.

    Raises
    ------
    ConfigError
        When the panel lacks the deal price or the benchmark.
    DataError
        When lots are asked for and the factor is missing.
    """
    if config.deal_price not in panel.fields:
        raise ConfigError(
            "The panel has no such price.",
            where="evaluation.portfolio.deal_price",
            got=config.deal_price,
            expected=", ".join(panel.fields),
            hint=closest(config.deal_price, panel.fields),
        )
    close = panel.fields[panel.price_field].astype(np.float64)  # (T, N)
    if "volume" in panel.fields:
        close[~(panel.fields["volume"] > 0)] = np.nan
    before = _last_before(close)
    span = slice(start, stop)
    can_buy, can_sell = _accepted(panel, close, before, span, config)
    deal = panel.fields[config.deal_price][span].astype(np.float64)
    # A missing deal price is replaced by the close, as qlib's exchange does.
    deal = np.where(deal > 1e-8, deal, close[span])
    deal[np.isnan(close[span])] = np.nan
    return Market(
        close=close[span],
        deal=deal,
        can_buy=can_buy,
        can_sell=can_sell,
        factor=None if config.trade_unit is None else _factor(panel, close, span),
        benchmark=_benchmark(panel, close, before, span, config),
    )


def _accepted(panel: Panel, close: Doubles, before: Doubles, span: slice, config: TopkDropout) -> tuple[Flags, Flags]:
    trading = ~np.isnan(close[span])
    if config.limit_threshold is None:
        return trading, trading
    change = panel.fields["change"][span] if "change" in panel.fields else close[span] / before[span] - 1.0
    up, down = change >= config.limit_threshold, change <= -config.limit_threshold
    if config.forbid_all_trade_at_limit:
        up = down = up | down
    return trading & ~up, trading & ~down


def _factor(panel: Panel, close: Doubles, span: slice) -> Doubles:
    hint = "trade any amount with evaluation.portfolio.trade_unit=null"
    if "factor" not in panel.fields:
        raise DataError(
            "Lots need the adjustment factor, and the panel has none.",
            where="panel.fields",
            got=", ".join(panel.fields),
            expected="a field `factor`",
            hint=hint,
        )
    factor: Doubles = panel.fields["factor"][span].astype(np.float64)
    lacking = ~np.isnan(close[span]) & ~(factor > 0)
    if lacking.any():
        at, column = (int(v[0]) for v in np.nonzero(lacking))
        raise DataError(
            f"{int(lacking.sum())} traded prices have no positive adjustment factor.",
            where=f"{panel.instruments[column]} at {panel.calendar.format(span.start + at)}",
            got=factor[at, column],
            hint=hint,
        )
    return factor


def _benchmark(panel: Panel, close: Doubles, before: Doubles, span: slice, config: TopkDropout) -> Doubles:
    if config.benchmark == "cash":
        return np.zeros(span.stop - span.start)
    if config.benchmark == "universe":
        known = panel.membership[span] & ~np.isnan(close[span]) & ~np.isnan(before[span])
        change = np.where(known, close[span] / before[span] - 1.0, 0.0)
        mean: Doubles = change.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return mean
    if panel.benchmark is None:
        raise ConfigError(
            "The panel has no benchmark index.",
            where="evaluation.portfolio.benchmark",
            got=config.benchmark,
            expected="universe | cash",
        )
    level = panel.benchmark.close.astype(np.float64)[:, None]
    change = (level / _last_before(level) - 1.0)[span, 0]
    return np.where(np.isnan(change), 0.0, change)


def _last_before(values: Doubles) -> Doubles:
    """Return (T, N), the last value that was not missing strictly before each time; NaN when there was none."""
    newest = np.where(np.isnan(values), -1, np.arange(values.shape[0])[:, None])
    np.maximum.accumulate(newest, axis=0, out=newest)
    before = np.full_like(values, np.nan)
    before[1:] = np.where(newest[:-1] >= 0, np.take_along_axis(values, newest[:-1], axis=0), np.nan)
    return before
