"""`bench report`: sweeps and runs as one HTML file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.errors import ConfigError
from harness.report.cells import find_folders, read_cells
from harness.report.page import write_report


def report(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    """Read the folders, write the page, and say where it lies."""
    path = Path(arguments.out)
    if path.is_dir():
        raise ConfigError("A report is one file.", where="--out", got=str(path), expected="such as report.html")
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    with progress(err) as observer:
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
    out.write(f"{path}: {len(found.cells)} cells, {size:.1f} MB")
    return 0
