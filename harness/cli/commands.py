"""What each `bench` command does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from harness.artifacts import ArtifactStore, canonical_json
from harness.cli import tables
from harness.cli.progress import ProgressObserver
from harness.config import ExperimentConfig, compose_config, composed_yaml
from harness.data.convert import convert
from harness.data.validation import describe, validate
from harness.experiment import run as run_config
from harness.provenance import Stopwatch
from harness.samples import index_rows
from harness.schedule import describe_windows, resolve_windows
from harness.stages import Stages

__all__ = ["data_convert", "data_info", "data_validate", "explain", "run"]

Arguments = argparse.Namespace


def run(arguments: Arguments, out: Console, err: Console) -> int:
    """Run one experiment, print its table and where the snapshot lies."""
    if arguments.cfg:
        out.print(composed_yaml(arguments.overrides, search_path=arguments.config_dir), markup=False, end="")
        return 0
    config = _config(arguments)
    with ProgressObserver(err) as observer:
        result = run_config(config, observer)
    if arguments.json:
        record = {"folder": str(result.folder), "snapshot": json.loads(result.snapshot.to_json())}
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
        return 0
    out.print(tables.result_table(result))
    out.print(tables.result_summary(result), markup=False, soft_wrap=True)
    return 0


def explain(arguments: Arguments, out: Console, err: Console) -> int:
    """Print the windows of a configuration: dates, purge, rows."""
    config = _config(arguments)
    with ProgressObserver(err) as observer:
        panel = _stages(config, observer).panel()
    look_ahead = config.label.look_ahead
    windows = resolve_windows(config.windows, panel.calendar, look_ahead)
    rows = index_rows(panel, listed=config.samples.rows == "listed")
    if arguments.json:
        described = describe_windows(windows, panel.calendar)
        out.print(canonical_json({"look_ahead": look_ahead, "windows": described}, indent=1), markup=False, end="")
        return 0
    out.print(tables.windows_table(windows, panel.calendar, rows))
    out.print(tables.windows_summary(config, look_ahead), markup=False, soft_wrap=True)
    return 0


def data_info(arguments: Arguments, out: Console, err: Console) -> int:
    """Print what the panel holds."""
    config = _config(arguments)
    with ProgressObserver(err) as observer:
        record = describe(_stages(config, observer).panel())
    if arguments.json:
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
    else:
        out.print(tables.record_table("panel", record))
    return 0


def data_validate(arguments: Arguments, out: Console, err: Console) -> int:
    """Load the panel afresh, which checks its contract, and list what looks odd."""
    config = _config(arguments)
    with ProgressObserver(err) as observer:
        observer.start("validate", 1)
        panel = config.data.load()
        observer.finish("validate")
    found = validate(panel)
    if arguments.json:
        out.print(canonical_json([vars(f) for f in found], indent=1), markup=False, soft_wrap=True, end="")
    else:
        out.print(tables.findings_table(found))
    return 0


def data_convert(arguments: Arguments, out: Console, err: Console) -> int:
    """Write the panel in another format."""
    config = _config(arguments)
    with ProgressObserver(err) as observer:
        panel = _stages(config, observer).panel()
        observer.start("convert", 1)
        convert(panel, Path(arguments.out), arguments.to, universe=arguments.universe)
        observer.finish("convert")
    out.print(f"written to {arguments.out}", markup=False, soft_wrap=True)
    return 0


def _config(arguments: Arguments) -> ExperimentConfig:
    return compose_config(arguments.overrides, search_path=arguments.config_dir)


def _stages(config: ExperimentConfig, observer: ProgressObserver) -> Stages:
    return Stages(config, ArtifactStore(Path(config.output.store)), Stopwatch(), observer)
