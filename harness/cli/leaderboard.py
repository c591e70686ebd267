"""`bench leaderboard`: the table of sweeps and runs, printed or exported."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands
from harness.cli.terminal import show
from harness.errors import ConfigError, closest
from harness.report.cells import compare, find_folders, leaderboard_metrics, read_cells
from harness.report.table import EXPORTS
from harness.report.tables import leaderboard_rows
from harness.run.sweep_columns import caption, cell_notes
from harness.store.files import write_atomically

_HELP = """\
Print the leaderboard of sweeps and runs, the best first, each metric with its interval, ▲ ▼ where it is better or worse
than the reference; or export it. Numbers in CSV and JSON have full precision.

Without a folder it shows the newest sweep under `runs`, or all runs when there is no sweep.

examples:
  bench leaderboard
  bench leaderboard runs/sweep-0123456789ab --sort-by IC --reference "adaptation=rolling_retrain"
  bench leaderboard --format latex --out table.tex
  bench leaderboard --json

exit codes: 0 fine, 2 a mistake in the command or a folder without results"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "leaderboard",
        help="print or export the table of sweeps and runs",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="a sweep's or a run's folder")
    parser.add_argument("--sort-by", default="rank_IC", metavar="METRIC", help="orders the rows (default: rank_IC)")
    parser.add_argument("--reference", metavar="CELL", help="the cell to compare the others with")
    parser.add_argument("--format", choices=("table", *EXPORTS), default="table", help="what to write (default: table)")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--out", metavar="FILE", help="write the export into a file instead of printing it")
    parser.set_defaults(command=leaderboard)


def leaderboard(arguments: Arguments, out: Console, err: Console) -> int:
    """Read the folders, then print or export their table."""
    if arguments.out and arguments.format == "table":
        raise ConfigError(
            "A table is for the terminal.",
            where="--out",
            got="--format table",
            expected=f"--format {' | '.join(EXPORTS)}",
        )
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    with ProgressObserver(err) as observer:
        observer.start("tests", 1)
        report = read_cells(folders, reference=arguments.reference)
        known = leaderboard_metrics(report.cells)
        if arguments.sort_by not in known:
            raise ConfigError(
                "No cell has this metric.",
                where="--sort-by",
                got=arguments.sort_by,
                expected=", ".join(known),
                hint=closest(arguments.sort_by, known),
            )
        statistics = compare(report)
        table = leaderboard_rows(report, statistics, sort_by=arguments.sort_by)
        observer.finish("tests")
    if arguments.format == "table":
        show(out, table)
        if statistics is not None:
            out.print(caption(statistics), markup=False, soft_wrap=True)
        for line in cell_notes((cell.name, cell.notes) for cell in report.cells):
            out.print(f"note      {line}", markup=False, soft_wrap=True)
        return 0
    text = EXPORTS[arguments.format](table)
    if arguments.out:
        write_atomically(Path(arguments.out), text.encode())
        out.print(f"written to {arguments.out}", markup=False, soft_wrap=True)
    else:
        out.print(text, markup=False, soft_wrap=True, end="")
    return 0
