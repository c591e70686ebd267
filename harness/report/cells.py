"""What a report shows: the cells of sweeps and single runs, and what tells their configurations apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

from harness.errors import DataError, closest
from harness.evaluation.metrics import METRICS, MetricRecord, columns_of, metrics_of
from harness.report.table import rank_of
from harness.run.finished import LEADERBOARD, FinishedRun, FinishedSweep, SweepRow, folders_under, read_finished
from harness.run.sweep_columns import SweepStatistics
from harness.run.sweep_statistics import scenarios, sweep_statistics

METRIC = "rank_IC"


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is shown.

    Attributes:
        cells: The reference first, then by rank IC, the best first; no name twice.
        missing: Cells of sweeps that were refused or failed.
        references: Names of the cells that the others are tested against, one per scenario.
    """

    cells: tuple[FinishedRun, ...]
    missing: tuple[SweepRow, ...]
    references: tuple[str, ...] = ()

    @property
    def reference(self) -> FinishedRun:
        """The cell that the others of its scenario are tested against."""
        return self.cells[0]


def find_folders(root: Path) -> list[Path]:
    """Return the newest sweep under `root`, or without a sweep all its runs.

    Raises:
        DataError: When there is neither.
    """
    sweeps, runs = folders_under(root)
    if not sweeps and not runs:
        what, hint = "There is nothing to report on.", "run something first: bench run -m model.alpha=0.1,1"
        raise DataError(what, where=str(root), expected="a folder with runs or sweeps", hint=hint)
    return [max(sweeps, key=lambda folder: (folder / LEADERBOARD).stat().st_mtime)] if sweeps else runs


def read_cells(folders: Sequence[Path], *, reference: str | None = None) -> Report:
    """Read sweeps and runs; a run that occurs twice is read once.

    Args:
        reference: Name of the cell to compare with; None: that of the sweep, by `harness.run.sweep_statistics.RULE`.

    Raises:
        DataError: When a folder holds neither, or no cell has that name.
        SnapshotError: When a snapshot is missing, damaged, or of another schema.
    """
    found: dict[Path, FinishedRun] = {}
    missing: list[SweepRow] = []
    asked = [] if reference is None else [reference]
    for finished in map(read_finished, folders):
        if isinstance(finished, FinishedSweep):
            found |= {run.folder.resolve(): run for run in finished.runs}
            missing += [row for row in finished.rows if row.folder is None]
            asked += finished.references
        else:
            found.setdefault(finished.folder.resolve(), finished)
    named: dict[str, FinishedRun] = {}
    for run in found.values():
        name = run.name if run.name not in named else f"{run.name} ({run.folder.name[-12:]})"
        named[name] = replace(run, name=name)
    cells, names = list(named.values()), list(named)
    if not cells:
        raise DataError("No cell has a result.", where=", ".join(map(str, folders)), got=f"{len(missing)} without one")
    if reference is not None and reference not in names:
        what, hint = "No cell has the name of the reference.", closest(reference, names)
        raise DataError(what, where="--reference", got=reference, expected="; ".join(names), hint=hint)
    bases = tuple(scenarios(cells, asked))
    cells.sort(key=lambda cell: (cell is not bases[0], rank_of(METRICS[METRIC], cell.overall.get(METRIC))))
    return Report(tuple(cells), tuple(missing), tuple(base.name for base in bases))


def compare(report: Report) -> SweepStatistics | None:
    """Return paired tests against the reference of each scenario, confidence sets, deflation; None for one cell."""
    return sweep_statistics(report.cells, metric=METRIC, asked=(report.reference.name, *report.references))


def leaderboard_metrics(cells: Sequence[FinishedRun]) -> dict[str, MetricRecord]:
    """Return the metrics of a leaderboard that some cell has: the harness's in their order, then the users'."""
    return columns_of(metrics_of(*(cell.snapshot.identity for cell in cells)), (cell.overall for cell in cells))


def flatten(node: object, path: str = "") -> dict[str, object]:
    """Return dotted key → plain value of nested mappings and lists."""
    if not isinstance(node, Mapping | list | tuple):
        return {path: node}
    found: dict[str, object] = {}
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        found |= flatten(value, f"{path}.{key}" if path else str(key))
    return found


def differing_keys(cells: Sequence[FinishedRun]) -> list[str]:
    """Return the configuration keys that tell cells apart, sorted.

    Where the classes of a group differ, its other keys count only if they differ between cells of one class.
    """
    flat = [flatten(cell.config) for cell in cells]
    kept = []
    for key in sorted(set().union(*flat)):
        target = f"{key.partition('.')[0]}._target_"
        values = {(None if key == target else s.get(target), repr(s[key])) for s in flat if key in s}
        if len(values) > len({class_name for class_name, _ in values}):
            kept.append(key)
    return kept


def curve_name(cell: FinishedRun, keys: Sequence[str]) -> str:
    """Return the settings of a cell under these keys: a class without its module, another with its whole key."""
    flat = flatten(cell.config)
    known = {key: str(flat[key]) for key in keys if key in flat}
    return ", ".join(
        f"{group} {value.rpartition('.')[2]}" if (group := key.removesuffix("._target_")) != key else f"{key}={value}"
        for key, value in known.items()
    )


Curve = tuple[str, list[tuple[float, FinishedRun]]]


def curves_over(cells: Sequence[FinishedRun], keys: Sequence[str], numbers: Iterable[object]) -> list[Curve]:
    """Return the curves over one number of each cell: cells whose settings under the keys are equal, by the number.

    What is no number, and a curve of one point, is left out.
    """
    curves: dict[str, list[tuple[float, FinishedRun]]] = {}
    for cell, number in zip(cells, numbers, strict=True):
        if isinstance(number, int | float) and not isinstance(number, bool):
            curves.setdefault(curve_name(cell, keys), []).append((float(number), cell))
    found = ((name, sorted(curve, key=itemgetter(0))) for name, curve in curves.items())
    return [(name, curve) for name, curve in found if curve[0][0] < curve[-1][0]]


def swept_numbers(cells: Sequence[FinishedRun]) -> dict[str, list[Curve]]:
    """Return numeric key → its curves: the cells of one differ in this key only; keys without a curve are left out."""
    keys, flat = differing_keys(cells), [flatten(cell.config) for cell in cells]
    curves = {
        key: curves_over(cells, [other for other in keys if other != key], [settings.get(key) for settings in flat])
        for key in keys
    }
    return {key: found for key, found in curves.items() if found}
