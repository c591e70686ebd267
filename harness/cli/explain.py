"""What a configuration means: its keys, its windows and its data. Nothing is fitted."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from harness.cli import tables
from harness.cli.application import OTHER_FOLDERS, group_choices
from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.cli.terminal import show
from harness.config import ExperimentConfig, compose_config, composed_yaml
from harness.config.schema import DescribedKey, describe_keys, experiment_schema, group_schema
from harness.data.convert import convert
from harness.data.panel import Panel
from harness.data.validation import describe, validate
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.evaluation.evaluate import year_of
from harness.execution.progress import telling
from harness.report.table import prose, table
from harness.run.pipeline import Pipeline
from harness.run.schedule import check, describe_windows, resolve_windows

_SEVERAL = ("experiment", "compat")  # their files change several groups


def config_of(arguments: Namespace) -> ExperimentConfig:
    return compose_config(arguments.overrides, search_path=arguments.config_dir)


def _with_panel(arguments: Namespace, err: ErrorConsole) -> tuple[ExperimentConfig, Panel]:
    config = config_of(arguments)
    with progress(err) as observer:
        return config, Pipeline(config, observer=observer).panel


def explain(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    config, panel = _with_panel(arguments, err)
    look_ahead = config.label.look_ahead
    windows = resolve_windows(config.windows, panel.calendar, look_ahead)
    rows = check(config, panel, windows)
    if arguments.json:
        out.write_json({"look_ahead": look_ahead, "windows": describe_windows(windows, panel.calendar)})
        return 0
    show(out, tables.windows_table(windows, panel.calendar, rows))
    out.write(tables.windows_summary(config, look_ahead))
    year = year_of(panel.calendar, config.evaluation.signal.periods_per_year, config.evaluation.rules)
    out.write(f"a year    {year.periods:,} periods ({year.source})")
    return 0


def config(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    if arguments.schema is not None:
        out.write(json.dumps(_schema(arguments.schema, arguments.config_dir), indent=1, ensure_ascii=False))
        return 0
    if arguments.describe is None and not arguments.json:
        out.write_document(composed_yaml(arguments.overrides, search_path=arguments.config_dir))
        return 0
    tree = json.loads(config_of(arguments).composed)
    if arguments.describe is None:
        out.write_json(tree)
        return 0
    found = describe_keys(tree, arguments.describe)
    if not found:
        raise _unknown_key(arguments.describe, [known.key for known in describe_keys(tree)])
    if arguments.json:
        out.write_json([vars(key) for key in found])
    else:
        show(out, table("", ("key", *prose("value", "accepts", "meaning")), map(_described, found)))
    return 0


def _described(key: DescribedKey) -> tuple[str, ...]:
    value = key.value if isinstance(key.value, str) else json.dumps(key.value, ensure_ascii=False)
    return key.key, value, key.accepts, key.meaning


def _schema(group: str, search_path: list[str]) -> dict[str, object]:
    known = (*group_choices(), *OTHER_FOLDERS)
    if group not in known:
        what, expected = f"There is no configuration group `{group}`.", ", ".join(known)
        hint = closest(group, known) or "without GROUP: files that change several groups"
        raise ConfigError(what, where="--schema", got=group, expected=expected, hint=hint)
    return experiment_schema(search_path) if group in _SEVERAL else group_schema(group, search_path)


def _unknown_key(key: str, known: list[str]) -> UnknownKeyError:
    siblings = [k for k in known if k.rpartition(".")[0] == key.rpartition(".")[0]]
    what, expected = (
        f"There is no configuration key `{key}`.",
        ", ".join(siblings or [k for k in known if "." not in k]),
    )
    return UnknownKeyError(what, where="--describe", got=key, expected=expected, hint=closest(key, known))


def data_info(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    record = describe(_with_panel(arguments, err)[1])
    if arguments.json:
        out.write_json(record)
    else:
        show(out, tables.record_table("panel", record))
    return 0


def data_validate(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    """Load the panel afresh, which checks its contract, and list what looks odd."""
    config = config_of(arguments)
    with progress(err) as observer, telling(observer, "validate"):
        panel = config.data.load()
    found = validate(panel)
    if arguments.json:
        out.write_json([vars(finding) for finding in found])
    else:
        show(out, tables.findings_table(found))
    return 0


def data_convert(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    _, panel = _with_panel(arguments, err)
    with progress(err) as observer, telling(observer, "convert"):
        convert(panel, Path(arguments.out), arguments.to, universe=arguments.universe)
    out.write(f"written to {arguments.out}")
    return 0
