"""What a configuration means: its keys, its windows and its data. Nothing is fitted."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.cli.application import OTHER_FOLDERS, group_choices
from harness.cli.composed import config_of
from harness.cli.declaration import Answer
from harness.config import ExperimentConfig, composed_yaml
from harness.config.schema import describe_keys, experiment_schema, group_schema
from harness.data.calendar import Calendar
from harness.data.convert import convert
from harness.data.panel import Panel
from harness.data.validation import a_share_limit, describe, validate
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.evaluation.evaluate import year_of
from harness.evaluation.portfolio.strategy import Strategy
from harness.execution.progress import PlainObserver, telling
from harness.report.table import Table, numbers, prose, table
from harness.run.pipeline import Pipeline
from harness.run.schedule import check, describe_windows, resolve_windows
from harness.run.window_data import write_window
from harness.samples.table import RowIndex
from harness.samples.windows import Segment, Window

_SEVERAL = ("experiment", "compat")  # their files change several groups


def _with_panel(arguments: Namespace, observer: PlainObserver) -> tuple[ExperimentConfig, Panel]:
    config = config_of(arguments)
    return config, Pipeline(config, observer=observer).panel


def explain(arguments: Namespace, observer: PlainObserver) -> Answer:
    config, panel = _with_panel(arguments, observer)
    look_ahead, calendar = config.label.look_ahead, panel.calendar
    windows = resolve_windows(config.windows, calendar, look_ahead)
    rows = check(config, panel, windows)
    year, judged = year_of(calendar, config.evaluation.periods_per_year, config.evaluation.rules), config.evaluation
    annualised = judged.signal is not None or judged.portfolio is not None
    embargo = "" if config.windows.embargo == 0 else f", and {config.windows.embargo} more of embargo"
    lines = (
        f"label     {config.label.expression_text}",
        f"purge     a label is known {look_ahead} periods after its own, so learning ends {look_ahead} periods before "
        f"the decision{embargo}",
        *([f"a year    {year.periods:,} periods ({year.source})"] if annualised else []),
    )
    record = {"look_ahead": look_ahead, "windows": describe_windows(windows, calendar)}
    return Answer([windows_table(windows, calendar, rows), *lines], record)


def windows_table(windows: Sequence[Window], calendar: Calendar, rows: RowIndex) -> Table:
    """Return one row per window: its segments as dates, what the purge leaves out, and the rows of train and test."""
    counts = np.diff(rows.offsets)
    shown = [
        (
            str(window.index),
            _dates(window.train, calendar),
            _dates(window.valid, calendar),
            f"{window.decision - window.learn_stop} periods",
            calendar.format(window.decision),
            _dates(window.test, calendar),
            *(f"{counts[segment.start : segment.stop].sum():,}" for segment in (window.train, window.test)),
        )
        for window in windows
    ]
    columns = ("window", "train", "valid", "purged", "decision", "test", *numbers("train rows", "test rows"))
    return table(f"{len(windows)} windows", columns, shown)


def _dates(segment: Segment | None, calendar: Calendar) -> str:
    return "–" if segment is None else f"{calendar.format(segment.start)} … {calendar.format(segment.last)}"


def config(arguments: Namespace, observer: PlainObserver) -> Answer:
    if arguments.schema is not None:
        schema = _schema(arguments.schema, arguments.config_dir)
        return Answer(record=f"{json.dumps(schema, indent=1, ensure_ascii=False)}\n")
    if arguments.describe is None and not arguments.json:
        return Answer(record=composed_yaml(arguments.overrides, search_path=arguments.config_dir))
    tree = json.loads(config_of(arguments).composed)
    if arguments.describe is None:
        return Answer(record=tree)
    found = describe_keys(tree, arguments.describe)
    if not found:
        raise _unknown_key(arguments.describe, [known.key for known in describe_keys(tree)])
    values = (key.value if isinstance(key.value, str) else json.dumps(key.value, ensure_ascii=False) for key in found)
    rows = ((key.key, value, key.accepts, key.meaning) for key, value in zip(found, values, strict=True))
    return Answer([table("", ("key", *prose("value", "accepts", "meaning")), rows)], found)


def _schema(group: str, search_path: list[str]) -> dict[str, object]:
    known = (*group_choices(), *OTHER_FOLDERS)
    if group not in known:
        what, expected = f"There is no configuration group `{group}`.", ", ".join(known)
        hint = closest(group, known) or "without GROUP: files that change several groups"
        raise ConfigError(what, where="--schema", got=group, expected=expected, hint=hint)
    return experiment_schema(search_path) if group in _SEVERAL else group_schema(group, search_path)


def _unknown_key(key: str, known: list[str]) -> UnknownKeyError:
    what, above = f"There is no configuration key `{key}`.", key.rpartition(".")[0]
    expected = [k for k in known if k.rpartition(".")[0] == above] or [k for k in known if "." not in k]
    return UnknownKeyError(what, where="--describe", got=key, expected=", ".join(expected), hint=closest(key, known))


def data_info(arguments: Namespace, observer: PlainObserver) -> Answer:
    record = describe(_with_panel(arguments, observer)[1])
    rows = ((name.replace("_", " "), _plain(value)) for name, value in record.items())
    return Answer([table("panel", ("", *prose("")), rows)], record)


def data_validate(arguments: Namespace, observer: PlainObserver) -> Answer:
    """Load the panel afresh, which checks its contract, and list what looks odd."""
    config = config_of(arguments)
    with telling(observer, "validate"):
        panel = config.data.load()
        found = validate(panel, limit=_price_limit(config.evaluation.portfolio, panel))
    names = ("count", "examples", *(["advice"] if any(finding.advice for finding in found) else []))
    rows = [(finding.what, *(_plain(vars(finding)[name]) for name in names)) for finding in found]
    shown = table("what looks odd", ("what", *prose(*names)), rows)
    return Answer([shown if found else table("nothing looks odd", (), ())], found)


def _price_limit(portfolio: Strategy | None, panel: Panel) -> float | None:
    """Return the limit, in whole per cent, that the portfolio's threshold lies a little below; by default A-shares'."""
    if portfolio is None:
        return a_share_limit(panel.instruments)
    threshold = portfolio.trading.limit_threshold
    return None if threshold is None else math.ceil(round(100 * threshold, 6)) / 100


def data_convert(arguments: Namespace, observer: PlainObserver) -> Answer:
    _, panel = _with_panel(arguments, observer)
    with telling(observer, "convert"):
        convert(panel, Path(arguments.out), arguments.to, universe=arguments.universe)
    return Answer([f"written to {arguments.out}"])


def data_window(arguments: Namespace, observer: PlainObserver) -> Answer:
    pipeline, folder = Pipeline(config_of(arguments), observer=observer), Path(arguments.out)
    written = write_window(pipeline, arguments.window, folder)
    window, calendar = pipeline.windows[arguments.window], pipeline.panel.calendar
    rows = ((str(folder / name), f"{count:,}") for name, count in written.items())
    shown = table(f"window {arguments.window}", ("file", *numbers("rows")), rows)
    decision = f"decision  {calendar.format(window.decision)}: nothing in train and valid was known later"
    return Answer([shown, decision], {"folder": str(folder), "rows": written})


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
