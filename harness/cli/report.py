"""`bench leaderboard`, `reproduce` and `report`: sweeps and runs as a table, beside published ones, as an HTML file."""

from __future__ import annotations

import contextlib
import importlib.util
from argparse import Namespace
from pathlib import Path

import numpy as np

from harness.cli.declaration import Answer
from harness.cli.streams import write_file
from harness.config import compose_config
from harness.config.reference import reference_results
from harness.errors import ConfigError, HarnessError, SnapshotError, closest
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.metrics import RANKED_BY
from harness.execution.progress import Observer, PlainObserver, telling
from harness.report.cells import Report, compare, find_folders, leaderboard_metrics, leaderboard_rows, read_cells
from harness.report.reproduction import reproduce as reproductions
from harness.report.table import EXPORTS, markdown_text
from harness.run.finished import LEADERBOARD, SNAPSHOT, FinishedRun, folders_under
from harness.run.sweep_columns import caption, cell_notes
from harness.snapshots.baseline import Baselines
from harness.snapshots.evidence import Evidence
from harness.store.artifacts import ArtifactStore, canonical_json

REPORT = "report.html"


def _read(arguments: Namespace) -> Report:
    folders = [Path(folder) for folder in arguments.folders] or find_folders(Path("runs"))
    return read_cells(folders, reference=arguments.reference)


def leaderboard(arguments: Namespace, observer: PlainObserver) -> Answer:
    _check_out(arguments)
    with telling(observer, "tests"):
        report = _read(arguments)
        metric = report.metric if arguments.sort_by == RANKED_BY else arguments.sort_by
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
    return _exported(EXPORTS[arguments.format](table), arguments.out)


def reproduce(arguments: Namespace, observer: PlainObserver) -> Answer:
    _check_out(arguments)
    folders = [Path(folder) for folder in arguments.folders] or folders_under(Path("runs"))[1]
    results = reference_results(arguments.config_dir)
    with telling(observer, "tests"):
        found = reproductions(read_cells(folders).cells if folders else (), results)
    if not found:
        what, known = "No run belongs to a published row.", "; ".join(f"{r.source} ({r.scenario})" for r in results)
        hint = "`bench nightly suite=paper` makes such runs"
        raise ConfigError(what, where="FOLDER", got=f"{len(folders)} runs", expected=known, hint=hint)
    tables = [table for one in found for table in one.tables()]
    if arguments.format == "table":
        return Answer(tables)
    if arguments.format == "json":
        text = canonical_json([one.record() for one in found], indent=1)
    else:
        write, head = EXPORTS[arguments.format], {"markdown": "**{}**\n\n", "latex": "% {}\n"}.get(arguments.format, "")
        text = "\n".join(head.format(markdown_text(table.caption)) + write(table) for table in tables)
    return _exported(text, arguments.out)


def _check_out(arguments: Namespace) -> None:
    if arguments.out and arguments.format == "table":
        what, expected = "A table is for the terminal.", f"--format {' | '.join(EXPORTS)}"
        raise ConfigError(what, where="--out", got="--format table", expected=expected)


def _exported(text: str, path: str | None) -> Answer:
    if path is None:
        return Answer(record=text)
    write_file(Path(path), text, "--out")
    return Answer([f"written to {path}"])


def report(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.report.page import render

    path = Path(arguments.out)
    if path.is_dir():
        raise ConfigError("A report is one file.", where="--out", got=str(path), expected="such as report.html")
    with telling(observer, "report"):
        store = ArtifactStore(Path(arguments.store or compose_config().output.store))
        versions = Baselines(Path(arguments.results))
        sources = [_source(text, versions, store) for text in arguments.folders] or find_folders(Path("runs"))
        found = read_cells(sources, reference=arguments.reference, store=store)
        write_file(path, render(found, title=arguments.title), "--out")
    bare = (cell.name for cell in found.cells if not cell.series.values)
    lost = [f"{name}: no curves and no tests, as its series are not in the store {store.root}" for name in bare]
    return Answer([f"{path}: {len(found.cells)} cells, {path.stat().st_size / 1e6:.1f} MB"], notes=lost)


def add_report(folder: Path, observer: Observer, store: ArtifactStore | None = None) -> None:
    """Write the report of a run or sweep into its folder, unless the newest is there, so that tracking sends it too."""
    path = folder / REPORT
    made = [file.stat().st_mtime for name in (SNAPSHOT, LEADERBOARD) if (file := folder / name).is_file()]
    if path.is_file() and path.stat().st_mtime >= max(made, default=0.0):
        return
    if importlib.util.find_spec("jinja2") is None:
        observer.notice("no report among the files that are tracked: pip install 'driftbench[report]'")
        return
    from harness.report.page import write_report

    with telling(observer, "report"), contextlib.suppress(HarnessError):  # a sweep without a result has none
        write_report(read_cells([folder], store=store), path)


def _source(text: str, versions: Baselines, store: ArtifactStore) -> Path | FinishedRun:
    """Return the folder that a text names, or the blessed version, with what the store still holds of its result."""
    if Path(text).exists():
        return Path(text)
    try:
        found = versions.resolve(text)
    except SnapshotError:
        if "@" in text:
            raise
        return Path(text)  # more likely a folder, whose error says what one is
    folder = Evidence(store).result(found.snapshot)
    if folder is None:
        return FinishedRun(found.label, found.snapshot, given=DailySeries(np.empty(0, dtype="datetime64[ns]"), {}))
    return FinishedRun(found.label, found.snapshot, folder)
