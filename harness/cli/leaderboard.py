"""`bench leaderboard`: the table of sweeps and runs, printed or exported."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.cli.terminal import show
from harness.errors import ConfigError, closest
from harness.report.cells import compare, find_folders, leaderboard_metrics, read_cells
from harness.report.table import EXPORTS
from harness.report.tables import leaderboard_rows
from harness.run.sweep_columns import caption, cell_notes
from harness.store.files import write_atomically


def leaderboard(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    """Read the folders, then print or export their table."""
    if arguments.out and arguments.format == "table":
        raise ConfigError(
            "A table is for the terminal.",
            where="--out",
            got="--format table",
            expected=f"--format {' | '.join(EXPORTS)}",
        )
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    with progress(err) as observer:
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
            out.write(caption(statistics))
        for line in cell_notes((cell.name, cell.notes) for cell in report.cells):
            out.write(f"note      {line}")
        return 0
    text = EXPORTS[arguments.format](table)
    if arguments.out:
        write_atomically(Path(arguments.out), text.encode())
        out.write(f"written to {arguments.out}")
    else:
        out.write_document(text)
    return 0
