"""`bench explain`: which windows would be walked."""

from __future__ import annotations

import argparse

from rich.console import Console

from harness.cli import tables
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands, add_command, config_of, stages_of
from harness.cli.terminal import show
from harness.evaluation.evaluate import year_of
from harness.run.schedule import check, describe_windows, resolve_windows
from harness.store.artifacts import canonical_json

_HELP = """\
Print every window of a configuration: dates, purge and rows, without computing a feature or fitting anything; refuse
what `bench run` would refuse for its data or its evaluation.

examples:
  bench explain data=cn_csi300 windows.step=20
  bench explain label.horizon=5 windows=sliding

exit codes: 0 fine, 2 a mistake in the command or the data"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(groups, "explain", "print the windows of a configuration without running anything", _HELP)
    parser.add_argument("--json", action="store_true", help="print the windows as JSON instead of a table")
    parser.set_defaults(command=explain)


def explain(arguments: Arguments, out: Console, err: Console) -> int:
    """Print the windows of a configuration: dates, purge, rows."""
    config = config_of(arguments)
    with ProgressObserver(err) as observer:
        panel = stages_of(config, observer).panel()
    look_ahead = config.label.look_ahead
    windows = resolve_windows(config.windows, panel.calendar, look_ahead)
    rows = check(config, panel, windows)
    if arguments.json:
        described = describe_windows(windows, panel.calendar)
        out.print(canonical_json({"look_ahead": look_ahead, "windows": described}, indent=1), markup=False, end="")
        return 0
    show(out, tables.windows_table(windows, panel.calendar, rows))
    out.print(tables.windows_summary(config, look_ahead), markup=False, soft_wrap=True)
    criteria = config.evaluation
    year = year_of(panel.calendar, criteria.signal.periods_per_year, criteria.rules)
    out.print(f"a year    {year.periods:,} periods ({year.source})", markup=False, soft_wrap=True)
    return 0
