"""`bench leaderboard` and `bench report`: sweeps and runs as a table, or as one HTML file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness.cli.declaration import Answer
from harness.cli.streams import write_file
from harness.errors import ConfigError, closest
from harness.execution.progress import PlainObserver, telling
from harness.report.cells import Report, compare, find_folders, leaderboard_metrics, read_cells
from harness.report.table import EXPORTS
from harness.report.tables import leaderboard_rows
from harness.run.sweep_columns import caption, cell_notes


def _read(arguments: Namespace) -> Report:
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    return read_cells(folders, reference=arguments.reference)


def leaderboard(arguments: Namespace, observer: PlainObserver) -> Answer:
    if arguments.out and arguments.format == "table":
        what, expected = "A table is for the terminal.", f"--format {' | '.join(EXPORTS)}"
        raise ConfigError(what, where="--out", got="--format table", expected=expected)
    with telling(observer, "tests"):
        report, metric = _read(arguments), arguments.sort_by
        known = leaderboard_metrics(report.cells)
        if metric not in known:
            what, hint = "No cell has this metric.", closest(metric, known)
            raise ConfigError(what, where="--sort-by", got=metric, expected=", ".join(known), hint=hint)
        statistics = compare(report)
        table = leaderboard_rows(report, statistics, sort_by=metric)
    if arguments.format == "table":
        below = [] if statistics is None else [caption(statistics)]
        notes = cell_notes((cell.name, cell.notes) for cell in report.cells)
        return Answer([table, *below, *(f"note      {line}" for line in notes)])
    text = EXPORTS[arguments.format](table)
    if not arguments.out:
        return Answer(record=text)
    write_file(Path(arguments.out), text, "--out")
    return Answer([f"written to {arguments.out}"])


def report(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.report.page import render

    path = Path(arguments.out)
    if path.is_dir():
        raise ConfigError("A report is one file.", where="--out", got=str(path), expected="such as report.html")
    with telling(observer, "report"):
        found = _read(arguments)
        write_file(path, render(found, title=arguments.title), "--out")
    return Answer([f"{path}: {len(found.cells)} cells, {path.stat().st_size / 1e6:.1f} MB"])
