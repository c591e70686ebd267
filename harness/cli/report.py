"""`bench report`: sweeps and runs as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands
from harness.errors import ConfigError
from harness.report.cells import find_folders, read_cells
from harness.report.page import write_report

_HELP = """\
Write one HTML file about sweeps and runs: leaderboard with intervals and tests, returns, ICs, windows, learned weights,
provenance. It holds everything it needs and works offline; it can be mailed and printed.

Without a folder it shows the newest sweep under `runs`, or all runs when there is no sweep.

examples:
  bench report
  bench report runs/sweep-0123456789ab --out sweep.html --reference "adaptation=rolling_retrain"
  bench report runs/synthetic.* --out all.html --title "All runs on the simulated market"

exit codes: 0 written, 2 a mistake in the command or a folder without results"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "report",
        help="write sweeps and runs as one HTML file",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="a sweep's or a run's folder")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the file to write (default: report.html)")
    parser.add_argument("--reference", metavar="CELL", help="the cell to compare the others with")
    parser.add_argument("--title", default="driftbench report", help="the heading")
    parser.set_defaults(command=report)


def report(arguments: Arguments, out: Console, err: Console) -> int:
    """Read the folders, write the page, and say where it lies."""
    path = Path(arguments.out)
    if path.is_dir():
        raise ConfigError("A report is one file.", where="--out", got=str(path), expected="such as report.html")
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    with ProgressObserver(err) as observer:
        observer.start("report", 1)
        found = read_cells(folders, reference=arguments.reference)
        try:
            write_report(found, path, title=arguments.title)
        except FileNotFoundError as error:
            raise ConfigError(
                "The report cannot be written.",
                where="--out",
                got=str(path),
                expected="a file in a folder you may write to",
            ) from error
        observer.finish("report")
    size = path.stat().st_size / 1e6
    out.print(f"{path}: {len(found.cells)} cells, {size:.1f} MB", markup=False, soft_wrap=True)
    return 0
