"""Entry point: parse the command, run it, turn errors into one clear message and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from harness.cli import commands
from harness.cli.help import DATA_HELP, EXPLAIN_HELP, MAIN_HELP, RUN_HELP, config_groups
from harness.errors import HarnessError
from harness.provenance import code_version

__all__ = ["main"]

_INTERRUPTED = 130
_WIDTH_OF_A_FILE = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `bench` command and return its exit code: 0 fine, 2 a mistake of the user, 130 interrupted."""
    parser = _parser()
    given = parser.parse_args(arguments)
    out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    err = Console(stderr=True, highlight=False)
    try:
        return int(given.command(given, out, err))
    except HarnessError as error:
        err.print(f"bench: {error}", style="bold red", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        err.print("bench: interrupted; finished windows are kept, run the same command to resume.", style="yellow")
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench", description=MAIN_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"bench {code_version()}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = _add(groups, "run", "run an experiment: prices in, metrics and a snapshot out", RUN_HELP)
    run.add_argument("--cfg", action="store_true", help="print the composed configuration and stop")
    run.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    run.set_defaults(command=commands.run)
    explain = _add(groups, "explain", "print the windows of a configuration without running anything", EXPLAIN_HELP)
    explain.add_argument("--json", action="store_true", help="print the windows as JSON instead of a table")
    explain.set_defaults(command=commands.explain)
    data = groups.add_parser("data", help="look at, check or convert market data")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, summary, command in (
        ("info", "print what the panel holds", commands.data_info),
        ("validate", "check the panel and list what looks wrong", commands.data_validate),
        ("convert", "write the panel in another format", commands.data_convert),
    ):
        action = _add(actions, name, summary, DATA_HELP[name])
        if name == "convert":
            action.add_argument("--to", choices=("long", "qlib_bin"), required=True, help="the format to write")
            action.add_argument("--out", required=True, metavar="FOLDER", help="a new folder for the result")
            action.add_argument("--universe", default="universe", metavar="NAME", help="name of the membership file")
        else:
            action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(command=command)
    return parser


def _add(
    groups: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, text: str
) -> argparse.ArgumentParser:
    parser = groups.add_parser(
        name,
        help=summary,
        description=text,
        epilog=config_groups(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides, see below")
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder with your own configuration groups",
    )
    return parser
