"""`bench leaderboard` and `bench report`: sweeps and runs as a table, or as one HTML file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.cli.terminal import show
from harness.errors import ConfigError, closest
from harness.report.cells import Report, compare, find_folders, leaderboard_metrics, read_cells
from harness.report.table import EXPORTS
from harness.report.tables import leaderboard_rows
from harness.run.sweep_columns import caption, cell_notes
from harness.store.files import write_atomically


def _read(arguments: Namespace) -> Report:
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    return read_cells(folders, reference=arguments.reference)


def leaderboard(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    if arguments.out and arguments.format == "table":
        what, expected = "A table is for the terminal.", f"--format {' | '.join(EXPORTS)}"
        raise ConfigError(what, where="--out", got="--format table", expected=expected)
    with progress(err) as observer:
        observer.start("tests", 1)
        report, metric = _read(arguments), arguments.sort_by
        known = leaderboard_metrics(report.cells)
        if metric not in known:
            what, hint = "No cell has this metric.", closest(metric, known)
            raise ConfigError(what, where="--sort-by", got=metric, expected=", ".join(known), hint=hint)
        statistics = compare(report)
        table = leaderboard_rows(report, statistics, sort_by=metric)
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


def report(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    from harness.report.page import write_report

    path = Path(arguments.out)
    if path.is_dir():
        raise ConfigError("A report is one file.", where="--out", got=str(path), expected="such as report.html")
    with progress(err) as observer:
        observer.start("report", 1)
        found = _read(arguments)
        try:
            write_report(found, path, title=arguments.title)
        except FileNotFoundError as error:
            what, expected = "The report cannot be written.", "a file in a folder you may write to"
            raise ConfigError(what, where="--out", got=str(path), expected=expected) from error
        observer.finish("report")
    out.write(f"{path}: {len(found.cells)} cells, {path.stat().st_size / 1e6:.1f} MB")
    return 0
