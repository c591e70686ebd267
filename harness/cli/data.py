"""`bench data`: look at, check or convert market data."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from harness.cli import tables
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands, add_command, config_of, stages_of
from harness.cli.terminal import show
from harness.data.convert import convert
from harness.data.validation import describe, validate
from harness.store.artifacts import canonical_json

_HELP = {
    "info": """\
Print what a panel holds: fields, dates, instruments, members a day, missing values, fingerprint.

examples:
  bench data info data=cn_csi300
  bench data info data=tabular data.path=my.parquet --json

exit codes: 0 fine, 2 a mistake in the command or the data""",
    "validate": """\
Check a panel. What breaks its contract is an error (exit code 2); what merely looks odd is listed and counted.

examples:
  bench data validate data=cn_csi300
  bench data validate data=qlib_bin data.path=qlib_data/cn_data

exit codes: 0 fine, 2 a mistake in the command or the data""",
    "convert": """\
Write a panel as long Parquet with a membership file, or in qlib's directory format.

examples:
  bench data convert data=cn_csi300 --to qlib_bin --out qlib_data --universe csi300
  bench data convert data=qlib_bin data.path=qlib_data --to long --out my_panel

exit codes: 0 fine, 2 a mistake in the command or the data""",
}


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command with its actions."""
    parser = groups.add_parser("data", help="look at, check or convert market data")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = add_command(actions, "info", "print what the panel holds", _HELP["info"])
    info.set_defaults(command=data_info)
    check = add_command(actions, "validate", "check the panel and list what looks wrong", _HELP["validate"])
    check.set_defaults(command=data_validate)
    for action in (info, check):
        action.add_argument("--json", action="store_true", help="print JSON")
    write = add_command(actions, "convert", "write the panel in another format", _HELP["convert"])
    write.add_argument("--to", choices=("long", "qlib_bin"), required=True, help="the format to write")
    write.add_argument("--out", required=True, metavar="FOLDER", help="a new folder for the result")
    write.add_argument("--universe", default="universe", metavar="NAME", help="name of the membership file")
    write.set_defaults(command=data_convert)


def data_info(arguments: Arguments, out: Console, err: Console) -> int:
    """Print what the panel holds."""
    config = config_of(arguments)
    with ProgressObserver(err) as observer:
        record = describe(stages_of(config, observer).panel())
    if arguments.json:
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
    else:
        show(out, tables.record_table("panel", record))
    return 0


def data_validate(arguments: Arguments, out: Console, err: Console) -> int:
    """Load the panel afresh, which checks its contract, and list what looks odd."""
    config = config_of(arguments)
    with ProgressObserver(err) as observer:
        observer.start("validate", 1)
        panel = config.data.load()
        observer.finish("validate")
    found = validate(panel)
    if arguments.json:
        out.print(canonical_json([vars(f) for f in found], indent=1), markup=False, soft_wrap=True, end="")
    else:
        show(out, tables.findings_table(found))
    return 0


def data_convert(arguments: Arguments, out: Console, err: Console) -> int:
    """Write the panel in another format."""
    config = config_of(arguments)
    with ProgressObserver(err) as observer:
        panel = stages_of(config, observer).panel()
        observer.start("convert", 1)
        convert(panel, Path(arguments.out), arguments.to, universe=arguments.universe)
        observer.finish("convert")
    out.print(f"written to {arguments.out}", markup=False, soft_wrap=True)
    return 0
