"""The configured dates, resolved on a calendar to walk-forward windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from harness.config import ExperimentConfig, WindowsConfig
from harness.data.calendar import Calendar
from harness.data.dates import When
from harness.data.panel import Panel
from harness.data.validation import PRICES
from harness.errors import ConfigError, DataError, RefusedError
from harness.errors.limits import traits_of
from harness.evaluation.metrics import check_needs
from harness.evaluation.portfolio.market import Market, check_change
from harness.evaluation.portfolio.strategy import Strategy
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.features.engine import check_fields
from harness.features.expression import fields_of, parse
from harness.samples.interfaces import Model, ModelTraits, PreprocessTraits
from harness.samples.table import RowIndex, index_rows
from harness.samples.windows import Schedule, Segment, Window, walk_forward
from harness.store.records import TARGET, describe, walk

Dates = tuple[When, When]


def resolve_schedule(config: WindowsConfig, calendar: Calendar, look_ahead: int) -> Schedule:
    """Return the schedule in calendar positions; where no dates are given, the calendar is cut by `config.split`.

    Raises:
        ConfigError: When a segment holds no time of the calendar; the key and the calendar's range are named.
    """
    if config.train is not None and config.test is not None:
        train, valid, test = _dated(config, calendar)
    else:
        train, valid, test = _cut(len(calendar), config.split)
    same = {key: getattr(config, key) for key in ("step", "kind", "embargo", "purge_valid", "include_valid", "memory")}
    return Schedule(train=train, valid=valid, test=test, look_ahead=look_ahead, **same)


def resolve_windows(config: WindowsConfig, calendar: Calendar, look_ahead: int) -> tuple[Window, ...]:
    """Return the walk-forward windows of a configuration on a calendar."""
    return walk_forward(resolve_schedule(config, calendar, look_ahead))


def describe_windows(windows: tuple[Window, ...], calendar: Calendar) -> list[dict[str, object]]:
    """Return each window as first and last dates, for snapshots and for people."""

    def dates(segment: Segment | None) -> list[str] | None:
        return None if segment is None else [calendar.format(segment.start), calendar.format(segment.last)]

    names = ("train", "valid", "test")
    return [{"index": window.index, **{name: dates(getattr(window, name)) for name in names}} for window in windows]


def _dated(config: WindowsConfig, calendar: Calendar) -> tuple[Segment, Segment | None, Segment]:
    found: dict[str, Segment] = {}
    before: tuple[str, Dates] | None = None
    for name, dates in (("train", config.train), ("valid", config.valid), ("test", config.test)):
        if dates is None:
            continue
        start, stop = calendar.span(*dates)
        if start >= stop:
            first, last = calendar.format(0), calendar.format(len(calendar) - 1)
            expected = f"first and last date, in order, within {first} … {last}"
            what = "The segment holds no time of the calendar."
            raise ConfigError(what, where=f"windows.{name}", got=_text(dates), expected=expected)
        if before is not None and start < found[before[0]].stop:
            what, got = "Segments must follow each other without overlap.", f"{before[0]} {_text(before[1])}"
            expected = f"a {name} segment that starts after {_text(before[1][1:])}"
            raise ConfigError(what, where=f"windows.{name}", got=f"{got}, {name} {_text(dates)}", expected=expected)
        found[name], before = Segment(start, stop), (name, dates)
    return found["train"], found.get("valid"), found["test"]


def _text(dates: Sequence[When]) -> str:
    return " … ".join("open" if date is None else str(date) for date in dates)


def _cut(times: int, split: tuple[float, float, float]) -> tuple[Segment, Segment | None, Segment]:
    first = round(times * split[0])
    second = round(times * (split[0] + split[1]))
    last = round(times * sum(split))
    if not 0 < first <= second < last:
        what = "The calendar is too short to be cut into train, valid and test."
        got = f"{times} periods by {list(split)}"
        expected = "a longer calendar, or dates in windows.train and windows.test"
        raise RefusedError(what, where="windows.split", got=got, expected=expected)
    return Segment(0, first), Segment(first, second) if second > first else None, Segment(second, last)


# Processors across the instruments of a time; keys whose value ranks; and choices that have a variant for series.
_ACROSS = ("CSRankNorm", "CSZScoreNorm")
_RANKING = MappingProxyType({"adaptation.error": "ic", "adaptation.criterion": "ic_loss"})
_FOR_SERIES = ("ddgda", "forgetting_mixture", "triggered")
_ANOTHER_UNIT = 1.5  # times the close, in the median: what no open, vwap or close of another hour is


def check(config: ExperimentConfig, panel: Panel, windows: tuple[Window, ...]) -> RowIndex:
    """Refuse an experiment that cannot be judged, whatever its models predict; return its rows.

    Raises:
        HarnessError: When an expression or a metric reads a field that is not there, a window has nothing to learn from
            or to predict, the portfolio would hold everything there is, or its price, lots, limits or benchmark are
            missing.
    """
    check_fields(panel, {"label": parse(config.label.expression_text), **config.features.feature_set().asked_for()})
    if config.label.expression is None:
        for price in sorted(fields_of(parse(config.label.price)) & set(PRICES)):
            _refuse_no_price(panel, price, slice(None), "label", "give a label of differences: 'label.expression=…'")
    check_needs(config.evaluation.extra, panel.fields)
    if config.evaluation.errors is not None:
        _check_errors(config)
    rows = index_rows(panel, listed=config.samples.rows == "listed")
    _check_windows(rows, panel, windows)
    if config.evaluation.portfolio is not None:
        _check_portfolio(config.evaluation.portfolio, panel, windows[0].test.start, windows[-1].test.stop)
    return rows


def _check_errors(config: ExperimentConfig) -> None:
    """Refuse to judge errors of what is no value ahead, or of forecasts in another unit than the label's."""
    if config.label.target is None:
        what, expected = "Errors are those of a value ahead.", "such as Ref($value, -24): label=forward_value"
        raise ConfigError(what, where="label.expression", got=config.label.expression_text, expected=expected)
    if not traits_of(config.preprocess, PreprocessTraits, "preprocess").keeps_label_unit:
        what, got = "The forecasts would be in another unit than the label, and have no errors.", config.choices
        expected = "preprocess=series, or preprocess=none"
        raise ConfigError(what, where="preprocess.label", got=got.get("preprocess"), expected=expected)
    if config.evaluation.signal is None:
        _check_ranked(describe(config.adaptation), config.choices.get("adaptation"))


def _check_ranked(adaptation: object, choice: str | None) -> None:
    """Refuse an adaptation that ranks labels, or its own forecasts, across instruments where nothing is judged so."""
    for key, value in walk(adaptation, "adaptation"):
        ranks = isinstance(value, Mapping) and str(value.get(TARGET, "")).endswith(_ACROSS) and ".label[" in key
        if ranks or (key in _RANKING and value == _RANKING[key]):
            what = "This adaptation judges by ranks across instruments, which sets of series do not have."
            hint = f"adaptation={choice}_series" if choice in _FOR_SERIES else None
            expected = "something that is judged by its errors, each series on its own scale"
            raise ConfigError(what, where=key, got=value.get(TARGET) if ranks else value, expected=expected, hint=hint)


def _check_windows(rows: RowIndex, panel: Panel, windows: tuple[Window, ...]) -> None:
    """Refuse windows without rows; only those may have none that begin behind the last row: a future calendar."""
    offsets, shown = rows.offsets, panel.calendar.format
    busy = np.flatnonzero(np.diff(offsets))
    if not busy.size:
        return  # the sample table refuses a panel without any row, and says more
    last = shown(int(busy[-1]))
    if windows[0].test.start > busy[-1]:
        got = f"{shown(windows[0].test.start)} … {shown(windows[-1].test.last)}"
        what, expected = "The test range lies behind the data: it has no row.", f"times up to the last row, {last}"
        raise DataError(what, where="windows.test", got=got, expected=expected)
    empty = [
        (window.index, name, segment)
        for window in windows
        if window.test.start <= busy[-1]
        for name, segment in (("train", window.train), ("valid", window.valid), ("test", window.test))
        if segment is not None and offsets[segment.start] == offsets[segment.stop]
    ]
    if empty:
        index, name, segment = empty[0]
        what = f"{len(empty)} segment(s) of {len({at for at, _, _ in empty})} of {len(windows)} windows have no row"
        where, got = f"the {name} segment of window {index}", f"{shown(segment.start)} … {shown(segment.last)}"
        what, expected = f"{what}: nobody in the universe has a price there.", "segments with members that have prices"
        hint = "`bench data info` shows membership and dates; windows.train, .valid and .test move the segments"
        raise DataError(what, where=where, got=got, expected=expected, hint=hint)


def _refuse_no_price(panel: Panel, field: str, times: slice, where: str, hint: str) -> None:
    """Refuse returns of a field that is 0 or negative for a member in these times."""
    bad = (panel.fields[field][times] <= 0) & panel.membership[times]
    if bad.any():
        at, column = (int(v[0]) for v in np.nonzero(bad))
        day, value = panel.calendar.format((times.start or 0) + at), panel.fields[field][times][at, column]
        got, values = f"{panel.instruments[column]} at {day}: {value:g}", f"{int(bad.sum()):,} values of `{field}`"
        what = f"Returns need positive prices, and {values} of members are 0 or negative."
        raise DataError(what, where=where, got=got, expected="positive prices", hint=hint)


def _check_deal_price(panel: Panel, field: str, start: int, stop: int) -> None:
    """Refuse a deal price that is missing, or in another unit than the price at which holdings are valued."""
    where = "evaluation.portfolio.deal_price"
    deal, price = (panel.fields[name][start:stop].astype(np.float64) for name in (field, panel.price_field))
    known = (deal > 0) & panel.membership[start:stop] & panel.traded[start:stop]
    if not known.any():
        what, expected = "The deal price is missing in the whole test range.", "a field with prices, such as"
        raise DataError(what, where=where, got=field, expected=f"{expected} {panel.price_field}")
    ratio = float(np.median(deal[known] / price[known]))
    if not 1.0 / _ANOTHER_UNIT <= ratio <= _ANOTHER_UNIT:
        what = f"The deal price `{field}` is in another unit than `{panel.price_field}`, at which holdings are valued."
        got = f"a median of {ratio:.4g} times `{panel.price_field}` in the test range"
        hint = "both raw or both adjusted, and a vwap of amount and volume in matching units"
        raise DataError(what, where=where, got=got, expected="about 1", hint=hint)


def _check_portfolio(strategy: Strategy, panel: Panel, start: int, stop: int) -> None:
    hint = "evaluation=signal judges forecasts without a portfolio"
    _refuse_no_price(panel, panel.price_field, slice(max(start - 1, 0), stop), "evaluation.portfolio", hint)
    trading, topk = strategy.trading, strategy.topk if isinstance(strategy, TopkDropout) else 0
    market = Market(panel, start, stop, trading)
    members = int((panel.traded[start:stop] & panel.membership[start:stop]).any(axis=0).sum())
    if topk >= members:
        # The built-in portfolios hold the best fifth of 250 and replace a tenth of it.
        fifth = max(members // 5, 1)
        smaller = f"evaluation.portfolio.topk={fifth} evaluation.portfolio.n_drop={max(fifth // 10, 1)}"
        hint = hint if members < 2 else f"a fifth of them: {smaller}"
        what = "A portfolio of the best must leave some out: topk reaches the number of instruments in the test range."
        expected = f"less than {members}, the members that have a price in the test range"
        raise ConfigError(what, where="evaluation.portfolio.topk", got=topk, expected=expected, hint=hint)
    if trading.limit_threshold is not None:
        check_change(panel, start, stop)  # before what follows: in another unit it can be at the limit everywhere
    if not (market.can_buy.any() and market.can_sell.any()):
        return  # a note of the result says that nothing was traded, and what would
    _check_deal_price(panel, trading.deal_price, start, stop)


def learning_segments(window: Window, model: Model) -> tuple[Segment, Segment | None]:
    """Return the segments that a model trains on and stops early on.

    A model that needs no validation trains on the valid segment too, unless its `include_valid` or, where it does not
    say, the window's is false.
    """
    if model.needs_valid:
        return window.train, window.valid
    said = traits_of(model, ModelTraits).include_valid
    return (window.whole_past if (window.include_valid if said is None else said) else window.train), None
