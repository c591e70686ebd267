"""The schedule of a search: the configured one moved back, so that the validation period is its test range."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from typing import Any

from harness.config import ExperimentConfig, WindowsConfig, rebuild
from harness.data.calendar import Calendar
from harness.data.source import Source
from harness.data.truncated import TruncatedSource
from harness.errors import ConfigError
from harness.run.schedule import resolve_schedule
from harness.samples.windows import Schedule, Segment, walk_forward
from harness.store.records import TARGET

Dates = tuple[str, str]


@dataclass(frozen=True)
class ValidationPeriod:
    """Where a search judges.

    Attributes
    ----------
    windows
        The schedule of every trial, in dates.
    last
        The last time that a trial's data hold, as ISO text: the one before `decision`.
    decision
        The first decision of the final test range, which no trial reaches.
    """

    windows: WindowsConfig
    last: str
    decision: str

    @property
    def judged(self) -> Dates:
        """First and last time whose predictions are judged."""
        assert self.windows.test is not None
        first, last = self.windows.test
        return str(first), str(last)


def validation_period(config: WindowsConfig, calendar: Calendar, look_ahead: int) -> ValidationPeriod:
    """Move a schedule back by one segment.

    ========  ==============================================================================================
    test      the configured valid segment, without the times whose labels are known only in the final test range
    valid     the tail of the configured train segment, its share of the learning times as configured
    train     what is left of it
    ========  ==============================================================================================

    Step, kind, embargo and purge are the configured ones.

    Parameters
    ----------
    config
        The configured schedule; without dates its split is resolved on the calendar.
    calendar
        Of the whole panel.
    look_ahead
        A label at s is known at s + look_ahead.

    Raises
    ------
    ConfigError
        When there is no valid segment, or one of the moved segments would be empty.
    """
    final = resolve_schedule(config, calendar, look_ahead)
    walk_forward(final)
    moved = _moved(final)
    dates = {
        name: (calendar.format(segment.start), calendar.format(segment.last))
        for name, segment in (("train", moved.train), ("valid", moved.valid), ("test", moved.test))
        if segment is not None
    }
    windows = replace(config, train=dates["train"], valid=dates["valid"], test=dates["test"])
    decision = final.test.start
    return ValidationPeriod(
        windows=windows,
        last=str(calendar.times[decision - 1]),
        decision=calendar.format(decision),
    )


def on_validation(config: ExperimentConfig, period: ValidationPeriod, runs: str) -> ExperimentConfig:
    """Return the experiment of one trial: on the validation period, with data that end before the final test range.

    It has no intervals, which no objective needs, and its results go to the folder `runs`. A worker rebuilds the same
    experiment from its `composed` tree.
    """
    dates = {name: list(getattr(period.windows, name)) for name in ("train", "valid", "test")}
    tree: dict[str, Any] = json.loads(config.composed)
    tree["suite"], tree["audit"] = "search", "none"
    tree["data"] = _truncated(tree["data"], config.data, period.last)
    tree["windows"] |= dates
    tree["evaluation"]["significance"] = None
    tree["output"]["runs"] = runs
    tree["command"] += [f"windows.{name}=[{','.join(map(str, pair))}]" for name, pair in dates.items()]
    return rebuild(json.dumps(tree))


def _truncated(node: dict[str, Any], source: Source, last: str) -> dict[str, Any]:
    """Return `node`, the configuration of `source`, without anything after `last`.

    A source that transforms another one is cut at its root.
    """
    names: list[str] = [f.name for f in dataclasses.fields(source)] if dataclasses.is_dataclass(source) else []
    for name in names:
        inner = getattr(source, name)
        if isinstance(inner, Source):
            return {**node, name: _truncated(node[name], inner, last)}
    cut = f"{TruncatedSource.__module__}.{TruncatedSource.__qualname__}"
    return {TARGET: cut, "inner": node, "last": last}


def _moved(final: Schedule) -> Schedule:
    train, valid = final.train, final.valid
    if valid is None:
        raise ConfigError(
            "A search judges on the validation period, and there is none.",
            where="windows.valid",
            got=None,
            expected="windows.valid=[FIRST,LAST] between train and test, or a positive middle share in windows.split",
        )
    # The last label that is judged is known one time before the final test range is first decided on.
    stop = min(valid.stop, final.test.start - final.look_ahead)
    if stop <= valid.start:
        raise ConfigError(
            "The validation period is too short: no label in it is known before the final test range begins.",
            where="windows.valid",
            got=f"{len(valid)} periods",
            expected=f"more than {final.look_ahead} periods, the label's look-ahead",
        )
    tail = round(len(train) * len(valid) / (len(train) + len(valid)))
    needed = max(final.look_ahead + final.embargo - (valid.start - train.stop), 1)
    if not needed <= tail < len(train):
        raise ConfigError(
            "The train segment is too short to be cut into train and valid once more.",
            where="windows.train",
            got=f"{len(train)} periods, of which {tail} would be the trials' valid segment",
            expected=f"a train segment whose tail, by the share of valid, has at least {needed} periods",
            hint="give more periods to train, or a larger share to valid",
        )
    border = train.stop - tail
    return replace(
        final,
        train=Segment(train.start, border),
        valid=Segment(border, train.stop),
        test=Segment(valid.start, stop),
    )
