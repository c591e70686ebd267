"""What a report shows: the cells of sweeps and single runs, read from the folders that they left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import DataError, closest
from harness.evaluation.metrics import COLUMNS, METRICS, MetricRecord, headings_of, own_metrics
from harness.evaluation.predictions import Predictions
from harness.evaluation.year import read_series
from harness.run.sweep_columns import SweepStatistics
from harness.run.sweep_statistics import Candidate, references, sweep_statistics
from harness.snapshots.evidence import DailySeries
from harness.snapshots.snapshot import Snapshot, read_snapshot

Doubles = npt.NDArray[np.float64]
LEADERBOARD, SNAPSHOT = "leaderboard.json", "snapshot.json"


@dataclass(frozen=True, eq=False)
class Cell:
    """One finished run.

    Attributes:
        name: The swept values, or the case; different for every cell of a report.
        folder: Where it lies.
        snapshot: Identity, metrics, provenance.
        times: (S,) ``datetime64[ns]`` test times.
        series: Name → (S,) float64.
    """

    name: str
    folder: Path
    snapshot: Snapshot
    times: npt.NDArray[np.datetime64]
    series: Mapping[str, Doubles]

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration."""
        found: Mapping[str, Any] = self.snapshot.identity["config"]
        return found

    @property
    def overall(self) -> Mapping[str, Any]:
        """Metric → value; None where undefined."""
        found: Mapping[str, Any] = self.snapshot.metrics["overall"]
        return found

    @property
    def intervals(self) -> Mapping[str, Any]:
        """Metric → ``low``, ``high``, ``level``; empty when the run has none."""
        return self.snapshot.metrics.get("intervals") or {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the metrics."""
        return tuple(self.snapshot.metrics.get("notes", ()))

    @property
    def look_ahead(self) -> int:
        """Times after which a label is known."""
        return int(self.snapshot.identity["look_ahead"])

    @property
    def horizon(self) -> int:
        """Times that the label spans."""
        return self.look_ahead - 1

    @property
    def compounds(self) -> bool:
        """Whether the portfolio's returns are multiplied instead of added."""
        portfolio = self.config["evaluation"].get("portfolio")
        return portfolio is not None and portfolio.get("accumulate") == "product"

    @cached_property
    def audit(self) -> Mapping[str, Any] | None:
        """The verdict of an audit, when the run carries one."""
        path = self.folder / "audit.json"
        if path.is_file():
            found = _read_json(path)
            inner: Mapping[str, Any] = found.get("verdict", found)
            return inner
        places = (self.snapshot.provenance, self.snapshot.metrics, self.snapshot.identity)
        verdicts: list[Mapping[str, Any]] = [place["audit"] for place in places if place.get("audit")]
        return verdicts[0] if verdicts else None

    def adaptation_file(self, name: str) -> Path | None:
        """Return a file that the fitted adaptation saved, or None."""
        path = self.folder / "adaptation" / name
        return path if path.is_file() else None

    def predictions(self) -> Predictions:
        """Read the predictions."""
        return Predictions.read_parquet(self.folder / "predictions.parquet")


@dataclass(frozen=True)
class Missing:
    """A cell of a sweep without a result."""

    name: str
    outcome: str
    note: str


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is shown.

    Attributes:
        cells: The reference first, then by rank IC, the best first.
        missing: What was refused or failed.
        extras: What sweeps say beyond their rows: key → value of ``leaderboard.json``.
        references: Names of the cells that the others are tested against, one per scenario.
    """

    cells: tuple[Cell, ...]
    missing: tuple[Missing, ...]
    extras: tuple[Mapping[str, Any], ...] = ()
    references: tuple[str, ...] = ()

    @property
    def reference(self) -> Cell:
        """The cell that the others of its scenario are tested against."""
        return self.cells[0]


def find_folders(root: Path) -> list[Path]:
    """Return the newest sweep under `root`, or without a sweep all its runs.

    Raises:
        DataError: When there is neither.
    """
    if not root.is_dir():
        raise DataError(
            "There is nothing to report on.",
            where=str(root),
            expected="a folder with runs or sweeps",
            hint="run something first: bench run -m model.alpha=0.1,1",
        )
    sweeps = sorted((p.parent for p in root.glob(f"*/{LEADERBOARD}")), key=lambda p: (p / LEADERBOARD).stat().st_mtime)
    found = sweeps[-1:] or sorted(p.parent for p in root.glob(f"*/{SNAPSHOT}"))
    if not found:
        raise DataError(
            "The folder holds neither a sweep nor a run.",
            where=str(root),
            expected=f"folders with {LEADERBOARD} or {SNAPSHOT}",
            hint="bench run",
        )
    return found


def read_cells(folders: Sequence[Path], *, reference: str | None = None) -> Report:
    """Read sweeps and runs.

    Args:
        folders: Each holds ``leaderboard.json`` or ``snapshot.json``; a run that occurs twice is read once.
        reference: Name of the cell to compare with; when it is not given, that of the sweep, by
            `harness.run.sweep_statistics.RULE`.

    Raises:
        DataError: When a folder holds neither, or no cell has that name.
        SnapshotError: When a snapshot is missing, damaged, or of another schema.
    """
    named: dict[Path, str | None] = {}
    missing: list[Missing] = []
    extras: list[Mapping[str, Any]] = []
    for folder in folders:
        if (folder / LEADERBOARD).is_file():
            board = _read_json(folder / LEADERBOARD)
            extras.append({k: v for k, v in board.items() if k not in ("rows", "sorted_by")})
            for row in board["rows"]:
                if row["folder"] is not None:
                    named[_run_folder(folder, row["folder"]).resolve()] = str(row["name"])
                elif row["outcome"] != "oracle":
                    missing.append(Missing(str(row["name"]), str(row["outcome"]), str(row["note"] or "")))
        elif (folder / SNAPSHOT).is_file():
            named.setdefault(folder.resolve(), None)
        else:
            raise DataError(
                "The folder holds neither a sweep nor a run.",
                where=str(folder),
                expected=f"{LEADERBOARD} or {SNAPSHOT} in it",
                hint="`bench run` prints where its snapshot lies, `bench run -m` where its table lies",
            )
    cells = _with_different_names([_read(folder, name) for folder, name in named.items()])
    if not cells:
        raise DataError("No cell has a result.", where=", ".join(map(str, folders)), got=f"{len(missing)} without one")
    _check(reference, [cell.name for cell in cells])
    kept = [str(name) for extra in extras for name in extra.get("references", ())]
    asked = (*([] if reference is None else [reference]), *kept)
    names = tuple(chosen.name for chosen in references(candidates(cells), asked))
    return Report(_ordered(cells, names[0]), tuple(missing), tuple(extras), names)


def _read(folder: Path, name: str | None) -> Cell:
    snapshot = read_snapshot(folder / SNAPSHOT)
    times, series = read_series(folder / "series.parquet")
    return Cell(name or snapshot.case, folder, snapshot, times, series)


def _run_folder(sweep: Path, recorded: str) -> Path:
    """Return where a run lies: beside its sweep, also where both were copied to."""
    beside = sweep.parent / Path(recorded).name
    return beside if beside.is_dir() else Path(recorded)


def _with_different_names(cells: Iterable[Cell]) -> list[Cell]:
    found: dict[str, Cell] = {}
    for cell in cells:
        name = cell.name if cell.name not in found else f"{cell.name} ({cell.folder.name[-12:]})"
        found[name] = Cell(name, cell.folder, cell.snapshot, cell.times, cell.series)
    return list(found.values())


def candidates(cells: Iterable[Cell]) -> tuple[Candidate, ...]:
    """Return the cells as statistics know them."""
    return tuple(Candidate(c.name, c.snapshot, DailySeries(c.times, c.series)) for c in cells)


def _check(reference: str | None, names: Sequence[str]) -> None:
    if reference is not None and reference not in names:
        raise DataError(
            "No cell has the name of the reference.",
            where="--reference",
            got=reference,
            expected="; ".join(names),
            hint=closest(reference, names),
        )


def _ordered(cells: Sequence[Cell], reference: str) -> tuple[Cell, ...]:
    def rank(cell: Cell) -> tuple[bool, float]:
        value = cell.overall.get("rank_IC")
        return (value is None, 0.0 if value is None else -float(value))

    first = next(cell for cell in cells if cell.name == reference)
    return (first, *(cell for cell in sorted(cells, key=rank) if cell is not first))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            "The file cannot be read.",
            where=str(path),
            got=str(error),
            expected="JSON as it was written",
            hint="run the sweep again to write it anew",
        ) from error


def metrics_of(cells: Sequence[Cell]) -> dict[str, MetricRecord]:
    """Return the records of all metrics: the harness's in their order, then the users' own by name."""
    own: dict[str, MetricRecord] = {}
    for cell in cells:
        own |= own_metrics(cell.snapshot.identity)
    return {**METRICS, **dict(sorted(own.items()))}


def headings(cells: Sequence[Cell]) -> dict[str, str]:
    """Return metric → heading of those that some cell has: the harness's in their order, then the users' own."""
    known = metrics_of(cells)
    shown = [m for m in known if m in COLUMNS or m not in METRICS]
    return headings_of(known[m] for m in shown if any(m in c.overall for c in cells))


def directions(cells: Sequence[Cell]) -> dict[str, str]:
    """Return metric → ``higher``, ``lower`` or ``none``; a user's own as its configuration says."""
    return {name: metric.direction for name, metric in metrics_of(cells).items()}


def flatten(node: object, path: str = "") -> dict[str, object]:
    """Return dotted key → plain value of nested mappings and lists."""
    if isinstance(node, Mapping):
        children: list[tuple[str, Any]] = [(str(k), v) for k, v in node.items()]
    elif isinstance(node, list | tuple):
        children = [(str(k), v) for k, v in enumerate(node)]
    else:
        return {path: node}
    found: dict[str, object] = {}
    for key, value in children:
        found |= flatten(value, f"{path}.{key}" if path else key)
    return found


def differing_keys(cells: Sequence[Cell]) -> list[str]:
    """Return the configuration keys that tell cells apart, sorted.

    Where the classes of a group differ, its other keys count only if they differ between cells of one class.
    """
    flat = [flatten(cell.config) for cell in cells]
    kept = []
    for key in sorted(set().union(*flat)):
        values: dict[object, set[str]] = {}
        for settings in flat:
            if key in settings:
                values.setdefault(_class_of(key, settings), set()).add(repr(settings[key]))
        if any(len(found) > 1 for found in values.values()):
            kept.append(key)
    return kept


def curve_name(cell: Cell, keys: Sequence[str]) -> str:
    """Return the settings of a cell under these keys, as readers know them."""
    flat = flatten(cell.config)
    return ", ".join(_short(key, flat[key]) for key in keys if key in flat)


def swept_numbers(cells: Sequence[Cell]) -> dict[str, list[tuple[str, list[tuple[float, Cell]]]]]:
    """Return numeric key → its curves: (the other settings as text, [(value, cell), …] by value).

    A curve joins cells that differ in this key only; keys without a curve of two points are left out.
    """
    keys = differing_keys(cells)
    found: dict[str, list[tuple[str, list[tuple[float, Cell]]]]] = {}
    for key in keys:
        others = [k for k in keys if k != key]
        curves: dict[str, list[tuple[float, Cell]]] = {}
        for cell in cells:
            value = flatten(cell.config).get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                curves.setdefault(curve_name(cell, others), []).append((float(value), cell))
        long = [(name, sorted(curve, key=lambda point: point[0])) for name, curve in curves.items()]
        kept = [(name, curve) for name, curve in long if len({value for value, _ in curve}) > 1]
        if kept:
            found[key] = kept
    return found


def _class_of(key: str, settings: Mapping[str, object]) -> object:
    group = key.partition(".")[0]
    target = f"{group}._target_"
    return None if key == target else settings.get(target)


def _short(key: str, value: object) -> str:
    """Return the class without its module, another setting with its whole key."""
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')} {str(value).rpartition('.')[2]}"
    return f"{key}={value}"


METRIC = "rank_IC"


def compare(report: Report) -> SweepStatistics | None:
    """Return paired tests against the reference of each scenario, confidence sets, deflation; None for one cell."""
    asked = (report.reference.name, *report.references)
    return sweep_statistics(candidates(report.cells), metric=METRIC, reference=asked)
